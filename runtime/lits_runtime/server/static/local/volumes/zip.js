// Files of a ZIP archive, without the parts of the format that nobody uses for scans.

import { inflated } from "./gzip.js";

const [ENTRY, END] = [0x02014b50, 0x06054b50];
const LONGEST_END = 22 + 0xffff;
const MOST_FILES = 20_000;

export async function isZip(file) {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;
}

// As File objects.
export async function unzipped(file) {
  const tail = Math.max(0, file.size - LONGEST_END);
  const end = await viewOf(file, tail, file.size);
  let at = end.byteLength - 22;
  while (at >= 0 && end.getUint32(at, true) !== END) at--;
  if (at < 0) throw new Error(`${file.name} is a damaged archive.`);
  const [count, size, begin] = [end.getUint16(at + 10, true), end.getUint32(at + 12, true), end.getUint32(at + 16, true)];
  if (begin === 0xffffffff || count > MOST_FILES) throw new Error(`${file.name} is too large an archive: unpack it, and drop the folder.`);
  const directory = await viewOf(file, begin, begin + size);
  const found = [];
  for (let place = 0, entry = 0; entry < count; entry++) {
    if (place + 46 > directory.byteLength || directory.getUint32(place, true) !== ENTRY) throw new Error(`${file.name} is a damaged archive.`);
    const [nameLength, extra, comment] = [28, 30, 32].map((field) => directory.getUint16(place + field, true));
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, place + 46, nameLength));
    if (!name.endsWith("/")) found.push(await member(file, directory, place, name));
    place += 46 + nameLength + extra + comment;
  }
  return found;
}

async function member(file, directory, place, name) {
  const method = directory.getUint16(place + 10, true);
  const [packed, size] = [directory.getUint32(place + 20, true), directory.getUint32(place + 24, true)];
  const local = await viewOf(file, directory.getUint32(place + 42, true), directory.getUint32(place + 42, true) + 30);
  const begin = directory.getUint32(place + 42, true) + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  const content = file.slice(begin, begin + packed);
  const short = name.split("/").at(-1);
  if (method === 0) return new File([content], short);
  if (method !== 8) throw new Error(`${file.name} is compressed in a way that browsers cannot read: unpack it, and drop the folder.`);
  const bytes = await inflated(new Uint8Array(await content.arrayBuffer()));
  if (bytes.length !== size) throw new Error(`${file.name} is a damaged archive.`);
  return new File([bytes], short);
}

async function viewOf(file, begin, end) {
  return new DataView(await file.slice(begin, end).arrayBuffer());
}
