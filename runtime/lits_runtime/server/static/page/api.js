// Requests to the server: token, jobs, uploads. Names of files never leave this browser.

let token = sessionStorage.getItem("token");

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function setToken(text) {
  token = text;
  sessionStorage.setItem("token", text);
}

function headers() {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

export async function ask(path, options = {}) {
  const answer = await fetch(path.replace(/^\//, ""), { ...options, headers: headers() });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ detail: `status ${answer.status}` }));
    throw new Refused(answer.status, told.detail);
  }
  return answer;
}

export async function json(path) {
  return (await ask(path)).json();
}

// fetch tells nothing of the progress of an upload; XMLHttpRequest does.
export function send(scan, onProgress, stopped) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("scan", scan, "scan");
    request.open("POST", "api/jobs");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onloadend = () => {
      if (request.status === 202) resolve(request.response);
      else reject(new Refused(request.status, request.response?.detail ?? "the connection to the server broke"));
    };
    stopped.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
