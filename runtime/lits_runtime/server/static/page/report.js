// The report of a scan: warnings first, then volumes and lesions; and its files.

import { lesionTable } from "../lesions.js";
import { ask } from "./api.js";
import { find, make, pairs, write } from "./elements.js";
import { nameOf } from "./queue.js";
import { explain, lesionsFound, megabytes, millilitres, moment, stateOf } from "./words.js";

const FILES = [
  ["mask", "Mask (NIfTI)", "mask.nii.gz"],
  ["seg", "DICOM SEG", "seg.dcm"],
  ["sr", "DICOM SR", "sr.dcm"],
  ["report", "Report (JSON)", "report.json"],
  ["overlay", "Picture", "overlay.png"],
];
let shown = "";

export function showReport(job, jump, told, send) {
  find("#report-empty").hidden = job !== null;
  find("#report-body").hidden = job === null;
  if (job === null) {
    shown = "";
    return;
  }
  write(find("#report-name"), nameOf(job));
  write(find("#report-state"), `${stateOf(job)}${job.finished ? `, ${moment(job.finished)}` : ""}`);
  const now = `${job.id} ${job.state} ${Object.keys(job.links)}`;
  if (now === shown) return; // nothing below changes while a job waits or runs
  shown = now;
  showFailure(job);
  showWarnings(job);
  showFigures(job);
  showLesions(job, jump);
  showDownloads(job, told, send);
  showFacts(job);
}

function showFailure(job) {
  const place = find("#failure");
  place.hidden = job.error === null;
  if (job.error === null) return;
  const { what, todo } = explain(job.error);
  place.replaceChildren(
    make("p", {}, make("strong", {}, what)), make("p", {}, todo),
    make("details", {}, make("summary", {}, "Details"), make("p", { class: "quiet" }, job.error)));
}

function showWarnings(job) {
  const place = find("#warnings");
  place.hidden = !job.warnings.length;
  place.replaceChildren(
    make("p", {}, make("strong", {}, job.warnings.length === 1 ? "Look at this before you trust the figures:" : "Look at these before you trust the figures:")),
    make("ul", {}, ...job.warnings.map((text) => make("li", {}, text))));
}

function showFigures(job) {
  const report = job.report;
  const figures = [];
  if (report !== null) {
    const { liver, lesion } = report.volumes_ml;
    if (liver !== undefined) figures.push(["Liver", `${report.liver_cut.length ? "at least " : ""}${millilitres(liver)}`]);
    if (lesion !== undefined) figures.push(["Lesions", report.lesion_count ? `${report.lesion_count}, together ${millilitres(lesion)}` : lesionsFound(0)]);
    if (report.liver_cut.length) figures.push(["Cut off at", report.liver_cut.join(", ")]);
    if (report.tumour_burden_percent !== null) figures.push(["Share of the liver", `${report.tumour_burden_percent.toFixed(1)} %`]);
  }
  find("#figures").replaceChildren(...pairs(figures));
}

function showLesions(job, jump) {
  const lesions = job.report?.lesions ?? [];
  const table = make("table");
  if (lesions.length) lesionTable(table, lesions, (lesion) => jump(lesion.centroid_mm));
  find("#lesions").replaceChildren(...(lesions.length ? [table] : []));
}

function showDownloads(job, told, send) {
  const buttons = FILES.filter(([kind]) => job.links[kind] !== undefined).map(([kind, label, file]) =>
    make("button", { type: "button", onclick: () => save(job, kind, file).catch(told) }, label));
  if (job.links.sr !== undefined && !find("#pacs").hidden) {
    buttons.push(make("button", { type: "button", onclick: () => send().catch(told) }, "Send to PACS"));
  }
  find("#downloads").replaceChildren(...buttons);
}

async function save(job, kind, file) {
  const address = URL.createObjectURL(await (await ask(job.links[kind])).blob());
  const base = nameOf(job).replace(/\.(nii|nii\.gz|zip)$/i, "");
  make("a", { href: address, download: `${base}_${file}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function showFacts(job) {
  const { report } = job;
  const facts = [["Sent", moment(job.created)], ["Size", megabytes(job.bytes)]];
  if (report !== null) {
    facts.push(["Voxels", report.shape.join(" × ")], ["Voxel size", `${report.spacing_mm.map((mm) => mm.toFixed(2)).join(" × ")} mm`]);
    facts.push(["Time", `${report.seconds.toFixed(1)} s on ${report.provider}`], ["Model", report.model_sha256.slice(0, 12)]);
  }
  find("#facts dl").replaceChildren(...pairs(facts));
}
