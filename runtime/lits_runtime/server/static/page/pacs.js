// Beside the list of scans: series that come from the PACS, and results on their way to it.

import { ask, json } from "./api.js";
import { find, make, write } from "./elements.js";
import { moment } from "./words.js";

const SHOWN = 8;
const RECENT_S = 3600;
const panel = find("#pacs");
const list = make("ul");
const counted = make("p", { class: "quiet" });
const again = make("button", { type: "button", hidden: true, onclick: retry }, "Deliver now");
const told = make("p", { role: "status", "aria-live": "polite" });
let hasNode = true;

panel.append(make("h3", {}, "PACS"), list, counted, again, told);

const COMING = {
  open: "more are coming in",
  released: "waiting whether more come",
  aborted: "the sender broke off; waiting for it to send again",
};

function seriesLine(one) {
  if (one.state === "receiving") return `From ${one.source}: ${one.images} images; ${COMING[one.transfer]}.`;
  return `From ${one.source}: not segmented, ${one.reason}.`;
}

function deliveryLine(one) {
  const what = `${one.kind.toUpperCase()} of ${one.job.slice(0, 8)} to ${one.peer}`;
  if (one.state === "dead") return `${what}: given up after ${one.attempts} attempts. ${one.error}.`;
  if (one.error === null) return `${what}: being delivered.`;
  return `${what}: not delivered yet, next attempt ${moment(one.due)}. ${one.error}.`;
}

function isShown(one) {
  return one.state === "receiving" || (one.state === "skipped" && Date.now() / 1000 - one.settled < RECENT_S);
}

// Lines are changed in place, as those of the queue.
function showLines(lines) {
  lines.forEach(([text, wrong], place) => {
    const item = list.children[place] ?? list.appendChild(make("li"));
    write(item, text);
    item.classList.toggle("wrong", wrong);
  });
  while (list.children.length > lines.length) list.lastChild.remove();
}

async function retry() {
  try {
    const { deliveries } = await (await ask("api/outbox/retry", { method: "POST" })).json();
    write(told, `Trying to deliver ${deliveries} results.`);
  } catch (error) {
    write(told, error.message);
  }
}

export async function showPacs() {
  if (!hasNode) return;
  const { node, series } = await json("api/series");
  hasNode = node;
  panel.hidden = !node;
  if (!node) return;
  const { deliveries } = await json("api/outbox?limit=500");
  const open = deliveries.filter((one) => one.state !== "sent");
  showLines([
    ...open.map((one) => [deliveryLine(one), one.error !== null]),
    ...series.filter(isShown).map((one) => [seriesLine(one), one.transfer === "aborted" && one.state === "receiving"]),
  ].slice(0, SHOWN));
  const sent = deliveries.length - open.length;
  write(counted, `${sent} ${sent === 1 ? "result" : "results"} delivered, ${open.length} not.`);
  again.hidden = !open.some((one) => one.error !== null);
}
