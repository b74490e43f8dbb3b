// Compression by the browser's own streams.

export async function gunzipped(bytes, what) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return await through(new DecompressionStream("gzip"), bytes);
  } catch (error) {
    if (error instanceof RangeError) throw new Error(`${what} is too large for this browser.`);
    throw new Error(`${what} is truncated or damaged.`);
  }
}

export function gzipped(bytes) {
  return through(new CompressionStream("gzip"), bytes);
}

// Of a member of a ZIP archive.
export function inflated(bytes) {
  return through(new DecompressionStream("deflate-raw"), bytes);
}

async function through(stream, bytes) {
  const transformed = new Blob([bytes]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(transformed).arrayBuffer());
}
