// The page that segments in this browser alone. Files go to a worker of this page, and results stay in it.

import { figure, lesionTable } from "../lesions.js";
import { Viewer, WINDOWS } from "../viewer.js";
import { filesIn } from "./dropped.js";
import { isolate } from "./isolated.js";

const MODEL = new URL("model.onnx", import.meta.url).href;
const find = (selector) => document.querySelector(selector);
let worker = null;
let viewer = null;
let result = null;

function begin(files) {
  if (!files.length) return;
  cancel();
  find("#result").hidden = true;
  delete document.body.dataset.shown;
  worker = new Worker(new URL("segment/worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => ANSWERS[data.kind](data);
  worker.onerror = (event) => fail(event.message ?? "The worker of this page does not start.");
  tell("", []);
  work("Looking at the files");
  worker.postMessage({ files });
}

function cancel() {
  worker?.terminate();
  worker = null;
  find("#work").hidden = true;
  find("#choice").hidden = true;
}

function fail(message) {
  cancel();
  tell(message, []);
}

const ANSWERS = {
  error: ({ message }) => fail(message),
  progress: ({ stage, done, total }) => work(stage, done, total),
  found: ({ volumes, notes }) => {
    tell("", notes.map((note) => `Not used: ${note}`));
    if (volumes.length === 1) segment(0);
    else choose(volumes);
  },
  done: (answer) => {
    cancel();
    show(answer).catch((error) => tell(error.message, []));
  },
};

function choose(volumes) {
  find("#work").hidden = true;
  find("#choice").hidden = false;
  find("#volumes").replaceChildren(...volumes.map(({ text }, at) => {
    const label = document.createElement("label");
    const button = Object.assign(document.createElement("input"), { type: "radio", name: "volume", value: `${at}`, checked: at === 0 });
    label.append(button, ` ${text}`);
    return label;
  }));
  find("#volumes input").focus();
}

function segment(index) {
  find("#choice").hidden = true;
  work("Reading the scan");
  worker.postMessage({ index, model: MODEL, token: sessionStorage.getItem("token"), gpu: find("#gpu").checked });
}

function work(stage, done = 0, total = 0) {
  find("#work").hidden = false;
  const counted = total > 1 ? `: ${done} of ${total} slices` : "";
  find("#stage").textContent = `${stage}${stage === "Segmenting" ? counted : ""}...`;
  const bar = find("#bar");
  if (total) bar.value = done / total;
  else bar.removeAttribute("value");
}

function tell(error, notes) {
  find("#error").textContent = error;
  fill(find("#notes"), notes);
}

function fill(list, texts) {
  list.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

async function show(answer) {
  result = answer;
  const { report, name } = answer;
  find("#result").hidden = false;
  find("#name").textContent = name;
  find("#figures").textContent = figuresOf(report);
  fill(find("#warnings"), [...report.warnings, ...(answer.note ? [answer.note] : [])].map((text) => `Warning: ${text}`));
  lesionTable(find("#lesions"), report.lesions, (lesion) => viewer?.jumpTo(lesion.centroid_mm));
  find("#use").textContent = answer.use;
  const threads = report.threads === 1 ? "one thread" : `${report.threads} threads`;
  find("#how").textContent = `Segmented in ${Math.round(report.seconds)} s: ${report.provider === "webgpu" ? "WebGPU" : "WebAssembly"}, ${threads}.`;
  viewer ??= await Viewer.open(find("#canvas"));
  viewer.onMove = (mm, hu) => {
    find("#place").textContent = `${mm.map((value) => value.toFixed(0)).join(", ")} mm (right, front, head)${hu === undefined ? "" : `: ${Math.round(hu)} HU`}`;
  };
  await viewer.show(answer.scan, "scan.nii");
  await viewer.showMask(answer.mask, "mask.nii.gz");
  if (report.lesions.length) viewer.jumpTo(report.lesions[0].centroid_mm);
  document.body.dataset.shown = "yes";
}

function figuresOf(report) {
  const { liver, lesion } = report.volumes_ml;
  const parts = liver === undefined ? [] : [`Liver ${figure(liver)} ml`];
  const count = report.lesion_count;
  if (lesion !== undefined) parts.push(count ? `${count} ${count === 1 ? "lesion" : "lesions"}, ${figure(lesion)} ml` : "no lesion found");
  if (report.tumour_burden_percent) parts.push(`${report.tumour_burden_percent.toFixed(1)} % of the liver`);
  return parts.join(", ");
}

function save(content, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = `${result.name}_${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function listen() {
  const drop = find("#drop");
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    begin(await filesIn(event.dataTransfer));
  });
  for (const input of [find("#file"), find("#folder")]) {
    input.addEventListener("change", () => {
      begin([...input.files]);
      input.value = "";
    });
  }
  find("#choice").addEventListener("submit", (event) => {
    event.preventDefault();
    segment(Number(new FormData(event.target).get("volume")));
  });
  find("#cancel").onclick = () => { cancel(); tell("Cancelled.", []); };
  find("#plane").onchange = ({ target }) => viewer?.setPlane(target.value);
  find("#window").append(...Object.entries(WINDOWS).map(([name, [low, high]]) => new Option(`${name} (${low} to ${high} HU)`, name)));
  find("#window").onchange = ({ target }) => viewer?.setWindow(...WINDOWS[target.value]);
  find("#opacity").oninput = ({ target }) => viewer?.setOpacity(Number(target.value));
  find("#save-mask").onclick = () => save(result.mask, "mask.nii.gz");
  find("#save-report").onclick = () => save(new Blob([JSON.stringify(result.report, null, 2)], { type: "application/json" }), "report.json");
  find("#graphics").hidden = navigator.gpu === undefined;
}

listen();
await isolate(() => worker !== null || result !== null);
document.body.dataset.ready = "yes";
