// The voxels of a DICOM series, by dcm2niix: one NIfTI volume, held against what the headers say.

import { fetchBytes } from "../segment/model.js";
import { gunzipped } from "./gzip.js";
import { NiftiVolume } from "./nifti.js";

const VENDOR = new URL("../../vendor/", import.meta.url);
const [INPUT, OUTPUT] = ["/input", "/output"];
const OPTIONS = ["-b", "n", "-f", "scan", "-i", "n", "-m", "y", "-o", OUTPUT, "-p", "n", "-z", "n", INPUT];
const AIR_HU = -1024; // of what lies outside the scanner's circle, whichever number it was given
const TISSUE_HU = [-900, 3071]; // padding of a value between these cannot be told from the patient
const APART_MM = 0.05;

export async function readSeries(series) {
  const content = await converted(series);
  const volume = await NiftiVolume.read(content, series.name);
  refuseOther(volume, series);
  return withAir(volume, series);
}

async function converted({ slices, name }) {
  const { default: load } = await import(new URL("dcm2niix.jpeg.js", VENDOR));
  const wasmBinary = await gunzipped(await fetchBytes(new URL("dcm2niix.jpeg.wasm.gz", VENDOR)), "dcm2niix");
  const module = await load({ wasmBinary, noInitialRun: true, print: () => {}, printErr: () => {} });
  module.FS.mkdir(INPUT);
  module.FS.mkdir(OUTPUT);
  for (const [at, { file }] of slices.entries()) {
    module.FS.createDataFile(INPUT, `${at}.dcm`, new Uint8Array(await file.arrayBuffer()), true, true, true);
  }
  const status = module.callMain([...OPTIONS]);
  const files = module.FS.readdir(OUTPUT).filter((file) => file.endsWith(".nii"));
  if (files.length !== 1) {
    throw new Error(`${name}: dcm2niix made ${files.length} volumes of it (status ${status}); lits-infer and lits-serve may read it.`);
  }
  return module.FS.readFile(`${OUTPUT}/${files[0]}`);
}

// dcm2niix puts slices that it cannot place into a volume none the less: the corners must be where the headers say.
function refuseOther({ geometry }, { slices, name }) {
  const [first, last] = [slices[0], slices.at(-1)];
  const expected = [first.columns, first.rows, slices.length].sort((a, b) => a - b).join();
  const found = [...geometry.shape].sort((a, b) => a - b).join();
  const apart = found === expected ? cornersApart(geometry, first, last) : Infinity;
  if (!(apart <= APART_MM)) throw new Error(`${name}: dcm2niix places its slices elsewhere than their headers do; lits-infer and lits-serve may read it.`);
}

// The largest distance, mm, from a corner of the first or last slice to the nearest corner of the volume.
function cornersApart({ shape, affine }, first, last) {
  const corners = [];
  for (const i of [0, shape[0] - 1]) {
    for (const j of [0, shape[1] - 1]) {
      for (const k of [0, shape[2] - 1]) corners.push([0, 1, 2].map((row) => affine[row][0] * i + affine[row][1] * j + affine[row][2] * k + affine[row][3]));
    }
  }
  const wanted = [first, last].flatMap(({ position, orientation, spacing, rows, columns }) => [0, columns - 1].flatMap((column) =>
    [0, rows - 1].map((row) => [0, 1, 2].map((axis) =>
      (position[axis] + orientation[axis] * spacing[1] * column + orientation[axis + 3] * spacing[0] * row) * (axis < 2 ? -1 : 1)))));
  return Math.max(...wanted.map((point) => Math.min(...corners.map((corner) => Math.hypot(...corner.map((value, axis) => value - point[axis]))))));
}

// Values below air, and padding, become air, as lits_runtime/volumes/dicom/pixels/hounsfield.py has it.
function withAir(volume, { slices }) {
  const padded = paddingHu(slices[0]);
  const read = volume.readSlices.bind(volume);
  volume.readSlices = (start, stop, into, at = 0) => {
    read(start, stop, into, at);
    const [, height, width] = volume.geometry.canonicalShape;
    for (let place = at; place < at + (stop - start) * height * width; place++) {
      const hu = into[place];
      if (hu < AIR_HU || (padded !== null && hu >= padded[0] && hu <= padded[1])) into[place] = AIR_HU;
    }
  };
  return volume;
}

// The range of the padding value in HU, where it can be told from tissue; else null.
function paddingHu({ padding, paddingEnd = padding, signed, slope, intercept }) {
  if (padding === undefined) return null;
  const number = (bits) => (signed && bits > 0x7fff ? bits - 0x10000 : bits);
  const range = [number(padding), number(paddingEnd)].map((value) => value * slope + intercept).sort((a, b) => a - b);
  return range[1] <= TISSUE_HU[0] || range[0] >= TISSUE_HU[1] ? range : null;
}
