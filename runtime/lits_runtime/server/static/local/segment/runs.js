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

// Calls (run, run, axis, faces) for each two runs that have voxels face to face: along which canonical axis, and how many.
export function eachTouching(runs, [, height, width], call) {
  const { starts, stops, length } = runs;
  const plane = height * width;
  const alongside = (axis, distance, skips) => {
    let low = 0;
    for (let run = 0; run < length; run++) {
      if (skips(starts[run])) continue;
      const [begin, end] = [starts[run] + distance, stops[run] + distance];
      while (low < length && stops[low] <= begin) low++;
      for (let other = low; other < length && starts[other] < end; other++) {
        call(run, other, axis, Math.min(end, stops[other]) - Math.max(begin, starts[other]));
      }
    }
  };
  for (let run = 1; run < length; run++) {
    if (stops[run - 1] === starts[run] && starts[run] % width) call(run - 1, run, 2, 1);
  }
  alongside(1, width, (start) => start % plane >= plane - width);
  alongside(0, plane, () => false);
}

// The area of the faces of a run that have a neighbour within the scan, those between its own voxels left out.
export function facesOf(runs, run, [slices, height, width], areas) {
  const [start, stop] = [runs.starts[run], runs.stops[run]];
  const slice = Math.floor(start / (height * width));
  const row = Math.floor(start / width) % height;
  const neighbours = (place, size) => (place > 0) + (place < size - 1);
  const ends = (start % width > 0) + (stop % width > 0);
  return (stop - start) * (areas[0] * neighbours(slice, slices) + areas[1] * neighbours(row, height)) + areas[2] * ends;
}
