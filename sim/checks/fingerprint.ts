/** FNV-1a over the ends of `bytes` and its length: enough to tell two entries of a run apart, and cheap. */
export function fingerprint(bytes: Uint8Array, seed = 0x811c9dc5): number {
  let hash = Math.imul(seed ^ bytes.length, 0x01000193);
  const head = Math.min(bytes.length, sampleBytes);
  for (let i = 0; i < head; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  for (let i = Math.max(head, bytes.length - sampleBytes); i < bytes.length; i++) {
    hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  }
  return hash >>> 0;
}

const sampleBytes = 192;
