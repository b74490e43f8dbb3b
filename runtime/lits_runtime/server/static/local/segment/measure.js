// Figures from labels, as in the report of lits-infer: volumes, and lesions connected by their faces.

import { eachTouching, Forest, runsOf } from "./runs.js";

const [LIVER, LESION] = [1, 2];
const MOST_LESIONS = 1000;
const LEAST_HU = -150; // every CT has air or fat below this, and contrast agent or bone above the next
const LARGEST_HU = 100;

// The report of canonical labels (slices, height, width) of a volume.
export function measured(labels, volume, classes) {
  const { geometry } = volume;
  let liver = 0;
  let lesion = 0;
  for (let at = 0; at < labels.length; at++) {
    if (labels[at] === LIVER) liver++;
    else if (labels[at] === LESION) lesion++;
  }
  const volumes = { liver: (liver + lesion) * geometry.voxelMl, lesion: lesion * geometry.voxelMl };
  const lesions = lesion ? lesionsOf(labels, volume) : [];
  const known = Object.fromEntries(classes.map((name) => [name, volumes[name]]));
  return {
    warnings: known.liver === 0 ? ["no liver was found: does the scan show the upper abdomen?"] : [],
    volumes_ml: known,
    tumour_burden_percent: known.liver && known.lesion !== undefined ? (100 * known.lesion) / known.liver : null,
    lesions: lesions.slice(0, MOST_LESIONS),
    lesion_count: lesions.length,
    shape: geometry.shape,
    spacing_mm: geometry.spacingMm,
  };
}

// What is odd about the range of values of a scan.
export function valueWarnings(lowest, highest) {
  if (lowest <= LEAST_HU && highest >= LARGEST_HU) return [];
  return [`values from ${Math.round(lowest)} to ${Math.round(highest)}, a CT in Hounsfield units has air below ${LEAST_HU} and bone above ${LARGEST_HU}`];
}

function lesionsOf(labels, volume) {
  const shape = volume.geometry.canonicalShape;
  const all = runsOf(labels, shape);
  const inside = [...all.values.keys()].filter((run) => all.values[run] === LESION);
  const runs = {
    starts: inside.map((run) => all.starts[run]),
    stops: inside.map((run) => all.stops[run]),
    length: inside.length,
  };
  const forest = new Forest(runs.length);
  eachTouching(runs, shape, (one, other) => forest.join(one, other));
  const groups = new Map();
  for (let run = 0; run < runs.length; run++) {
    const root = forest.root(run);
    if (!groups.has(root)) groups.set(root, []);
    groups.get(root).push([runs.starts[run], runs.stops[run]]);
  }
  const found = [...groups.values()].map((stretches) => ({ stretches, voxels: voxelsOf(stretches) }));
  found.sort((one, other) => other.voxels - one.voxels); // the sort is stable: equal ones stay from feet to head
  const slices = new SliceReader(volume);
  return found.map(({ stretches, voxels }, at) => (at < MOST_LESIONS ? lesionOf(stretches, voxels, volume.geometry, slices) : null));
}

function voxelsOf(stretches) {
  return stretches.reduce((sum, [start, stop]) => sum + stop - start, 0);
}

function lesionOf(stretches, voxels, geometry, slices) {
  const [, height, width] = geometry.canonicalShape;
  const sums = { slice: 0, row: 0, column: 0, hu: 0, squares: 0 };
  const outlines = new Map();
  for (const [start, stop] of stretches) {
    const length = stop - start;
    const slice = Math.floor(start / (height * width));
    const row = Math.floor(start / width) % height;
    const column = start % width;
    sums.slice += length * slice;
    sums.row += length * row;
    sums.column += length * (column + (length - 1) / 2);
    sums.hu += slices.sum(start, stop);
    if (!outlines.has(slice)) outlines.set(slice, new Map());
    const rows = outlines.get(slice);
    const [left, right] = rows.get(row) ?? [column, column];
    rows.set(row, [Math.min(left, column), Math.max(right, column + length - 1)]);
  }
  const mean = sums.hu / voxels;
  for (const [start, stop] of stretches) sums.squares += slices.squares(start, stop, mean);
  const volume = voxels * geometry.voxelMl;
  const shown = [...outlines.keys()].sort((a, b) => a - b);
  let [first, last] = [shown[0], shown.at(-1)];
  if (geometry.directions[0] < 0) [first, last] = [last, first].map((slice) => geometry.canonicalShape[0] - 1 - slice);
  return {
    volume_ml: volume,
    longest_axial_diameter_mm: Math.max(...[...outlines.values()].map((rows) => diameter(rows, geometry))),
    equivalent_sphere_diameter_mm: Math.cbrt((6000 * volume) / Math.PI),
    centroid_mm: geometry.world(sums.slice / voxels, sums.row / voxels, sums.column / voxels),
    slices: [first, last],
    mean_hu: mean,
    sd_hu: Math.sqrt(sums.squares / voxels),
  };
}

// The longest distance between outer corners of the voxels of a slice, from the first and last column of each row.
function diameter(rows, { canonicalAffine }) {
  const dot = (a, b) => [0, 1, 2].reduce((sum, line) => sum + canonicalAffine[line][a] * canonicalAffine[line][b], 0);
  const [xx, xy, yy] = [dot(0, 0), dot(0, 1), dot(1, 1)];
  const points = [...rows].flatMap(([row, ends]) => ends.map((column) => [column, row]));
  let longest = 0;
  for (const [column, row] of points) {
    for (const [beside, below] of points) {
      const along = column - beside + 1;
      for (const down of [row - below + 1, row - below - 1]) {
        longest = Math.max(longest, xx * along * along + 2 * xy * along * down + yy * down * down);
      }
    }
  }
  return Math.sqrt(longest);
}

// HU of stretches of a volume, by flat canonical index; the last slice read is kept.
class SliceReader {
  constructor(volume) {
    const [, height, width] = volume.geometry.canonicalShape;
    this.volume = volume;
    this.plane = height * width;
    this.held = new Map();
  }

  values(start, stop) {
    const slice = Math.floor(start / this.plane);
    if (!this.held.has(slice)) {
      if (this.held.size > 64) this.held.clear();
      const values = new Float32Array(this.plane);
      this.volume.readSlices(slice, slice + 1, values);
      this.held.set(slice, values);
    }
    return this.held.get(slice).subarray(start - slice * this.plane, stop - slice * this.plane);
  }

  sum(start, stop) {
    return this.values(start, stop).reduce((sum, value) => sum + value, 0);
  }

  squares(start, stop, mean) {
    return this.values(start, stop).reduce((sum, value) => sum + (value - mean) ** 2, 0);
  }
}
