// The page: sends scans, follows the queue, fetches results. Names of files stay in this browser.

const POLL_MS = 1500;
const find = (selector, within = document) => within.querySelector(selector);
const names = JSON.parse(sessionStorage.getItem("names") ?? "{}");
let token = sessionStorage.getItem("token");
let limits = null;

function headers() {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers() });
  if (answer.status === 401) {
    find("#access").hidden = false;
    throw new Error(token === null ? "The server asks for a token." : "This token is not right.");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ detail: `status ${answer.status}` }));
    throw new Error(told.detail);
  }
  return answer;
}

function tell(text, wrong = false) {
  find("#told").textContent = text;
  find("#told").classList.toggle("wrong", wrong);
}

// fetch tells nothing of the progress of an upload; XMLHttpRequest does.
function send(file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const bar = find("#upload");
    const body = new FormData();
    body.append("scan", file, "scan"); // the name may be that of a patient
    request.open("POST", "api/jobs");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => { bar.value = event.loaded / event.total; };
    request.onloadend = () => {
      bar.hidden = true;
      if (request.status === 202) resolve(request.response);
      else reject(new Error(request.response?.detail ?? "The connection to the server broke: send the scan again."));
    };
    bar.hidden = false;
    bar.value = 0;
    request.send(body);
  });
}

async function sendAll(files) {
  for (const file of files) {
    if (limits !== null && file.size > limits.max_upload_bytes) {
      tell(`${file.name} is larger than this server accepts (${megabytes(limits.max_upload_bytes)}).`, true);
      return;
    }
    tell(`Sending ${file.name} (${megabytes(file.size)})...`);
    try {
      const job = await send(file);
      names[job.id] = file.name;
      sessionStorage.setItem("names", JSON.stringify(names));
      tell(`${file.name} is in the queue.`);
    } catch (error) {
      tell(`${file.name}: ${error.message}`, true);
      return;
    } finally {
      await refresh();
    }
  }
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 24 ? 1 : 0)} MB`;
}

function stateOf(job) {
  if (job.state === "queued") return job.position === 1 ? "next in the queue" : `${job.position - 1} before it in the queue`;
  if (job.state === "running") return `being segmented, ${Math.round(100 * (job.progress ?? 0))} %`;
  return job.state;
}

function figuresOf(report) {
  const millilitres = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ml`;
  const parts = [];
  if (report.volumes_ml.liver !== undefined) parts.push(`Liver ${millilitres(report.volumes_ml.liver)}`);
  if (report.volumes_ml.lesion !== undefined) {
    const count = report.lesion_count;
    parts.push(count ? `${count} ${count === 1 ? "lesion" : "lesions"}, ${millilitres(report.volumes_ml.lesion)}` : "no lesion found");
  }
  if (report.tumour_burden_percent) parts.push(`${report.tumour_burden_percent.toFixed(1)} % of the liver`);
  return parts.join(" - ");
}

async function save(job, path, ending) {
  const address = URL.createObjectURL(await (await ask(path)).blob());
  const link = document.createElement("a");
  const base = (names[job.id] ?? job.id.slice(0, 8)).replace(/\.(nii|nii\.gz|zip)$/, "");
  link.href = address;
  link.download = `${base}_${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function action(button, job, done) {
  button.onclick = () => done().catch((error) => tell(error.message, true));
  button.setAttribute("aria-label", `${button.textContent}: ${nameOf(job)}`);
}

function nameOf(job) {
  return names[job.id] ?? `Scan ${job.id.slice(0, 8)}`;
}

// Elements are changed in place, so that the keyboard's focus stays where it is.
function show(item, job) {
  const open = job.state === "queued" || job.state === "running";
  item.dataset.id = job.id;
  find(".name", item).textContent = nameOf(job);
  find(".state", item).textContent = stateOf(job);
  const bar = find("progress", item);
  bar.hidden = job.state !== "running";
  bar.value = job.progress ?? 0;
  bar.setAttribute("aria-label", `Progress: ${nameOf(job)}`);
  find(".error", item).hidden = job.error === null;
  if (find(".error", item).textContent !== (job.error ?? "")) find(".error", item).textContent = job.error ?? "";
  const warnings = find(".warnings", item);
  warnings.hidden = !job.warnings.length;
  warnings.replaceChildren(...job.warnings.map((text) => {
    const line = document.createElement("li");
    line.textContent = `Warning: ${text}`;
    return line;
  }));
  find(".figures", item).hidden = job.report === null;
  if (job.report !== null) find(".figures", item).textContent = figuresOf(job.report);
  for (const [kind, ending] of [["mask", "mask.nii.gz"], ["report", "report.json"]]) {
    const button = find(`.${kind}`, item);
    button.hidden = job.links[kind] === undefined;
    action(button, job, () => save(job, job.links[kind], ending));
  }
  const remove = find(".remove", item);
  remove.textContent = open ? "Cancel" : "Remove";
  action(remove, job, async () => {
    await ask(job.links.self, { method: "DELETE" });
    await refresh();
  });
}

async function refresh() {
  const { jobs } = await (await ask("api/jobs")).json();
  const list = find("#jobs");
  const items = new Map([...list.children].map((item) => [item.dataset.id, item]));
  jobs.forEach((job, place) => {
    const item = items.get(job.id) ?? find("#job").content.cloneNode(true).firstElementChild;
    items.delete(job.id);
    show(item, job);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  });
  for (const gone of items.values()) gone.remove();
  find("#empty").hidden = jobs.length > 0;
}

async function connect() {
  limits = await (await ask("api/server")).json();
  find("#access").hidden = true;
  const where = limits.providers.length ? `running on ${limits.providers.join(", ")}` : "starting";
  find("#server").textContent = `lits-toolkit ${limits.version}, ${where}`;
  find("#use").textContent = `${limits.intended_use} Scans and results are removed ${Math.round(limits.keep_s / 3600)} hours after they are done.`;
}

async function follow() {
  try {
    if (limits === null) await connect();
    await refresh();
  } catch (error) {
    limits = null;
    find("#server").textContent = error instanceof TypeError ? "The server does not answer. This page tries again." : error.message;
  }
  setTimeout(follow, POLL_MS);
}

const drop = find("#drop");
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => { event.preventDefault(); sendAll([...event.dataTransfer.files]); });
find("#file").addEventListener("change", async (event) => {
  await sendAll([...event.target.files]);
  event.target.value = "";
});
find("#access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("#token").value;
  sessionStorage.setItem("token", token);
  connect().then(refresh).catch((error) => tell(error.message, true));
});
follow();
