// The model file and what it says about itself: the JSON under its metadata key "lits".

import { fieldsOf, text } from "./protobuf.js";

const FORMAT_VERSION = 1;
const KEY = "lits";
const METADATA_FIELD = 14; // ModelProto.metadata_props; of its entries, field 1 is the key and field 2 the value

// Fetches the model that lies beside the page, with the token that the server may ask for, which its first page keeps;
// `tell` is called with the part that has come, 0 to 1.
export async function fetchModel(url, token, tell) {
  const bytes = await fetchBytes(url, tell, token ? { Authorization: `Bearer ${token}` } : {});
  return { bytes, metadata: metadataOf(bytes), sha256: await sha256(bytes) };
}

export async function fetchBytes(url, tell = () => {}, headers = {}) {
  const answer = await fetch(url, { headers });
  if (answer.status === 401) throw new Error("This server asks for a token: give it on the server's first page, and open this page from there.");
  if (!answer.ok) throw new Error(`${new URL(url).pathname} is missing where this page comes from (status ${answer.status}).`);
  const length = Number(answer.headers.get("Content-Length")) || 0;
  const pieces = [];
  let count = 0;
  for await (const piece of piecesOf(answer.body)) {
    pieces.push(piece);
    count += piece.length;
    if (length) tell(Math.min(1, count / length));
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

// Safari cannot iterate over a stream.
async function* piecesOf(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

export function metadataOf(bytes) {
  let found;
  try {
    for (const { field, value } of fieldsOf(bytes)) {
      if (field !== METADATA_FIELD) continue;
      const entry = Object.fromEntries([...fieldsOf(value)].map((part) => [part.field, text(part.value)]));
      if (entry[1] === KEY) found = JSON.parse(entry[2]);
    }
  } catch {
    throw new Error("The model file is damaged.");
  }
  if (found === undefined) throw new Error("The model file has no metadata: export it with lits-export.");
  if (!(found.format_version >= 1 && found.format_version <= FORMAT_VERSION)) {
    throw new Error(`The model has format ${found.format_version}, this page reads up to ${FORMAT_VERSION}.`);
  }
  if (found.orientation !== "LPS") throw new Error(`The model's orientation is ${found.orientation}, not LPS.`);
  const { postprocessing = {}, search_mm = 0, interpolation_mm = 0 } = found;
  return { ...found, postprocessing, search_mm, interpolation_mm };
}

async function sha256(bytes) {
  if (crypto.subtle === undefined) return null; // on http from another computer
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
