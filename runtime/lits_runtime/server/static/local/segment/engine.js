// ONNX Runtime in this browser: on the processor, or by WebGPU where it gives the same labels.

import { gunzipped } from "../volumes/gzip.js";
import { fetchBytes } from "./model.js";
import { widened } from "./widened.js";

const VENDOR = new URL("../../vendor/", import.meta.url);
const BUILDS = {
  wasm: { library: "ort.wasm.min.js", code: "ort-wasm-simd-threaded" },
  webgpu: { library: "ort.jspi.min.js", code: "ort-wasm-simd-threaded.jspi" },
};
const MOST_THREADS = 8;
const MOST_DIFFERENT = 1e-3; // of the labelled voxels of a slab: WebGPU adds up in another order

export class Engine {
  constructor(session, ort, provider, threads, note) {
    Object.assign(this, { session, ort, provider, threads, note });
  }

  // { labels, probability }, as far as asked for, of a slab, float32 (slices + 2 * context, height, width) in HU: uint8
  // (slices, height, width) and float32 (slices, classes, height, width).
  async run(slab, dims, context, names) {
    const input = new this.ort.Tensor("float32", slab, dims);
    const found = await this.session.run({ slab: input }, names);
    const expected = [dims[0] - 2 * context, dims[1], dims[2]];
    const { labels } = found;
    if (labels.type !== "uint8" || labels.dims.join() !== expected.join()) {
      throw new Error(`The model returned labels of shape ${labels.dims.join(" x ")}, expected ${expected.join(" x ")}.`);
    }
    const data = names.map(async (name) => [name, found[name].getData ? await found[name].getData() : found[name].data]);
    return Object.fromEntries(await Promise.all(data));
  }

  close() {
    return this.session.release();
  }
}

// Opens the model on the processor; with `gpu`, by WebGPU if it can and if the labels of `check` agree with the
// processor's. `check` gives (slab, dims, context) of some slices of the scan.
export async function openEngine(model, { gpu = false, check = null } = {}) {
  const processor = await openOn("wasm", model, null);
  if (!gpu) return processor;
  let graphics = null;
  let note;
  try {
    const obstacle = await webgpuObstacle(model.metadata.precision);
    if (obstacle !== null) throw new Error(obstacle);
    graphics = await openOn("webgpu", model, null);
    note = await disagreement(processor, graphics, check);
  } catch (error) {
    note = error.message;
  }
  if (note === null) {
    await processor.close();
    return graphics;
  }
  await graphics?.close().catch(() => {});
  processor.note = `WebGPU is not used: ${note}`;
  return processor;
}

// Why this browser's WebGPU cannot run a model of a precision; null if it may.
export async function webgpuObstacle(precision, scope = globalThis) {
  const { navigator, WebAssembly: wasm } = scope;
  if (navigator.gpu === undefined) return "this browser has no WebGPU";
  if (wasm.Suspending === undefined) return "this browser cannot suspend WebAssembly (JSPI)";
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) return "there is no graphics card that it can use";
  if (adapter.info?.isFallbackAdapter || adapter.isFallbackAdapter) return "the graphics card is emulated in software";
  if (precision === "int8") return "the model is quantised";
  if (precision === "fp16" && !adapter.features.has("shader-f16")) return "the graphics card lacks 16-bit floats";
  if (adapter.limits.maxStorageBufferBindingSize < 2 ** 27) return "the graphics card allows too small buffers";
  return null;
}

// How many threads ONNX Runtime gets; without cross-origin isolation there is no shared memory, and so only one.
export function threadCount(scope = globalThis) {
  return scope.crossOriginIsolated ? Math.min(MOST_THREADS, Math.max(1, scope.navigator.hardwareConcurrency || 1)) : 1;
}

async function openOn(provider, model, note) {
  const { library, code } = BUILDS[provider];
  const ort = await import(new URL(library, VENDOR));
  const threads = threadCount();
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmPaths = { mjs: new URL(`${code}.js`, VENDOR).href };
  ort.env.wasm.wasmBinary = await gunzipped(await fetchBytes(new URL(`${code}.wasm.gz`, VENDOR)), code);
  const session = await ort.InferenceSession.create(widened(model.bytes), {
    executionProviders: [provider],
    graphOptimizationLevel: provider === "wasm" ? "disabled" : "all", // on the processor it takes seconds and gains nothing
  });
  return new Engine(session, ort, provider, threads, note);
}

// What tells the labels of two engines apart; null if nothing to speak of does.
async function disagreement(one, other, check) {
  if (check === null) return null;
  const [slab, dims, context] = check();
  const given = [slab, dims, context, ["labels"]];
  const [expected, found] = [(await one.run(...given)).labels, (await other.run(...given)).labels];
  let different = 0;
  let labelled = 0;
  for (let at = 0; at < expected.length; at++) {
    if (expected[at] !== found[at]) different++;
    if (expected[at] || found[at]) labelled++;
  }
  return different > MOST_DIFFERENT * labelled ? `${different} of ${labelled} labelled voxels differ from the processor's` : null;
}
