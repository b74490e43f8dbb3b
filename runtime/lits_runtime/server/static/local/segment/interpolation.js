// Labels of slices between two that the model saw, as in lits_runtime/segment/slabs/interpolation.py.

const MOST_HELD_VOXELS = 2 ** 22;
const ROUNDING = 1e-3;
const CERTAIN = 9; // largest log-odds, of a probability of 0.9999

// How many slices on the next one may be, so that both are at most a distance apart.
export function slicesWithin(geometry, distanceMm) {
  const [slices, height, width] = geometry.canonicalShape;
  const wanted = Math.floor(distanceMm / geometry.canonicalSpacingMm[0] + ROUNDING);
  const count = Math.min(wanted, Math.floor(MOST_HELD_VOXELS / (height * width)));
  return count > 1 && count < slices - 1 ? count : 1;
}

// Labels of the slices between `low` and `high`, each { slice, labels, probability }. The log-odds of each class change
// linearly; where both ends have the same label, so has all between.
export function labelsBetween(low, high, metadata) {
  const plane = low.labels.length;
  const count = high.slice - low.slice - 1;
  const found = new Uint8Array(count * plane);
  const least = metadata.thresholds.map(logOdds);
  for (let at = 0; at < plane; at++) {
    const label = low.labels[at];
    if (label === high.labels[at]) {
      if (label) for (let between = 0; between < count; between++) found[between * plane + at] = label;
      continue;
    }
    for (let channel = 0; channel < least.length; channel++) {
      const first = logOdds(low.probability[channel * plane + at]);
      const last = logOdds(high.probability[channel * plane + at]);
      for (let between = 0; between < count; between++) {
        const value = first + ((between + 1) / (count + 1)) * (last - first);
        if (value >= least[channel]) found[between * plane + at] = metadata.label_values[channel];
      }
    }
  }
  return found;
}

function logOdds(probability) {
  return Math.min(Math.max(Math.log(probability / (1 - probability)), -CERTAIN), CERTAIN);
}
