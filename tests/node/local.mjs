// node local.mjs CHROMIUM ADDRESS FOLDER: segments in the browser alone, and prints as JSON what was seen.
// FOLDER/plan.json says which scans to give to which input, and whether to look at the page; results are written to FOLDER.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [executablePath, address, folder] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(`${folder}/plan.json`, "utf8"));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const seen = { errors: [], faults: {}, requests: [], results: {}, stages: [], widths: {} };
const waiting = { timeout: 300_000 };
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
});

async function faults(page) {
  await page.evaluate(axe); // not as a script, which the page's own policy forbids
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 80)).join(" | ")}`);
}

// A graphics card that promises everything and computes nothing.
function brokenGpu() {
  const adapter = { features: new Set(["shader-f16"]), limits: { maxStorageBufferBindingSize: 2 ** 30 }, info: {} };
  adapter.requestDevice = async () => { throw new Error("the device was lost"); };
  Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => adapter } });
}

async function segment(page, { input, files, name }) {
  await page.setInputFiles(input, files);
  await page.waitForFunction(() => document.body.dataset.shown || document.querySelector("#error").textContent, null, waiting);
  const text = (selector) => page.locator(selector).textContent();
  seen.results[name] = { error: await text("#error"), figures: await text("#figures"), how: await text("#how"), warnings: await text("#warnings") };
  if (seen.results[name].error) return;
  for (const [button, ending] of [["#save-mask", "mask.nii.gz"], ["#save-report", "report.json"]]) {
    const [file] = await Promise.all([page.waitForEvent("download", waiting), page.click(button)]);
    await file.saveAs(`${folder}/${name}_${ending}`);
  }
}

async function look(page) {
  seen.faults.result = await faults(page);
  const place = await page.textContent("#place");
  await page.getByRole("button", { name: "Show lesion 2", exact: true }).click();
  seen.jumped = (await page.textContent("#place")) !== place;
  for (const width of [1400, 820, 390]) {
    await page.setViewportSize({ width, height: 844 });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    seen.widths[width] = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    await page.screenshot({ path: `${folder}/local-${width}.png`, fullPage: true, ...waiting });
  }
  await page.setViewportSize({ width: 1000, height: 700 });
}

async function stop(page, files) {
  await page.setInputFiles("#file", files);
  await page.locator("#cancel").click(waiting);
  seen.cancelled = await page.locator("#error").textContent();
  seen.working = await page.locator("#work").isVisible();
}

try {
  const context = await browser.newContext({ viewport: { width: 1000, height: 700 }, serviceWorkers: plan.serviceWorkers ?? "allow" });
  context.on("request", (request) => {
    if (!/^(blob|data):/.test(request.url())) seen.requests.push([request.method(), request.url(), request.postDataBuffer()?.length ?? 0]);
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  if (plan.gpu) await page.addInitScript(brokenGpu);
  await page.goto(address);
  await page.waitForFunction((wanted) => crossOriginIsolated === wanted && document.body.dataset.ready, plan.isolated, waiting);
  if (plan.looks) seen.faults.empty = await faults(page);
  if (plan.gpu) await page.check("#gpu");
  for (const scan of plan.scans) {
    await segment(page, scan);
    if (plan.looks && scan === plan.scans[0]) await look(page);
    if (plan.gpu) await page.uncheck("#gpu");
  }
  if (plan.cancels) await stop(page, plan.cancels);
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
