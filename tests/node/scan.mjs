// node --experimental-detect-module scan.mjs STATIC FOLDER: what the page of lits-serve makes of scans and labels.
//
// FOLDER/plan.json lists { scan, labels, postprocessing }; beside each scan its HU (float32), its labels cleaned up
// (uint8), both canonical, its mask file and its report are written.
import { readFileSync, writeFileSync } from "node:fs";

const [pages, folder] = process.argv.slice(2);
const { NiftiVolume } = await import(`${pages}/local/volumes/nifti.js`);
const { cleanUp } = await import(`${pages}/local/segment/cleanup.js`);
const { measured } = await import(`${pages}/local/segment/measure.js`);

for (const { scan, labels: stored, postprocessing } of JSON.parse(readFileSync(`${folder}/plan.json`, "utf8"))) {
  const volume = await NiftiVolume.read(new Uint8Array(readFileSync(`${folder}/${scan}`)), scan);
  const { canonicalShape: shape } = volume.geometry;
  const hu = new Float32Array(shape[0] * shape[1] * shape[2]);
  volume.readSlices(0, shape[0], hu);
  writeFileSync(`${folder}/${scan}.hu`, hu);
  const labels = new Uint8Array(readFileSync(`${folder}/${stored}`));
  cleanUp(labels, volume.geometry, postprocessing);
  writeFileSync(`${folder}/${scan}.labels`, labels);
  writeFileSync(`${folder}/${scan}.mask.nii.gz`, await volume.maskFile(labels));
  writeFileSync(`${folder}/${scan}.json`, JSON.stringify(measured(labels, volume, ["liver", "lesion"])));
}
