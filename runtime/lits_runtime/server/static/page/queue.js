// The list of scans: state, place in the queue, progress; pick, cancel, remove.

import { find, make, write } from "./elements.js";
import { sourceOf } from "./pacs.js";
import { lesionsFound, millilitres, moment, stateOf } from "./words.js";

const list = find("#jobs");
const names = JSON.parse(sessionStorage.getItem("names") ?? "{}");

export function remember(job, name) {
  names[job.id] = name;
  sessionStorage.setItem("names", JSON.stringify(names));
}

export function nameOf(job) {
  return names[job.id] ?? `Scan ${job.id.slice(0, 8)}${sourceOf(job) === undefined ? "" : `, ${sourceOf(job)}`}`;
}

function item(pick, remove) {
  const made = make("li", { class: "job" },
    make("button", { type: "button", class: "pick" },
      make("span", { class: "name" }), make("span", { class: "state" }), make("progress", { max: "1", hidden: true })),
    make("button", { type: "button", class: "remove" }));
  find(".pick", made).onclick = () => pick(made.dataset.id);
  find(".remove", made).onclick = () => remove(made.dataset.id, made.dataset.open === "true");
  return made;
}

function summary(job) {
  if (job.state !== "done") return stateOf(job);
  const { volumes_ml: volumes, lesion_count: count } = job.report;
  const parts = volumes.liver === undefined ? [] : [`liver ${millilitres(volumes.liver)}`];
  if (volumes.lesion !== undefined) parts.unshift(lesionsFound(count));
  if (job.warnings.length) parts.push(`${job.warnings.length} ${job.warnings.length === 1 ? "warning" : "warnings"}`);
  return parts.join(", ");
}

function update(element, job, picked) {
  const open = job.state === "queued" || job.state === "running";
  element.dataset.id = job.id;
  element.dataset.state = job.state;
  element.dataset.open = open;
  const pick = find(".pick", element);
  pick.setAttribute("aria-current", job.id === picked);
  pick.title = `Sent ${moment(job.created)}`;
  write(find(".name", element), nameOf(job));
  write(find(".state", element), summary(job));
  const bar = find("progress", element);
  bar.hidden = job.state !== "running";
  bar.value = job.progress ?? 0;
  bar.setAttribute("aria-label", `Progress of ${nameOf(job)}`);
  const remove = find(".remove", element);
  write(remove, open ? "Cancel" : "Remove");
  remove.setAttribute("aria-label", `${remove.textContent} ${nameOf(job)}`);
}

// Elements are changed in place, so that the keyboard's focus stays where it is.
export function showQueue(jobs, picked, pick, remove) {
  const items = new Map([...list.children].map((element) => [element.dataset.id, element]));
  jobs.forEach((job, place) => {
    const element = items.get(job.id) ?? item(pick, remove);
    items.delete(job.id);
    update(element, job, picked);
    if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
  });
  for (const gone of items.values()) gone.remove();
  find("#empty").hidden = jobs.length > 0;
  const waiting = jobs.filter((job) => job.state === "queued").length;
  write(find("#waiting"), waiting ? `${waiting} waiting` : "");
}
