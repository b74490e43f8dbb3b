// The elements of a DICOM header that say where a slice lies; pixels are left to dcm2niix.

const WANTED = {
  0x00020010: "syntax", 0x00080008: "imageType", 0x00080016: "sopClass", 0x00080018: "uid", 0x0008103e: "description",
  0x00180050: "thickness", 0x0020000d: "study", 0x0020000e: "series", 0x00200011: "number", 0x00200012: "acquisition",
  0x00200032: "position", 0x00200037: "orientation", 0x00200052: "frame", 0x00200100: "phase", 0x00280002: "samples",
  0x00280008: "frames", 0x00280010: "rows", 0x00280011: "columns", 0x00280030: "spacing", 0x00280103: "signed",
  0x00280120: "padding", 0x00280121: "paddingEnd", 0x00281052: "intercept", 0x00281053: "slope", 0x00281054: "rescaleType",
};
const BINARY = new Set(["samples", "rows", "columns", "signed", "padding", "paddingEnd"]);
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const PIXELS = 0x7fe00010;
const [ITEM, ITEM_END, SEQUENCE_END] = [0xfffee000, 0xfffee00d, 0xfffee0dd];
const UNDEFINED = 0xffffffff;
const [IMPLICIT, BIG, DEFLATED] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];
const SIZES = [2 ** 15, 2 ** 20, 2 ** 26]; // of a header; most are a few kB

// Whether a file begins as DICOM does; some lack the preamble and begin with group 0008.
export function isDicom(start) {
  const text = (at, count) => String.fromCharCode(...start.subarray(at, at + count));
  if (text(128, 4) === "DICM") return true;
  return start[0] === 8 && start[1] === 0 && start[3] === 0 && (/^[A-Z]{2}$/.test(text(4, 2)) || (start[6] === 0 && start[7] === 0));
}

// The elements of a file, by the names above; numbers are numbers, several values are arrays of texts.
export async function readHeader(file) {
  for (const size of SIZES) {
    const view = new DataView(await file.slice(0, size).arrayBuffer());
    try {
      return new Reader(view).header(view.byteLength === file.size);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      if (file.size <= size) break;
    }
  }
  throw new Error(`${file.name} is damaged DICOM.`);
}

class Reader {
  constructor(view) {
    this.view = view;
    this.at = view.byteLength > 132 && view.getUint32(128) === 0x4449434d ? 132 : 0;
    this.little = true;
    this.implicit = this.at === 0 && !/^[A-Z]{2}$/.test(this.#text(4, 2));
  }

  // Throws RangeError where the header goes on after the bytes that were read; `whole` if these are all.
  header(whole) {
    const found = {};
    let inMeta = this.at > 0;
    for (;;) {
      if (whole && this.at === this.view.byteLength) return found; // reports have no pixels
      if (inMeta && this.view.getUint16(this.at, true) !== 2) {
        inMeta = false;
        this.#begin(found.syntax);
      }
      const { tag, kind, length } = this.#next();
      if (tag >= PIXELS) return found;
      const name = WANTED[tag];
      if (name !== undefined && length !== UNDEFINED) found[name] = this.#value(name, length);
      this.#pass(kind, length);
    }
  }

  #begin(syntax) {
    if (syntax === DEFLATED) throw new Error("Deflated DICOM cannot be read in a browser: use lits-infer.");
    this.implicit = syntax === IMPLICIT;
    this.little = syntax !== BIG;
  }

  #next() {
    const tag = this.view.getUint16(this.at, this.little) * 65536 + this.view.getUint16(this.at + 2, this.little);
    const plain = this.implicit || tag === ITEM || tag === ITEM_END || tag === SEQUENCE_END;
    const kind = plain ? "" : this.#text(this.at + 4, 2);
    let length;
    if (plain) {
      length = this.view.getUint32(this.at + 4, this.little);
      this.at += 8;
    } else if (LONG.has(kind)) {
      length = this.view.getUint32(this.at + 8, this.little);
      this.at += 12;
    } else {
      length = this.view.getUint16(this.at + 6, this.little);
      this.at += 8;
    }
    return { tag, kind, length };
  }

  #pass(kind, length) {
    if (length !== UNDEFINED) {
      this.at += length;
      if (this.at > this.view.byteLength) throw new RangeError("the header goes on");
      return;
    }
    const outside = this.implicit;
    if (kind === "UN") this.implicit = true; // PS3.5, 6.2.2
    for (;;) {
      const item = this.#next();
      if (item.tag === SEQUENCE_END) break;
      if (item.length !== UNDEFINED) this.#pass("", item.length);
      else {
        for (let inner = this.#next(); inner.tag !== ITEM_END; inner = this.#next()) this.#pass(inner.kind, inner.length);
      }
    }
    this.implicit = outside;
  }

  #value(name, length) {
    if (BINARY.has(name)) return length >= 2 ? this.view.getUint16(this.at, this.little) : undefined;
    const values = this.#text(this.at, length).split("\\").map((value) => value.replace(/[\0 ]+$/, "").trimStart());
    return values.length > 1 || ["imageType", "position", "orientation", "spacing"].includes(name) ? values : values[0];
  }

  #text(at, length) {
    return new TextDecoder("latin1").decode(new Uint8Array(this.view.buffer, at, length));
  }
}
