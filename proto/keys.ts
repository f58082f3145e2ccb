/** How a keyspace spreads keys over shards; `slots` only for `hash`: a power of two ≤ 65,536. */
export type Partition = "hash" | "range";

export const keyBytesMax = 4096;

const slotBytes = 2;

/** Longest encoded key, in bytes. */
export const encodedKeyBytesMax: number = keyBytesMax + slotBytes;

/**
 * A user's key as shards sort it: for `hash` two bytes of slot, then the key; for `range` the key itself.
 * An encoded key never is empty, and shard boundaries of a hash keyspace are the two bytes of a slot.
 */
export function encodeKey(key: Uint8Array, partition: Partition, slots: number): Uint8Array {
  if (partition === "range") return key;
  const encoded = Buffer.allocUnsafe(slotBytes + key.length);
  encoded.writeUInt16BE(slotOf(key, slots), 0);
  encoded.set(key, slotBytes);
  return encoded;
}

/** The user's key of an encoded one, as a view. */
export function decodeKey(encoded: Uint8Array, partition: Partition): Uint8Array {
  return partition === "range" ? encoded : encoded.subarray(slotBytes);
}

/** Boundary before `slot`, as an encoded key. */
export function slotBoundary(slot: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(slotBytes);
  bytes.writeUInt16BE(slot, 0);
  return bytes;
}

/** The slot of a key: of the bytes between its first `{` and the next `}` where there are any, else of all. */
export function slotOf(key: Uint8Array, slots: number): number {
  const tag = tagOf(key);
  return mix(fnv1a(tag)) & (slots - 1);
}

function tagOf(key: Uint8Array): Uint8Array {
  const open = key.indexOf(0x7b);
  if (open < 0) return key;
  const close = key.indexOf(0x7d, open + 1);
  return close > open + 1 ? key.subarray(open + 1, close) : key;
}

function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  return hash >>> 0;
}

/** MurmurHash3's finaliser: FNV's low bits alone spread short keys badly. */
function mix(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Is `key` in [start, end)? An empty `end` is open. */
export function inRange(key: Uint8Array, start: Uint8Array, end: Uint8Array): boolean {
  return Buffer.compare(key, start) >= 0 && (end.length === 0 || Buffer.compare(key, end) < 0);
}

/** Do [aStart, aEnd) and [bStart, bEnd) share a key? */
export function rangesOverlap(
  aStart: Uint8Array,
  aEnd: Uint8Array,
  bStart: Uint8Array,
  bEnd: Uint8Array,
): boolean {
  return (
    (bEnd.length === 0 || Buffer.compare(aStart, bEnd) < 0) &&
    (aEnd.length === 0 || Buffer.compare(bStart, aEnd) < 0)
  );
}

/** Bounds of `parts` even ranges over `slots` slots: parts + 1 boundaries, the first and last open. */
export function evenBoundaries(slots: number, parts: number): Uint8Array[] {
  const inner = Array.from({ length: parts - 1 }, (_, i) =>
    slotBoundary(Math.floor(((i + 1) * slots) / parts)),
  );
  return [new Uint8Array(0), ...inner, new Uint8Array(0)];
}

/** Default number of slots for a hash keyspace of `shards` shards. */
export function defaultSlots(shards: number): number {
  let slots = 256;
  while (slots < 4 * shards) slots *= 2;
  return Math.min(slots, 65_536);
}

/** The row of an encoded key in the `data` family: keyspace id, then the key. */
export function dataKey(keyspace: number, encoded: Uint8Array): Uint8Array {
  const row = Buffer.allocUnsafe(4 + encoded.length);
  row.writeUInt32BE(keyspace, 0);
  row.set(encoded, 4);
  return row;
}

/** The encoded key of a `data` row, as a view. */
export function encodedKeyOf(row: Uint8Array): Uint8Array {
  return row.subarray(4);
}

/**
 * Bytes that sort like `key` whatever follows them: 0x00 becomes 0x00 0xff, and 0x00 0x01 ends it. Rows that
 * carry more behind a key (dedup, TTL) need it, else a split at a longer key would part them (R23).
 */
export function escapeKey(key: Uint8Array): Uint8Array {
  let zeros = 0;
  for (let i = 0; i < key.length; i++) if (key[i] === 0) zeros += 1;
  const escaped = Buffer.allocUnsafe(key.length + zeros + 2);
  let at = 0;
  for (let i = 0; i < key.length; i++) {
    const byte = key[i] ?? 0;
    escaped[at++] = byte;
    if (byte === 0) escaped[at++] = 0xff;
  }
  escaped[at++] = 0;
  escaped[at] = 1;
  return escaped;
}

/** The key in front of `escaped`, and how many bytes it took; undefined when it does not end. */
export function unescapeKey(escaped: Uint8Array): { key: Uint8Array; length: number } | undefined {
  const key = Buffer.allocUnsafe(escaped.length);
  let length = 0;
  for (let i = 0; i < escaped.length; i++) {
    const byte = escaped[i] ?? 0;
    key[length++] = byte;
    if (byte !== 0) continue;
    i += 1;
    if (escaped[i] === 1) return { key: key.subarray(0, length - 1), length: i + 1 };
    if (escaped[i] !== 0xff) return undefined;
  }
  return undefined;
}
