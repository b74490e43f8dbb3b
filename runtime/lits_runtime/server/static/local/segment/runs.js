// Labels as runs, voxels of one label one after the other in a row, and which of them touch.

export class Forest {
  constructor(count) {
    this.above = Uint32Array.from({ length: count }, (_, at) => at);
  }

  root(at) {
    const { above } = this;
    while (above[at] !== at) at = above[at] = above[above[at]];
    return at;
  }

  join(one, other) {
    const [a, b] = [this.root(one), this.root(other)];
    if (a < b) this.above[b] = a; // a component's root is its first run
    else this.above[a] = b;
  }
}

// The runs of labels (slices, height, width) but for the background's, in array order: flat starts and stops, and labels.
export function runsOf(labels, [slices, height, width]) {
  const starts = [];
  const stops = [];
  const values = [];
  for (let row = 0; row < slices * height; row++) {
    const end = (row + 1) * width;
    for (let at = row * width; at < end;) {
      const value = labels[at];
      const start = at;
      while (at < end && labels[at] === value) at++;
      if (value) {
        starts.push(start);
        stops.push(at);
        values.push(value);
      }
    }
  }
  return { starts, stops, values, length: starts.length };
}

// Calls (run, run) for each two runs that have voxels face to face.
export function eachTouching(runs, [, height, width], call) {
  const { starts, stops, length } = runs;
  const plane = height * width;
  const alongside = (distance, skips) => {
    let low = 0;
    for (let run = 0; run < length; run++) {
      if (skips(starts[run])) continue;
      const [begin, end] = [starts[run] + distance, stops[run] + distance];
      while (low < length && stops[low] <= begin) low++;
      for (let other = low; other < length && starts[other] < end; other++) call(run, other);
    }
  };
  for (let run = 1; run < length; run++) {
    if (stops[run - 1] === starts[run] && starts[run] % width) call(run - 1, run);
  }
  alongside(width, (start) => start % plane >= plane - width);
  alongside(plane, () => false);
}
