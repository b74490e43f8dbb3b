// node --experimental-detect-module engine.mjs STATIC: why WebGPU is not used, and how many threads are, in made-up browsers.
const [pages] = process.argv.slice(2);
const { threadCount, webgpuObstacle } = await import(`${pages}/local/segment/engine.js`);

const adapter = { features: new Set(["shader-f16"]), limits: { maxStorageBufferBindingSize: 2 ** 30 }, info: {} };
const browser = (found) => ({ navigator: { gpu: { requestAdapter: async () => found } }, WebAssembly: { Suspending: class {} } });
const obstacles = {
  good: await webgpuObstacle("fp16", browser(adapter)),
  none: await webgpuObstacle("fp32", { navigator: {}, WebAssembly: { Suspending: class {} } }),
  unsuspended: await webgpuObstacle("fp32", { ...browser(adapter), WebAssembly: {} }),
  cardless: await webgpuObstacle("fp32", browser(null)),
  emulated: await webgpuObstacle("fp32", browser({ ...adapter, info: { isFallbackAdapter: true } })),
  quantised: await webgpuObstacle("int8", browser(adapter)),
  halves: await webgpuObstacle("fp16", browser({ ...adapter, features: new Set() })),
  wide: await webgpuObstacle("fp16-weights", browser({ ...adapter, features: new Set() })),
  small: await webgpuObstacle("fp32", browser({ ...adapter, limits: { maxStorageBufferBindingSize: 2 ** 20 } })),
};
const threads = [[true, 4], [false, 4], [true, 64], [true, undefined]].map(([crossOriginIsolated, hardwareConcurrency]) =>
  threadCount({ crossOriginIsolated, navigator: { hardwareConcurrency } }));
console.log(JSON.stringify({ obstacles, threads }));
