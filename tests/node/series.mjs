// node --experimental-detect-module series.mjs STATIC FOLDER: what the page of lits-serve makes of DICOM in subfolders.
//
// FOLDER/plan.json lists names of subfolders. Prints as JSON, by name, the volumes' shapes or the error; HU of the volumes
// (float32, canonical) are written beside the subfolder as NAME.0.hu, NAME.1.hu...
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";

const [pages, folder] = process.argv.slice(2);
globalThis.fetch = async (url) => new Response(readFileSync(url)); // Node's own fetches no files
const { lookAt, openVolume } = await import(`${pages}/local/volumes/open.js`);

function filesIn(path) {
  if (statSync(path).isFile()) return [new File([readFileSync(path)], "archive.zip")];
  return readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .map((entry) => new File([readFileSync(`${entry.parentPath ?? entry.path}/${entry.name}`)], entry.name));
}

async function read(name) {
  const { volumes, notes } = await lookAt(filesIn(`${folder}/${name}`), () => {});
  const shapes = [];
  for (const [at, found] of volumes.entries()) {
    const volume = await openVolume(found);
    const shape = volume.geometry.canonicalShape;
    const hu = new Float32Array(shape[0] * shape[1] * shape[2]);
    volume.readSlices(0, shape[0], hu);
    writeFileSync(`${folder}/${name}.${at}.hu`, hu);
    shapes.push({ shape, affine: volume.geometry.canonicalAffine });
  }
  return { shapes, notes };
}

const seen = {};
for (const name of JSON.parse(readFileSync(`${folder}/plan.json`, "utf8"))) {
  seen[name] = await read(name).catch((error) => ({ error: error.message }));
}
console.log(JSON.stringify(seen));
