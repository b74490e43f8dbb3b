// The model with float32 weights in place of float16 ones that are only stored so. ONNX Runtime Web casts them anew for
// each slab, which takes about as long as the network; the values, and so the labels, are the same.

import { fieldsOf, number, packed, text } from "./protobuf.js";

const GRAPH = 7; // of a model
const [NODE, INITIALIZER] = [1, 5]; // of a graph
const [INPUT, OUTPUT, OPERATOR] = [1, 2, 4]; // of a node
const [DIMS, TYPE, NAME, RAW] = [1, 2, 8, 9]; // of a tensor
const [FLOAT, FLOAT16] = [1, 10];

const FLOATS = Float32Array.from({ length: 2 ** 16 }, (_, bits) => float(bits));

export function widened(model) {
  const parts = [];
  for (const { field, value, raw } of fieldsOf(model)) parts.push(...(field === GRAPH ? packed(GRAPH, graph(value)) : [raw]));
  return joined(parts);
}

// The pieces of a graph in which weights that are cast alone are float32, under the names of what the casts made.
function graph(bytes) {
  const fields = [...fieldsOf(bytes)];
  const halves = new Set(fields.filter(({ field }) => field === INITIALIZER).map(({ value }) => tensor(value))
    .filter(({ type, raw }) => type === FLOAT16 && raw !== null).map(({ name }) => name));
  const users = new Map();
  for (const { field, value } of fields) {
    if (field !== NODE) continue;
    const one = node(value);
    for (const input of one.inputs) if (halves.has(input)) users.set(input, [...(users.get(input) ?? []), one]);
  }
  const cast = new Map(); // by the names of weights, what their only user makes of them
  for (const [name, nodes] of users) if (nodes.length === 1 && nodes[0].operator === "Cast") cast.set(name, nodes[0].output);
  const gone = new Set(cast.values());
  return fields.flatMap(({ field, value, raw }) => {
    if (field === NODE && gone.has(node(value).output)) return [];
    if (field !== INITIALIZER) return [raw];
    const stored = tensor(value);
    return cast.has(stored.name) ? packed(INITIALIZER, asFloat(stored, cast.get(stored.name))) : [raw];
  });
}

function node(bytes) {
  const found = { inputs: [], output: "", operator: "" };
  for (const { field, value } of fieldsOf(bytes)) {
    if (field === INPUT) found.inputs.push(text(value));
    else if (field === OUTPUT) found.output = text(value);
    else if (field === OPERATOR) found.operator = text(value);
  }
  return found;
}

function tensor(bytes) {
  const found = { dims: [], type: 0, name: "", raw: null };
  for (const { field, value, raw } of fieldsOf(bytes)) {
    if (field === DIMS) found.dims.push(raw);
    else if (field === TYPE) found.type = value;
    else if (field === NAME) found.name = text(value);
    else if (field === RAW) found.raw = value;
  }
  return found;
}

function asFloat({ dims, raw }, name) {
  const halves = new Uint16Array(raw.slice().buffer); // little-endian, as all machines with a browser are
  const floats = new Float32Array(halves.length);
  for (let at = 0; at < halves.length; at++) floats[at] = FLOATS[halves[at]];
  return [
    ...dims, number(TYPE, FLOAT), ...packed(NAME, [new TextEncoder().encode(name)]),
    ...packed(RAW, [new Uint8Array(floats.buffer)]),
  ];
}

// The value of the bits of a float16.
function float(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
