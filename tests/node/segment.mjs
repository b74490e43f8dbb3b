// Labels of one raw slab by ONNX Runtime under Node.js: native code, or WebAssembly as in a browser.
//
//   node segment.mjs onnxruntime-node|onnxruntime-web MODEL.onnx SLAB SHAPE.json LABELS
//
// SLAB is raw float32 Hounsfield units of the shape in SHAPE.json; LABELS becomes raw uint8, and
// the labels' shape is printed as JSON. Nothing here knows the preprocessing.
import { readFileSync, writeFileSync } from "node:fs";

const [library, model, slab, shape, labels] = process.argv.slice(2);
const ort = (await import(library)).default;
ort.env.wasm.numThreads = 1;
const providers = { "onnxruntime-node": "cpu", "onnxruntime-web": "wasm" };
const session = await ort.InferenceSession.create(readFileSync(model), {
  executionProviders: [providers[library]],
});
const hu = readFileSync(slab);
const values = new Float32Array(hu.buffer, hu.byteOffset, hu.byteLength / 4);
const input = new ort.Tensor("float32", values, JSON.parse(readFileSync(shape, "utf8")));
const output = (await session.run({ slab: input }, ["labels"])).labels;
writeFileSync(labels, output.data);
console.log(JSON.stringify({ type: output.type, dims: output.dims }));
