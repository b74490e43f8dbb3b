// A volume through the model, slab by slab: labels (slices, height, width) in canonical orientation.

import { labelsBetween, slicesWithin } from "./interpolation.js";

const MOST_SLAB_VOXELS = 2 ** 22;
const SLICES = 4;
const LEAST_LIVER_MM2 = 100; // of liver and lesions in a slice that shows liver

// Segments a volume: all slices, or where the model allows it those that may show liver, and of these every n-th.
// Canonical labels, and the range of all values; `tell` gets (slices done, slices).
export async function segmentSlabs(volume, engine, metadata, tell) {
  const { geometry } = volume;
  const [slices] = geometry.canonicalShape;
  const stride = slicesWithin(geometry, metadata.interpolation_mm);
  const step = stepOf(geometry, metadata.search_mm, stride);
  const pass = new Pass(volume, engine, metadata, stride);
  const apart = Math.max(step, stride);
  if (apart === 1) {
    await pass.segment(0, slices, tell);
    return pass.result;
  }
  let low = await pass.see(0);
  while (low.slice < slices - 1) {
    const high = await pass.see(Math.min(low.slice + apart, slices - 1));
    // Between two looks without liver is background, as in liver_search.py.
    const fills = step === 1 || [low, high].some(({ labels }) => showsLiver(labels, geometry));
    await (fills ? pass.fill(low, high, tell) : pass.leaveOut(low, high));
    tell(high.slice + 1, slices);
    low = high;
  }
  return pass.result;
}

// One pass over a volume, in which slices are segmented, interpolated, or left out as background.
class Pass {
  constructor(volume, engine, metadata, stride) {
    Object.assign(this, { engine, metadata, stride });
    const [slices, height, width] = volume.geometry.canonicalShape;
    Object.assign(this, { slices, plane: height * width, labels: new Uint8Array(slices * height * width) });
    this.reader = new SlabReader(volume, metadata.context_slices);
    this.size = slabSize(volume.geometry, metadata.context_slices);
    this.names = stride > 1 ? ["labels", "probability"] : ["labels"];
  }

  get result() {
    return { labels: this.labels, lowest: this.reader.lowest, highest: this.reader.highest };
  }

  // The model sees all slices of a range, some at a time.
  async segment(low, high, tell) {
    for (let start = low; start < high; start += this.size) {
      const stop = Math.min(start + this.size, high);
      const { labels } = await this.engine.run(...this.reader.read(start, stop), ["labels"]);
      this.labels.set(labels, start * this.plane);
      tell(stop, this.slices);
    }
  }

  // The model sees one slice.
  async see(slice) {
    const found = await this.engine.run(...this.reader.read(slice, slice + 1), this.names);
    this.labels.set(found.labels, slice * this.plane);
    return { slice, labels: found.labels, probability: found.probability };
  }

  // Labels of all slices between two that the model saw.
  async fill(low, high, tell) {
    if (this.stride === 1) {
      await this.segment(low.slice + 1, high.slice, tell);
      return;
    }
    let before = low;
    while (before.slice < high.slice) {
      const next = before.slice + this.stride;
      const after = next < high.slice ? await this.see(next) : high;
      this.leaveOut(before, after);
      this.labels.set(labelsBetween(before, after, this.metadata), (before.slice + 1) * this.plane);
      before = after;
    }
  }

  // The model sees none of the slices between two; only their values are looked at.
  leaveOut(low, high) {
    if (high.slice - low.slice > 1) this.reader.read(low.slice + 1, high.slice);
  }
}

export function slabSize(geometry, context) {
  const [, height, width] = geometry.canonicalShape;
  return Math.max(1, Math.min(SLICES + context, Math.floor(MOST_SLAB_VOXELS / (height * width))));
}

function showsLiver(labels, geometry) {
  const [, rowMm, columnMm] = geometry.canonicalSpacingMm;
  return labels.reduce((count, label) => count + (label > 0), 0) * rowMm * columnMm >= LEAST_LIVER_MM2;
}

// Slices from one look for the liver to the next, a multiple of the stride; 1: no search.
export function stepOf(geometry, searchMm, stride) {
  const step = Math.floor(slicesWithin(geometry, searchMm) / stride) * stride;
  return step > stride ? step : 1;
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
