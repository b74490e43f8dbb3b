// The worker in which a scan is read and segmented: files in, progress, mask and report out. It sends nothing anywhere.

import { lookAt, openVolume } from "../volumes/open.js";
import { cleanUp } from "./cleanup.js";
import { openEngine } from "./engine.js";
import { measured, valueWarnings } from "./measure.js";
import { fetchModel } from "./model.js";
import { SlabReader, slabSize, segmentSlabs } from "./slabs.js";

let found = [];

// { files } is answered by { kind: "found", volumes, notes }, { index, model, token, gpu } by progress and { kind: "done", ... }.
self.onmessage = async ({ data }) => {
  try {
    if (data.files !== undefined) await look(data.files);
    else await segment(data);
  } catch (error) {
    self.postMessage({ kind: "error", message: inWords(error) });
  }
};

async function look(files) {
  const { volumes, notes } = await lookAt(files, (done, total) => progress("Looking at the files", done, total));
  found = volumes;
  self.postMessage({ kind: "found", volumes: volumes.map(({ name, text }) => ({ name, text })), notes });
}

async function segment({ index, model: address, token, gpu }) {
  const began = performance.now();
  const chosen = found[index];
  progress("Reading the scan", 0, 0);
  const volume = await openVolume(chosen);
  const model = await fetchModel(address, token, (part) => progress("Loading the model", part, 1));
  const { metadata } = model;
  const [slices] = volume.geometry.canonicalShape;
  const middle = Math.floor(slices / 2);
  const check = () => {
    const stop = Math.min(middle + slabSize(volume.geometry, metadata.context_slices), slices);
    return new SlabReader(volume, metadata.context_slices).read(middle, stop);
  };
  progress("Preparing the model", 0, 0);
  const engine = await openEngine(model, { gpu, check });
  const result = await segmentSlabs(volume, engine, metadata, (done, total) => progress("Segmenting", done, total));
  await engine.close();
  progress("Measuring", 0, 0);
  cleanUp(result.labels, volume.geometry, metadata.postprocessing);
  const report = measured(result.labels, volume, metadata.classes);
  report.warnings.push(...valueWarnings(result.lowest, result.highest));
  Object.assign(report, {
    provider: engine.provider,
    threads: engine.threads,
    model_sha256: model.sha256,
    seconds: (performance.now() - began) / 1000,
  });
  const mask = new Blob([await volume.maskFile(result.labels)], { type: "application/gzip" });
  const scan = new Blob([volume.file], { type: "application/octet-stream" });
  self.postMessage({ kind: "done", scan, mask, report, name: chosen.name, note: engine.note, use: metadata.intended_use });
}

function progress(stage, done, total) {
  self.postMessage({ kind: "progress", stage, done, total });
}

function inWords(error) {
  const message = String(error?.message ?? error);
  if (error instanceof RangeError || /out of memory|allocation failed|bad_alloc/i.test(message)) {
    return "The scan is too large for the memory of this browser: use lits-infer, or a server.";
  }
  return message;
}
