// The images of one scan: what is loaded when, and the tools above the planes.

import { Viewer, WINDOWS } from "../viewer.js";
import { ask } from "./api.js";
import { find, make, write } from "./elements.js";
import { explain, stateOf } from "./words.js";

const PLANES = { all: "All", axial: "Axial", coronal: "Coronal", sagittal: "Sagittal", "3d": "3D" };
const held = new Map(); // scans that this page sent, by job: they need not come back from the server
let viewer = null;
let opening = null;
let shown = { id: null, scan: false, mask: false, failed: false };

export function hold(job, file) {
  held.set(job.id, file);
}

export function addTools() {
  choices("#planes", "plane", PLANES, "all", (plane) => viewer?.setPlane(plane));
  const windows = Object.entries(WINDOWS).map(([name, [low, high]]) => [name, [`${name[0].toUpperCase()}${name.slice(1)}`, make("small", {}, ` ${low} to ${high} HU`)]]);
  choices("#windows", "window", Object.fromEntries(windows), "abdomen", (name) => viewer?.setWindow(...WINDOWS[name]));
  find("#opacity").oninput = (event) => viewer?.setOpacity(event.target.valueAsNumber);
  find("#tools").onsubmit = (event) => event.preventDefault();
}

function choices(place, name, labels, first, chosen) {
  for (const [value, label] of Object.entries(labels)) {
    const input = make("input", { type: "radio", name, value, checked: value === first, onchange: () => chosen(value) });
    find(place).append(make("label", {}, input, make("span", {}, ...[label].flat())));
  }
}

function opened() {
  opening ??= Viewer.open(find("#canvas")).then((made) => {
    viewer = made;
    viewer.onMove = showPlace;
    return made;
  });
  return opening;
}

export function jumpTo(mm) {
  viewer?.jumpTo(mm);
  find("#viewing").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function showPlace(mm, hu) {
  const [right, front, up] = mm;
  const place = [[right, "left", "right"], [front, "back", "front"], [up, "down", "up"]]
    .map(([value, less, more]) => `${Math.abs(value).toFixed(0)} mm ${value < 0 ? less : more}`).join(", ");
  write(find("#place"), hu === undefined ? place : `${Math.round(hu)} HU at ${place}`);
}

function cover(title, told = "", progress = null) {
  find("#covered").hidden = title === null;
  if (title === null) return;
  write(find("#covered-title"), title);
  write(find("#covered-told"), told);
  const bar = find("#covered-progress");
  bar.hidden = progress === null;
  bar.value = progress ?? 0;
}

// Shows what there is of a job by now; called again whenever the job has changed.
export async function view(job) {
  if (job === null || job.id !== shown.id) clear(job?.id ?? null);
  if (job === null) {
    cover("No scan is open.", "Drop a scan, or pick one from the list.");
    return;
  }
  const { id } = job;
  document.body.dataset.viewed = shown.mask ? id : "";
  if (job.state === "failed" || job.state === "cancelled") {
    cover(stateOf(job), job.error === null ? "Its files were removed." : explain(job.error).what);
    return;
  }
  if (shown.failed || shown.mask || shown.loading) return;
  if (job.state !== "done" && (shown.scan || !held.has(id))) {
    cover(shown.scan ? null : stateOf(job), "Images appear when the scan is done.", job.progress);
    return;
  }
  shown.loading = true;
  try {
    await load(job, id);
  } catch (error) {
    if (shown.id !== id) return;
    shown.failed = job.state === "done";
    if (shown.failed) cover("The images cannot be shown here.", `${error.message} The report and the files are complete.`);
    else held.delete(id); // the server may read what this browser does not
  } finally {
    if (shown.id === id) shown.loading = false;
  }
}

async function load(job, id) {
  const made = await opened();
  if (!shown.scan) {
    cover("Opening the images…");
    const file = held.get(id) ?? await blob(job, "scan");
    if (shown.id !== id) return;
    await made.show(file, file.name ?? "scan.nii.gz");
    if (shown.id !== id) return;
    shown.scan = true;
    find("#tools").hidden = false;
    cover(null);
  }
  if (job.state !== "done") return;
  const mask = await blob(job, "mask");
  if (shown.id !== id) return;
  await made.showMask(mask);
  shown.mask = true;
  document.body.dataset.viewed = id;
  const largest = job.report.lesions[0];
  if (largest !== undefined) made.jumpTo(largest.centroid_mm);
}

async function blob(job, kind) {
  return (await ask(job.links[kind])).blob();
}

function clear(id) {
  shown = { id, scan: false, mask: false, failed: false, loading: false };
  document.body.dataset.viewed = "";
  viewer?.clear();
  find("#tools").hidden = true;
  write(find("#place"), "\u00a0");
}
