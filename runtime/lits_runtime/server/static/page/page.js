// The page: sends scans, follows the queue, shows images and report of the scan that is picked.

import { Refused, ask, json, send, setToken } from "./api.js";
import { find, write } from "./elements.js";
import { followPacs, sendToPacs } from "./pacs.js";
import { remember, showQueue } from "./queue.js";
import { showReport } from "./report.js";
import { filesDropped, scansOf } from "./scans.js";
import { addTools, hold, jumpTo, view } from "./viewing.js";
import { explain, megabytes } from "./words.js";

const POLL_MS = 1000;
const HIDDEN_MS = 10_000;
let limits = null;
let jobs = [];
let stop = null;
let timer = null;

function tell(text, wrong = false) {
  write(find("#told"), text);
  find("#told").classList.toggle("wrong", wrong);
}

function tellError(error, name = "") {
  const { what, todo } = explain(error.message);
  tell(`${name ? `${name}: ` : ""}${what} ${todo}${error.message ? ` (${error.message})` : ""}`, true);
}

function picked() {
  return new URLSearchParams(location.hash.slice(1)).get("job");
}

function pick(id) {
  if (id === null) history.replaceState(null, "", location.pathname);
  else location.hash = `job=${id}`;
  show();
}

async function remove(id, open) {
  try {
    await ask(`api/jobs/${id}`, { method: "DELETE" });
    if (!open && picked() === id) pick(null);
  } catch (error) {
    tellError(error);
  }
  await refresh();
}

function show() {
  const id = picked();
  const job = jobs.find((one) => one.id === id) ?? null;
  showQueue(jobs, id, pick, remove);
  showReport(job, jumpTo, tellError, async () => tell(await sendToPacs(job)));
  view(job);
}

async function sendAll(files) {
  if (stop !== null) {
    tell("Wait until the scan before is sent.", true);
    return;
  }
  stop = new AbortController();
  const scans = await scansOf(files, tell).catch((error) => { tellError(error); return []; });
  if (!scans.length && !find("#told").classList.contains("wrong")) tell("There is no file in it.", true);
  for (const scan of scans) {
    if (!await sendOne(scan)) break;
  }
  stop = null;
}

async function sendOne({ name, blob, direct }) {
  if (limits !== null && blob.size > limits.max_upload_bytes) {
    tell(`${name} has ${megabytes(blob.size)}, more than this server accepts (${megabytes(limits.max_upload_bytes)}).`, true);
    return false;
  }
  const bar = find("#upload progress");
  bar.value = 0;
  find("#upload").hidden = false;
  tell(`Sending ${name} (${megabytes(blob.size)})…`);
  try {
    const job = await send(blob, (part) => { bar.value = part; }, stop.signal);
    remember(job, name);
    if (direct !== null) hold(job, direct);
    tell(`${name} was sent.`);
    jobs.unshift(job);
    pick(job.id);
    return true;
  } catch (error) {
    if (error.name === "AbortError") tell(`${name} was not sent.`);
    else tellError(error, name);
    return false;
  } finally {
    find("#upload").hidden = true;
    await refresh();
  }
}

async function refresh() {
  try {
    if (limits === null) await connect();
    jobs = (await json("api/jobs")).jobs;
    const id = picked();
    if (id !== null && !jobs.some((job) => job.id === id)) jobs.push(...await older(id));
    show();
    await followPacs(tellError);
  } catch (error) {
    limits = null;
    if (error instanceof Refused && error.status === 401) askForToken();
    else write(find("#server"), error instanceof Refused ? error.message : "The server does not answer. This page tries again.");
  }
}

// A job that is picked may be older than the list.
async function older(id) {
  try {
    return [await json(`api/jobs/${id}`)];
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 401) throw error;
    return [];
  }
}

async function connect() {
  limits = await json("api/server");
  const where = limits.providers.length ? `on ${limits.providers.join(", ")}` : "starting";
  write(find("#server"), `lits-toolkit ${limits.version}, ${where}`);
  write(find("#use"), `${limits.intended_use} Scans and results are removed ${Math.round(limits.keep_s / 3600)} hours after they are done.`);
}

function askForToken() {
  const form = find("#access");
  if (form.open) return;
  write(find("#server"), "The server asks for a token.");
  form.showModal();
}

async function follow() {
  clearTimeout(timer);
  await refresh();
  timer = setTimeout(follow, document.hidden ? HIDDEN_MS : POLL_MS);
}

function takeFiles() {
  const drop = find("#drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    sendAll(await filesDropped(event.dataTransfer));
  });
  for (const kind of ["file", "folder"]) {
    find(`#choose-${kind}`).onclick = () => find(`#${kind}`).click();
    find(`#${kind}`).onchange = async (event) => {
      await sendAll([...event.target.files]);
      event.target.value = "";
    };
  }
  find("#stop-upload").onclick = () => stop?.abort();
}

find("#access form").addEventListener("submit", () => {
  setToken(find("#token").value);
  find("#token").value = "";
  follow();
});
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => { if (!document.hidden) follow(); });
addTools();
takeFiles();
follow();
