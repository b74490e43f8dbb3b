// Scans out of what was dropped or chosen: NIfTI and ZIP as they are, folders of DICOM images as a ZIP.

import { makeZip } from "../vendor/client-zip.js";

const VOLUME = /\.(nii|nii\.gz|zip)$/i;

// The files in what was dropped, those of folders included.
export async function filesDropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  for (const entry of entries) await collect(entry, files);
  return files;
}

async function collect(entry, files) {
  if (entry.isFile) {
    files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    return;
  }
  const reader = entry.createReader();
  for (;;) { // it gives at most a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await collect(one, files);
  }
}

// Scans as {name, blob, direct}: volumes one by one, all other files together as one DICOM series.
export async function scansOf(files, tell) {
  const seen = files.filter((file) => !file.name.startsWith(".") && file.size > 0);
  const scans = seen.filter((file) => VOLUME.test(file.name)).map((file) => ({ name: file.name, blob: file, direct: isNifti(file) }));
  const images = seen.filter((file) => !VOLUME.test(file.name));
  if (images.length) {
    tell(`Packing ${images.length} images…`);
    const folder = images[0].webkitRelativePath?.split("/")[0];
    scans.push({ name: folder || `${images.length} DICOM images`, blob: await packed(images), direct: null });
  }
  return scans;
}

function isNifti(file) {
  return /\.nii(\.gz)?$/i.test(file.name) ? file : null;
}

// Names of files may be those of patients: numbers take their place.
function packed(images) {
  const named = images.map((input, number) => ({ name: `${String(number).padStart(5, "0")}.dcm`, input, lastModified: new Date(1980, 0, 1) }));
  return new Response(makeZip(named)).blob();
}
