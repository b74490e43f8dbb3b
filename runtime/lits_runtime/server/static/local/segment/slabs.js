// A volume through the model, slab by slab: labels (slices, height, width) in canonical orientation.

const MOST_SLAB_VOXELS = 2 ** 22;
const SLICES = 4;
const LEAST_LIVER_MM2 = 100; // of liver and lesions in a slice that shows liver
const MOST_HELD_VOXELS = 2 ** 22;
const ROUNDING = 1e-3;

// Segments all slices, or with the model's liver search those that may show liver; `tell` gets (slices done, slices).
export async function segmentSlabs(volume, engine, metadata, tell) {
  const { geometry } = volume;
  const [slices, height, width] = geometry.canonicalShape;
  const labels = new Uint8Array(slices * height * width);
  const reader = new SlabReader(volume, metadata.context_slices);
  const size = slabSize(geometry, metadata.context_slices);
  let done = 0;
  const segment = async (start, stop) => {
    const found = await engine.labels(...reader.read(start, stop));
    labels.set(found, start * height * width);
    done += stop - start;
    tell(done, slices);
  };
  const stretches = await searched(geometry, labels, metadata.search_mm, segment);
  for (const [low, high] of stretches) {
    for (let start = low; start < high; start += size) await segment(start, Math.min(start + size, high));
  }
  return { labels, lowest: reader.lowest, highest: reader.highest };
}

export function slabSize(geometry, context) {
  const [, height, width] = geometry.canonicalShape;
  return Math.max(1, Math.min(SLICES + context, Math.floor(MOST_SLAB_VOXELS / (height * width))));
}

// Looks at slices at the search distance, and returns the stretches that are still to be segmented: all without a search.
// Between two looks without liver is background, as in lits_runtime/segment/liver_search.py.
async function searched(geometry, labels, searchMm, segment) {
  const [slices, height, width] = geometry.canonicalShape;
  const step = stepOf(geometry, searchMm);
  if (step === 1) return [[0, slices]];
  const [, rowMm, columnMm] = geometry.canonicalSpacingMm;
  const looks = [];
  for (let slice = 0; slice < slices - 1; slice += step) looks.push(slice);
  looks.push(slices - 1);
  const shows = [];
  for (const slice of looks) {
    await segment(slice, slice + 1);
    const shown = labels.subarray(slice * height * width, (slice + 1) * height * width);
    shows.push(shown.reduce((count, label) => count + (label > 0), 0) * rowMm * columnMm >= LEAST_LIVER_MM2);
  }
  return looks.slice(1).map((high, at) => [looks[at] + 1, high]).filter((_, at) => shows[at] || shows[at + 1]);
}

export function stepOf(geometry, searchMm) {
  const [slices, height, width] = geometry.canonicalShape;
  const wanted = Math.floor(searchMm / geometry.canonicalSpacingMm[0] + ROUNDING);
  const step = Math.min(wanted, Math.floor(MOST_HELD_VOXELS / (height * width)));
  return step > 1 && step < slices - 1 ? step : 1;
}

// Reads slabs with their neighbours; beyond the first and last slice the outermost one is repeated.
export class SlabReader {
  constructor(volume, context) {
    Object.assign(this, { volume, context, lowest: Infinity, highest: -Infinity });
  }

  // Slab, its dimensions, and the number of context slices.
  read(start, stop) {
    const { volume, context } = this;
    const [slices, height, width] = volume.geometry.canonicalShape;
    const plane = height * width;
    const count = stop - start + 2 * context;
    const slab = new Float32Array(count * plane);
    const low = Math.max(start - context, 0);
    const high = Math.min(stop + context, slices);
    const before = low - (start - context);
    volume.readSlices(low, high, slab, before * plane);
    for (let slice = 0; slice < before; slice++) slab.copyWithin(slice * plane, before * plane, (before + 1) * plane);
    for (let slice = before + high - low; slice < count; slice++) {
      slab.copyWithin(slice * plane, (slice - 1) * plane, slice * plane);
    }
    for (let at = 0; at < slab.length; at++) {
      if (slab[at] < this.lowest) this.lowest = slab[at];
      if (slab[at] > this.highest) this.highest = slab[at];
    }
    return [slab, [count, height, width], context];
  }
}
