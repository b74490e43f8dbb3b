// The grid of a volume, and how it maps to the canonical orientation: slices to superior, rows to posterior, columns to
// the patient's left. The same rules as lits_runtime/volumes/geometry.py.

const LEAST_MM = 0.02;
const MOST_MM = 100;
const LEAST_CELL = 0.25; // of unit vectors along the axes; below it two of them nearly coincide

export class Geometry {
  // Voxels along the stored axes (i, j, k), of which i is the fastest; affine: 4 rows of 4, voxel to world, mm, RAS+.
  constructor(shape, affine) {
    this.shape = shape;
    this.affine = affine;
    checkAffine(affine);
    const [x, y, z] = orientation(affine);
    // Stored axis and direction of each canonical axis: slices, rows, columns.
    this.axes = [z.axis, y.axis, x.axis];
    this.directions = [z.sign, -y.sign, -x.sign];
    this.canonicalShape = this.axes.map((axis) => shape[axis]);
    const sizes = spacing(affine);
    this.spacingMm = sizes;
    this.canonicalSpacingMm = this.axes.map((axis) => sizes[axis]);
    const strides = [1, shape[0], shape[0] * shape[1]];
    // Index steps in the stored array from one canonical slice, row or column to the next, and the first voxel's index.
    this.steps = this.axes.map((axis, at) => strides[axis] * this.directions[at]);
    this.first = this.axes.reduce(
      (sum, axis, at) => sum + (this.directions[at] < 0 ? strides[axis] * (shape[axis] - 1) : 0), 0);
    this.canonicalAffine = this.#canonicalAffine();
    this.voxelMl = Math.abs(determinant(this.canonicalAffine)) / 1000;
  }

  get voxels() {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  // World coordinates, mm, RAS+, of a canonical place.
  world(slice, row, column) {
    return this.canonicalAffine.slice(0, 3).map((line) => line[0] * column + line[1] * row + line[2] * slice + line[3]);
  }

  // Canonical (slices, height, width) labels in the stored order.
  toStored(labels) {
    const stored = new labels.constructor(labels.length);
    this.eachRow((from, to, step, width) => {
      for (let column = 0; column < width; column++) stored[to + column * step] = labels[from + column];
    });
    return stored;
  }

  // Calls (canonical index, stored index, stored step, width) for each row, or for the rows of some canonical slices.
  eachRow(call, start = 0, stop = this.canonicalShape[0]) {
    const [, height, width] = this.canonicalShape;
    const [sliceStep, rowStep, columnStep] = this.steps;
    for (let slice = start; slice < stop; slice++) {
      for (let row = 0; row < height; row++) {
        call((slice * height + row) * width, this.first + slice * sliceStep + row * rowStep, columnStep, width);
      }
    }
  }

  // Four rows, from canonical (column, row, slice) to world.
  #canonicalAffine() {
    const [slices, rows, columns] = this.axes;
    const order = [columns, rows, slices];
    const directions = [this.directions[2], this.directions[1], this.directions[0]];
    return this.affine.map((line, row) => {
      if (row === 3) return [0, 0, 0, 1];
      let origin = line[3];
      const turned = order.map((axis, at) => {
        if (directions[at] < 0) origin += line[axis] * (this.shape[axis] - 1);
        return line[axis] * directions[at];
      });
      return [...turned, origin];
    });
  }
}

function spacing(affine) {
  return [0, 1, 2].map((axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]));
}

function determinant([[a, b, c], [d, e, f], [g, h, i]]) {
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

function checkAffine(affine) {
  if (!affine.flat().every(Number.isFinite)) throw new Error("The header has an affine with entries that are no numbers.");
  const sizes = spacing(affine);
  if (!sizes.every((size) => size >= LEAST_MM && size <= MOST_MM)) {
    throw new Error(`The header says voxels of ${sizes.map((size) => size.toPrecision(4)).join(" x ")} mm, which no CT has.`);
  }
  const cell = affine.slice(0, 3).map((line) => line.slice(0, 3).map((entry, axis) => entry / sizes[axis]));
  if (Math.abs(determinant(cell)) < LEAST_CELL) throw new Error("The header's axes barely span three directions.");
}

// For each world axis (right, anterior, superior) the stored axis that runs along it, and its direction.
function orientation(affine) {
  const sizes = spacing(affine);
  const turned = rotation(affine.slice(0, 3).map((line) => line.slice(0, 3).map((entry, axis) => entry / sizes[axis])));
  const strength = [0, 1, 2].map((axis) => Math.max(...turned.map((line) => line[axis] ** 2)));
  const found = [];
  for (const axis of [0, 1, 2].sort((a, b) => strength[b] - strength[a])) { // the sort is stable
    let world = -1;
    for (const candidate of [0, 1, 2]) {
      if (found[candidate] !== undefined) continue;
      if (world < 0 || Math.abs(turned[candidate][axis]) > Math.abs(turned[world][axis])) world = candidate;
    }
    found[world] = { axis, sign: turned[world][axis] < 0 ? -1 : 1 };
  }
  return found;
}

// The rotation, or rotation with reflection, nearest to a matrix: its polar factor, by Newton's iteration.
function rotation(matrix) {
  for (let pass = 0; pass < 60; pass++) {
    const [[a, b, c], [d, e, f], [g, h, i]] = matrix;
    const volume = determinant(matrix);
    const inverse = [ // transposed
      [e * i - f * h, f * g - d * i, d * h - e * g],
      [c * h - b * i, a * i - c * g, b * g - a * h],
      [b * f - c * e, c * d - a * f, a * e - b * d],
    ];
    const next = matrix.map((line, row) => line.map((entry, column) => (entry + inverse[row][column] / volume) / 2));
    const change = Math.max(...next.flat().map((entry, at) => Math.abs(entry - matrix[Math.floor(at / 3)][at % 3])));
    matrix = next;
    if (change < 1e-14) break;
  }
  return matrix;
}
