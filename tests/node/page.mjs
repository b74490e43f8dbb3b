// node page.mjs CHROMIUM ADDRESS FOLDER: uses the page of lits-serve as a person does, and prints as JSON what was seen.
// FOLDER holds token, scan.nii.gz, broken.nii.gz and series/; pictures and downloads are written to it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [executablePath, address, folder] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const seen = { states: [], hosts: [], errors: [], faults: {}, widths: {}, places: {} };
const waiting = { timeout: 120_000 };
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

async function enter(page, token) {
  await page.locator("#access[open] #token").waitFor(waiting);
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
}

async function upload(page, input, path) {
  await page.setInputFiles(input, path);
  const id = await page.waitForFunction(() => location.hash.match(/job=(\w{32})/)?.[1], null, waiting);
  return id.jsonValue();
}

// Whether images and masks of the job in the address are drawn.
const viewed = (page) => page.waitForFunction(() => location.hash.endsWith(`job=${document.body.dataset.viewed}`), null, waiting);

const settled = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

async function picture(page, name) {
  await settled(page);
  await page.locator("#stage").screenshot({ path: `${folder}/${name}.png`, ...waiting });
}

async function download(page, label) {
  const [file] = await Promise.all([page.waitForEvent("download", waiting), page.getByRole("button", { name: label }).click()]);
  await file.saveAs(`${folder}/${file.suggestedFilename()}`);
  return file.suggestedFilename();
}

// What is cut off or lies over something else at this width.
function overlaps() {
  const found = [];
  if (document.scrollingElement.scrollWidth > innerWidth) found.push("the page is wider than the window");
  const boxes = [...document.querySelectorAll("header, footer, main > section, button, #tools label, #stage")]
    .filter((element) => element.checkVisibility()).map((element) => [element, element.getBoundingClientRect()]);
  for (const [one, a] of boxes) {
    for (const [other, b] of boxes) {
      if (one === other || one.contains(other) || other.contains(one) || one.closest("table") || other.closest("table")) continue;
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1) {
        found.push(`${one.id || one.textContent} over ${other.id || other.textContent}`);
      }
    }
  }
  return found;
}

try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 700 } });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => { if (!/^(blob|data):/.test(request.url())) seen.hosts.push(new URL(request.url()).origin); });
  await page.goto(address);
  await page.locator("#access[open]").waitFor(waiting);
  seen.faults.access = await faults(page);
  await enter(page, "not the right token");
  await enter(page, readFileSync(`${folder}/token`, "utf8").trim());

  await page.exposeFunction("stateSeen", (state) => seen.states.push(state));
  await page.evaluate(() => new MutationObserver(() => {
    window.stateSeen(document.querySelector("#report-state").textContent);
  }).observe(document.querySelector("#report-state"), { childList: true, characterData: true, subtree: true }));
  seen.job = await upload(page, "#file", `${folder}/scan.nii.gz`);
  await viewed(page);
  await picture(page, "masks");
  seen.places.largest = await page.textContent("#place");
  await page.getByRole("button", { name: "Show lesion 2", exact: true }).click();
  seen.places.second = await page.textContent("#place");
  await page.locator("#canvas").press("PageUp");
  seen.places.above = await page.textContent("#place");
  await page.locator("#opacity").fill("0");
  await picture(page, "no-masks");
  seen.downloads = [await download(page, "Mask (NIfTI)"), await download(page, "Report (JSON)")];
  seen.faults.report = await faults(page);
  for (const width of [1600, 820, 390]) {
    await page.setViewportSize({ width, height: 844 });
    await settled(page);
    seen.widths[width] = await page.evaluate(overlaps);
    await page.screenshot({ path: `${folder}/page-${width}.png`, fullPage: true, ...waiting });
  }
  await page.reload();
  await viewed(page); // the scan comes from the server now

  await page.getByRole("button", { name: /^Remove/ }).click();
  await page.locator("#empty").waitFor(waiting);
  await upload(page, "#file", `${folder}/broken.nii.gz`);
  await page.locator("#failure").waitFor(waiting);
  seen.failure = await page.locator("#failure").innerText();
  await page.evaluate(() => history.replaceState(null, "", location.pathname));
  seen.series = await upload(page, "#folder", `${folder}/series`);
  await viewed(page);
  seen.seriesFiles = await page.locator("#downloads button").allTextContents();
  seen.downloads.push(await download(page, "DICOM SEG"));
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
