// NIfTI-1 and NIfTI-2 in single files: a CT volume in, a mask under the same header out.

import { Geometry } from "./geometry.js";
import { gunzipped, gzipped } from "./gzip.js";

const TYPES = {
  2: Uint8Array, 4: Int16Array, 8: Int32Array, 16: Float32Array, 64: Float64Array, 256: Int8Array, 512: Uint16Array,
  768: Uint32Array, 1024: BigInt64Array, 1280: BigUint64Array,
};
const UNSIGNED_BYTE = 2;
// Where the fields of either version lie, and how wide they are.
const LAYOUTS = {
  348: {
    magic: [344, "n+1\0"], dim: [40, "Int16", 2], datatype: 70, bitpix: 72, pixdim: [76, "Float32", 4],
    offset: [108, "Float32"], slope: [112, "Float32"], range: [124, "Float32", 4], qform: [252, "Int16"],
    sform: [254, "Int16"], quaternion: [256, "Float32", 4], rows: [280, "Float32", 4], units: [123, "Uint8"],
  },
  540: {
    magic: [4, "n+2\0"], dim: [16, "BigInt64", 8], datatype: 12, bitpix: 14, pixdim: [104, "Float64", 8],
    offset: [168, "BigInt64"], slope: [176, "Float64"], range: [192, "Float64", 8], qform: [344, "Int32"],
    sform: [348, "Int32"], quaternion: [352, "Float64", 8], rows: [400, "Float64", 8], units: [500, "Int32"],
  },
};

export class NiftiVolume {
  // Reads a file's content, compressed or not; `name` is for messages.
  static async read(content, name) {
    const bytes = await gunzipped(content, name);
    const header = headerOf(bytes, name);
    const { shape, type, offset } = header;
    const count = shape[0] * shape[1] * shape[2];
    const end = offset + count * type.BYTES_PER_ELEMENT;
    if (bytes.length < end) throw new Error(`${name} is truncated: ${bytes.length} bytes, its header needs ${end}.`);
    const rest = bytes.subarray(end);
    if (rest.length >= shape[0] * shape[1] * type.BYTES_PER_ELEMENT || rest.some((byte) => byte !== 0)) {
      throw new Error(`${name} holds more than its header says: ${rest.length} bytes after the voxels.`);
    }
    return new NiftiVolume(bytes, header, values(bytes, header, count));
  }

  constructor(bytes, header, stored) {
    this.geometry = new Geometry(header.shape, header.affine);
    this.stored = stored;
    this.header = header;
    this.slope = header.slope;
    this.intercept = header.intercept;
    this.start = bytes.slice(0, header.offset); // header and extensions
    this.file = bytes;
  }

  // HU of canonical slices, float32 in (slices, height, width); written into `into` from `at` on.
  readSlices(start, stop, into, at = 0) {
    const { stored, slope, intercept } = this;
    const [, height, width] = this.geometry.canonicalShape;
    const shift = at - start * height * width;
    this.geometry.eachRow((to, from, step) => {
      for (let column = 0; column < width; column++) {
        into[to + shift + column] = Number(stored[from + column * step]) * slope + intercept;
      }
    }, start, stop);
    const stretch = into.subarray(at, at + (stop - start) * height * width);
    if (!stretch.every(Number.isFinite)) {
      throw new Error(`The scan has values that are not finite between slices ${start} and ${stop - 1}.`);
    }
  }

  // The file of a mask, compressed: canonical labels under the scan's header.
  async maskFile(labels) {
    const start = this.start.slice();
    const view = new DataView(start.buffer);
    const { layout, little } = this.header;
    const put = ([at, kind], value) => view[`set${kind}`](at, kind === "BigInt64" ? BigInt(value) : value, little);
    const [dim, kind, width] = layout.dim;
    put([dim, kind], 3);
    for (let axis = 4; axis <= 7; axis++) put([dim + axis * width, kind], 1);
    view.setInt16(layout.datatype, UNSIGNED_BYTE, little);
    view.setInt16(layout.bitpix, 8, little);
    const [slope, real] = layout.slope;
    const bytes = real === "Float64" ? 8 : 4;
    put([slope, real], 1);
    put([slope + bytes, real], 0);
    put([layout.range[0], real], 0);
    put([layout.range[0] + bytes, real], 0);
    const file = new Uint8Array(start.length + labels.length);
    file.set(start);
    file.set(this.geometry.toStored(labels), start.length);
    return gzipped(file);
  }
}

