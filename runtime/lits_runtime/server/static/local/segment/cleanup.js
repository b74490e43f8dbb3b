// Clean-up of labels in 3D as the model asks for it: the rules of lits_runtime/cleanup.

import { eachTouching, Forest, runsOf } from "./runs.js";

const [BACKGROUND, LIVER, LESION] = [0, 1, 2];

export function cleansUp(steps) {
  return Boolean(steps.keep_largest_liver || steps.drop_lesions_outside_liver || steps.min_lesion_ml > 0);
}

// Cleans up labels (slices, height, width) in place.
export function cleanUp(labels, shape, voxelMl, steps) {
  if (!cleansUp(steps)) return;
  const runs = runsOf(labels, shape);
  if (steps.keep_largest_liver) keepLargest(runs, shape);
  settleLesions(runs, shape, voxelMl, steps);
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

function settleLesions(runs, shape, voxelMl, steps) {
  const { values } = runs;
  const forest = new Forest(runs.length);
  const contacts = [];
  eachTouching(runs, shape, (one, other) => {
    if (values[one] === values[other]) forest.join(one, other);
    else if (values[one] === LESION && values[other] === LIVER) contacts.push(one);
    else if (values[other] === LESION && values[one] === LIVER) contacts.push(other);
  });
  const sizes = sizesOf(runs, forest);
  const inLiver = new Set(contacts.map((run) => forest.root(run)));
  for (let run = 0; run < runs.length; run++) {
    if (values[run] !== LESION) continue;
    const lesion = forest.root(run);
    const small = sizes[lesion] * voxelMl < (steps.min_lesion_ml ?? 0);
    if (small) values[run] = inLiver.has(lesion) ? LIVER : BACKGROUND;
    else if (steps.drop_lesions_outside_liver && !inLiver.has(lesion)) values[run] = BACKGROUND;
  }
}

// Voxels of each component, at the place of its first run.
function sizesOf(runs, forest) {
  const sizes = new Float64Array(runs.length);
  for (let run = 0; run < runs.length; run++) sizes[forest.root(run)] += runs.stops[run] - runs.starts[run];
  return sizes;
}
