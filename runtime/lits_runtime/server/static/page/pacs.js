// What came from the PACS and what goes back to it; shown if the server is a DICOM node.

import { Refused, ask, json } from "./api.js";
import { find, make } from "./elements.js";
import { moment } from "./words.js";

const SERIES = { receiving: "arriving", skipped: "not segmented" };
const DELIVERIES = { waiting: "will be sent again", dead: "could not be sent" };
const KINDS = { seg: "Masks (SEG)", sr: "Measurements (SR)" };
const place = find("#pacs");
const sources = new Map();
let shown = "";

// Where a job came from, if it came from the PACS.
export function sourceOf(job) {
  return sources.get(job.id);
}

export async function followPacs(tellError) {
  const { node, series } = await json("api/series");
  place.hidden = !node;
  if (!node) return;
  const { deliveries } = await json("api/outbox");
  for (const one of series) sources.set(one.id, one.source);
  const now = JSON.stringify([series, deliveries]);
  if (now === shown) return;
  shown = now;
  const open = deliveries.filter(({ state }) => state !== "sent");
  const sent = deliveries.length - open.length;
  place.replaceChildren(
    make("h2", {}, "PACS"),
    list(series.filter(({ state }) => state in SERIES).map(told), "No series is arriving."),
    list(open.map(delivery), sent ? `All results were sent (${sent}).` : "No results to send."),
    ...(open.length ? [make("button", { type: "button", onclick: () => retry().catch(tellError) }, "Send again now")] : []));
}

function told({ state, source, images, created, reason, transfer }) {
  const what = images ? `${images} images from ${source}` : `From ${source}`;
  const why = reason ?? (transfer === "aborted" ? "the sender broke off; it has to send the series again" : moment(created));
  return make("li", {}, make("span", {}, `${what}: ${SERIES[state]}`), make("span", { class: "quiet" }, why));
}

function delivery({ job, kind, peer, state, attempts, error }) {
  return make("li", { class: state === "dead" ? "wrong" : "" },
    make("span", {}, `${KINDS[kind]} of scan ${job.slice(0, 8)} to ${peer}: ${DELIVERIES[state]}`),
    make("span", { class: "quiet" }, error === null ? "" : `Attempt ${attempts}: ${error}`));
}

function list(items, otherwise) {
  return items.length ? make("ul", {}, ...items) : make("p", { class: "quiet" }, otherwise);
}

async function retry() {
  await ask("api/outbox/retry", { method: "POST" });
  shown = "";
}

// Sends the results of a job to all peers; what a person is told.
export async function sendToPacs(job) {
  try {
    const { deliveries } = await (await ask(`api/jobs/${job.id}/send`, { method: "POST" })).json();
    return `${deliveries === 1 ? "1 object is" : `${deliveries} objects are`} on the way to the PACS.`;
  } catch (error) {
    if (error instanceof Refused && error.status === 409) return `Nothing was sent: ${error.message}.`;
    throw error;
  }
}