function headerOf(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const refuse = (why) => { throw new Error(`${name} is no readable CT volume: ${why}.`); };
  if (bytes.length < 352) refuse("it is too short for NIfTI");
  const little = view.getInt32(0, true) in LAYOUTS;
  const layout = LAYOUTS[view.getInt32(0, little)];
  const magic = layout && String.fromCharCode(...bytes.subarray(layout.magic[0], layout.magic[0] + 4));
  if (magic !== layout?.magic[1] || layout === undefined) refuse("it is not NIfTI in one file, nor DICOM");
  const get = ([at, kind, width = 0], index = 0) => Number(view[`get${kind}`](at + index * width, little));
  const count = get(layout.dim);
  const sizes = Array.from({ length: count }, (_, axis) => get(layout.dim, axis + 1));
  if (count < 3 || count > 7 || sizes.slice(3).some((size) => size !== 1) || sizes.some((size) => size < 1)) {
    refuse(`its shape is ${sizes.join(" x ")}, expected one volume`);
  }
  const type = TYPES[view.getInt16(layout.datatype, little)];
  if (type === undefined) refuse("its voxels are neither integers nor floats");
  const size = view.getInt32(0, little);
  let offset = get(layout.offset);
  if (offset < size + 4) offset = trueOffset(bytes.length, size, sizes, type);
  if (!(offset <= bytes.length)) refuse("its header says that the voxels begin after its end");
  let slope = get(layout.slope);
  let intercept = get([layout.slope[0] + (size === 540 ? 8 : 4), layout.slope[1]]);
  if (slope === 0 || !Number.isFinite(slope)) [slope, intercept] = [1, 0];
  if (!Number.isFinite(intercept)) refuse("its intercept is no number");
  const affine = inMillimetres(affineOf(get, layout, sizes), get(layout.units) & 7);
  return { little, layout, type, offset, slope, intercept, affine, shape: sizes.slice(0, 3) };
}

// Writers that leave the offset at 0 or at the header's size may omit the four bytes before the voxels.
function trueOffset(length, size, shape, type) {
  const wanted = shape.reduce((product, one) => product * one, type.BYTES_PER_ELEMENT);
  return length === size + wanted ? size : size + 4;
}

// The sform, else the qform, else the voxel sizes alone with the first axis to the left: as nibabel does.
function affineOf(get, layout, sizes) {
  if (get(layout.sform) > 0) {
    return [0, 1, 2].map((row) => [0, 1, 2, 3].map((column) => get(layout.rows, row * 4 + column))).concat([[0, 0, 0, 1]]);
  }
  const pixel = [1, 2, 3].map((axis) => Math.abs(get(layout.pixdim, axis)) || 1);
  if (get(layout.qform) > 0) {
    const [b, c, d, x, y, z] = [0, 1, 2, 3, 4, 5].map((index) => get(layout.quaternion, index));
    const a = Math.sqrt(Math.max(0, 1 - (b * b + c * c + d * d)));
    const flip = get(layout.pixdim, 0) < 0 ? -1 : 1;
    const [i, j, k] = [pixel[0], pixel[1], pixel[2] * flip];
    return [
      [(a * a + b * b - c * c - d * d) * i, 2 * (b * c - a * d) * j, 2 * (b * d + a * c) * k, x],
      [2 * (b * c + a * d) * i, (a * a + c * c - b * b - d * d) * j, 2 * (c * d - a * b) * k, y],
      [2 * (b * d - a * c) * i, 2 * (c * d + a * b) * j, (a * a + d * d - b * b - c * c) * k, z],
      [0, 0, 0, 1],
    ];
  }
  const signed = [-pixel[0], pixel[1], pixel[2]];
  return [...[0, 1, 2].map((row) => {
    const line = [0, 0, 0, -signed[row] * (sizes[row] - 1) / 2];
    line[row] = signed[row];
    return line;
  }), [0, 0, 0, 1]];
}

// A unit of metres or micrometres is believed unless only millimetres give voxels of a size that CT has.
function inMillimetres(affine, unit) {
  const factor = { 1: 1000, 3: 0.001 }[unit];
  if (factor === undefined) return affine;
  const likely = (scale) => [0, 1, 2].every((axis) => {
    const size = scale * Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]);
    return size >= 0.1 && size <= 20;
  });
  if (!likely(factor) && likely(1)) return affine;
  return affine.map((line, row) => (row < 3 ? line.map((entry) => entry * factor) : line));
}

function values(bytes, { type, offset, little }, count) {
  const size = type.BYTES_PER_ELEMENT;
  const begin = bytes.byteOffset + offset;
  if (little && begin % size === 0) return new type(bytes.buffer, begin, count);
  const copy = bytes.slice(offset, offset + count * size);
  if (!little && size > 1) for (let at = 0; at < copy.length; at += size) copy.subarray(at, at + size).reverse();
  return new type(copy.buffer);
}
