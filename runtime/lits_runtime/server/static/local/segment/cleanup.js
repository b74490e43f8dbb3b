// Clean-up of labels in 3D as the model asks for it: the rules of lits_runtime/cleanup.

import { eachTouching, facesOf, Forest, runsOf } from "./runs.js";

const [BACKGROUND, LIVER, LESION] = [0, 1, 2];
const ROUNDING = 1e-9; // of sums of areas

export function cleansUp(steps) {
  return Boolean(
    steps.keep_largest_liver || steps.drop_lesions_outside_liver || steps.min_lesion_ml > 0 || steps.min_liver_contact > 0);
}

// Cleans up canonical labels of a geometry, (slices, height, width), in place.
export function cleanUp(labels, geometry, steps) {
  if (!cleansUp(steps)) return;
  const runs = runsOf(labels, geometry.canonicalShape);
  if (steps.keep_largest_liver) keepLargest(runs, geometry.canonicalShape);
  settleLesions(runs, geometry, steps);
  for (let run = 0; run < runs.length; run++) labels.fill(runs.values[run], runs.starts[run], runs.stops[run]);
}

// Of equally large livers, lesions included, the one that begins first is kept.
function keepLargest(runs, shape) {
  const forest = new Forest(runs.length);
  eachTouching(runs, shape, (one, other) => forest.join(one, other));
  const sizes = sizesOf(runs, forest);
  let largest = 0;
  for (let run = 1; run < runs.length; run++) if (sizes[run] > sizes[largest]) largest = run;
  for (let run = 0; run < runs.length; run++) if (forest.root(run) !== largest) runs.values[run] = BACKGROUND;
}

function settleLesions(runs, geometry, steps) {
  const { values } = runs;
  const forest = new Forest(runs.length);
  eachTouching(runs, geometry.canonicalShape, (one, other) => {
    if (values[one] === values[other]) forest.join(one, other);
  });
  const sizes = sizesOf(runs, forest);
  const { toLiver, surface } = borders(runs, forest, geometry);
  const least = (steps.min_liver_contact ?? 0) * (1 - ROUNDING);
  for (let run = 0; run < runs.length; run++) {
    if (values[run] !== LESION) continue;
    const lesion = forest.root(run);
    const inLiver = toLiver[lesion] > 0;
    const outside = toLiver[lesion] < least * surface[lesion] || (steps.drop_lesions_outside_liver && !inLiver);
    if (outside) values[run] = BACKGROUND;
    else if (sizes[lesion] * geometry.voxelMl < (steps.min_lesion_ml ?? 0)) values[run] = inLiver ? LIVER : BACKGROUND;
  }
}

// The areas, relative to one another, of each component's faces that border liver, and of those that border anything but
// itself.
function borders(runs, forest, { canonicalShape, canonicalSpacingMm: [slice, row, column] }) {
  const { values } = runs;
  const areas = [1 / slice, 1 / row, 1 / column];
  const toLiver = new Float64Array(runs.length);
  const surface = new Float64Array(runs.length);
  for (let run = 0; run < runs.length; run++) surface[forest.root(run)] += facesOf(runs, run, canonicalShape, areas);
  eachTouching(runs, canonicalShape, (one, other, axis, faces) => {
    const area = areas[axis] * faces;
    if (values[one] === values[other]) surface[forest.root(one)] -= 2 * area;
    else if (values[one] === LESION && values[other] === LIVER) toLiver[forest.root(one)] += area;
    else if (values[other] === LESION && values[one] === LIVER) toLiver[forest.root(other)] += area;
  });
  return { toLiver, surface };
}

// Voxels of each component, at the place of its first run.
function sizesOf(runs, forest) {
  const sizes = new Float64Array(runs.length);
  for (let run = 0; run < runs.length; run++) sizes[forest.root(run)] += runs.stops[run] - runs.starts[run];
  return sizes;
}
