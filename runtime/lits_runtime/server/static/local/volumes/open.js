// What lies in the files that were dropped: NIfTI volumes and DICOM series.

import { findSeries } from "./dicom_series.js";
import { isDicom } from "./dicom_header.js";
import { readSeries } from "./dicom_volume.js";
import { NiftiVolume } from "./nifti.js";
import { isZip, unzipped } from "./zip.js";

const FIRST_BYTES = 512;

// Volumes { name, text, open } to choose from, the most fitting first, and notes on what is not used.
export async function lookAt(files, tell) {
  const volumes = [];
  const images = [];
  const notes = [];
  const all = await unpacked(files);
  for (const [at, file] of all.entries()) {
    const start = new Uint8Array(await file.slice(0, FIRST_BYTES).arrayBuffer());
    if (isDicom(start)) images.push(file);
    else if (/\.nii(\.gz)?$/i.test(file.name) || all.length === 1) volumes.push(niftiIn(file));
    else notes.push(file.name);
    if (at % 16 === 0) tell(at, all.length);
  }
  const { series, refused } = await findSeries(images, tell);
  for (const one of series) volumes.push({ name: one.name, text: one.text, open: () => readSeries(one) });
  if (!volumes.length) throw new Error(refused[0] ?? "There is no CT among these files: NIfTI (.nii, .nii.gz) or DICOM is needed.");
  if (notes.length) refused.push(`${notes.length} ${notes.length === 1 ? "file is" : "files are"} neither NIfTI nor DICOM.`);
  return { volumes, notes: refused };
}

export function openVolume({ open }) {
  return open();
}

async function unpacked(files) {
  const all = [];
  for (const file of files) all.push(...((await isZip(file)) ? await unzipped(file) : [file]));
  return all;
}

function niftiIn(file) {
  const name = file.name.replace(/\.nii(\.gz)?$/i, "");
  return {
    name,
    text: file.name,
    open: async () => NiftiVolume.read(new Uint8Array(await file.arrayBuffer()), file.name),
  };
}
