/**
 * A key as a string of one character per byte: strings compare natively, hash into a Map, and their order
 * by code unit is the keys' order by byte.
 */
export function keyText(key: Uint8Array): string {
  const bytes = key instanceof Buffer ? key : Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return bytes.toString("latin1");
}

/** The bytes of a `keyText`. */
export function keyBytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
