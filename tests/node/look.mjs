// node look.mjs CHROMIUM ADDRESS PICTURE: opens OHIF at a study, shows its segmentation, and saves what is drawn.
import { writeFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [executablePath, address, picture] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
});
try {
  const page = await browser.newPage({ viewport: { width: 900, height: 600 } });
  page.on("pageerror", (error) => console.error(String(error).slice(0, 300)));
  const waiting = { timeout: 60000 };
  await page.goto(address);
  await page.locator("[data-cy=viewport-pane] canvas").first().waitFor(waiting);
  await page.locator("[data-cy=study-browser-thumbnail-no-image]", { hasText: "SEG" }).first()
    .dispatchEvent("dblclick", {}, waiting); // a click would reach the guided tour above it
  await page.waitForFunction(
    () => window.services.segmentationService.getSegmentations().length > 0, null, waiting);
  await page.waitForFunction(() => {
    const canvas = document.querySelector("canvas.cornerstone-canvas");
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    return data.some((_, at) => at % 4 === 0 && Math.abs(data[at] - data[at + 2]) > 60);
  }, null, waiting);
  const drawn = await page.evaluate(
    () => document.querySelector("canvas.cornerstone-canvas").toDataURL("image/png"));
  writeFileSync(picture, Buffer.from(drawn.split(",")[1], "base64"));
  if (process.env.LITS_WHOLE_PAGE) await page.screenshot({ path: process.env.LITS_WHOLE_PAGE });
} finally {
  await browser.close();
}
