// Fields of a protobuf message, as far as an ONNX file needs them: contents are read and written, the rest is passed on.

// { field, kind, value, raw } of each: `value` is a number or, of kind 2, bytes; `raw` is the field as it is stored.
export function* fieldsOf(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= bytes.length) throw new RangeError("a message ends too early");
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const tag = number();
    const kind = tag % 8;
    let value = null;
    if (kind === 0) value = number();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = number();
      value = bytes.subarray(at, at + length);
      at += length;
    } else throw new RangeError("an unknown kind of field");
    if (at > bytes.length) throw new RangeError("a field ends too late");
    yield { field: Math.floor(tag / 8), kind, value, raw: bytes.subarray(start, at) };
  }
}

export function text(bytes) {
  return new TextDecoder().decode(bytes);
}

// A field with contents, given in pieces, as it is stored: again in pieces.
export function packed(field, pieces) {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  return [Uint8Array.from([...varint(field * 8 + 2), ...varint(length)]), ...pieces];
}

export function number(field, value) {
  return Uint8Array.from([...varint(field * 8), ...varint(value)]);
}

function varint(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return [...bytes, value];
}
