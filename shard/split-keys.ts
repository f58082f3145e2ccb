import {
  compareBytes,
  dataKey,
  encodedKeyOf,
  type Partition,
  type ShardDescriptor,
  slotBoundary,
} from "#proto";
import type { Engine, Range } from "#storage";
import { dataRange } from "./state-rows.ts";

/** Where a shard should be split, or why it cannot be. */
export type SplitSuggestion =
  | { readonly kind: "at"; readonly boundaries: readonly Uint8Array[] }
  | { readonly kind: "blocked"; readonly reason: string };

export interface SplitWish {
  /** Shards there shall be instead of this one, at least 2; fewer are suggested where keys do not do for more. */
  readonly ways: number;
  readonly partition: Partition;
  /** Of a hash keyspace. */
  readonly slots: number;
}

/** Up to so many rows are looked at one by one; beyond, the engine's estimates are exact enough. */
const exactRows = 2048;
const exactBytes = 4 * 1024 * 1024;
/** Bytes of a key that a search by estimate tells apart behind what its bounds share. */
const searchedBytes = 6;

/** Boundaries between parts of about equal bytes. */
export function splitBySize(engine: Engine, shard: ShardDescriptor, wish: SplitWish): SplitSuggestion {
  const blocked = blockedBecause(shard, wish);
  if (blocked !== undefined) return blocked;
  const found = sizeQuantiles(engine, shard, wish.ways);
  if (wish.partition === "hash")
    return found.length === 0 ? evenSlots(shard, wish) : rounded(found, shard, wish);
  return suggestion(found, shard, "the shard has too few keys to part");
}

/** Boundaries between parts that get about equal shares of the sampled requests. */
export function splitByLoad(
  sampled: readonly Uint8Array[],
  shard: ShardDescriptor,
  wish: SplitWish,
): SplitSuggestion {
  const blocked = blockedBecause(shard, wish);
  if (blocked !== undefined) return blocked;
  const keys = sampled.filter((key) => isInside(key, shard)).sort(compareBytes);
  const found = quantiles(wish.ways).flatMap((share) => keys[Math.floor(share * keys.length)] ?? []);
  return wish.partition === "hash"
    ? rounded(found, shard, wish)
    : suggestion(found, shard, "the load is on one key, or there is none");
}

/** The boundary of a hash keyspace next to `at`, for splits by a user's key; undefined where there is none inside. */
export function roundToSlot(at: Uint8Array, shard: ShardDescriptor, slots: number): Uint8Array | undefined {
  const { first, end } = slotsOf(shard, slots);
  if (end - first < 2) return undefined;
  return slotBoundary(Math.min(Math.max(slotAt(at), first + 1), end - 1));
}

function blockedBecause(
  shard: ShardDescriptor,
  { partition, slots }: SplitWish,
): SplitSuggestion | undefined {
  if (partition === "range") return undefined;
  const { first, end } = slotsOf(shard, slots);
  return end - first < 2 ? { kind: "blocked", reason: "the shard is one slot already" } : undefined;
}

function suggestion(
  found: readonly Uint8Array[],
  shard: ShardDescriptor,
  otherwise: string,
): SplitSuggestion {
  const boundaries: Uint8Array[] = [];
  for (const key of found) {
    const last = boundaries.at(-1) ?? shard.start;
    if (compareBytes(key, last) > 0 && isInside(key, shard)) boundaries.push(key);
  }
  return boundaries.length === 0 ? { kind: "blocked", reason: otherwise } : { kind: "at", boundaries };
}

/** Each key's own slot goes to the right, so that what is below it stays together on the left. */
function rounded(
  found: readonly Uint8Array[],
  shard: ShardDescriptor,
  { slots }: SplitWish,
): SplitSuggestion {
  const boundaries = found.flatMap((key) => roundToSlot(key, shard, slots) ?? []);
  return suggestion(boundaries, shard, "the load is in one slot, or there is none");
}

function evenSlots(shard: ShardDescriptor, { ways, slots }: SplitWish): SplitSuggestion {
  const { first, end } = slotsOf(shard, slots);
  const boundaries = quantiles(ways).map((share) => slotBoundary(first + Math.round(share * (end - first))));
  return suggestion(boundaries, shard, "the shard has too few slots");
}

/** The slots of a shard: [first, end). */
function slotsOf({ start, end }: ShardDescriptor, slots: number): { first: number; end: number } {
  return { first: slotAt(start), end: end.length === 0 ? slots : slotAt(end) };
}

function slotAt(key: Uint8Array): number {
  return ((key[0] ?? 0) << 8) | (key[1] ?? 0);
}

function isInside(key: Uint8Array, { start, end }: ShardDescriptor): boolean {
  return compareBytes(key, start) > 0 && (end.length === 0 || compareBytes(key, end) < 0);
}

/** Inner bounds of `ways` equal shares of 1. */
function quantiles(ways: number): number[] {
  return Array.from({ length: Math.max(0, ways - 1) }, (_, i) => (i + 1) / ways);
}

// ---- By size

function sizeQuantiles(engine: Engine, shard: ShardDescriptor, ways: number): Uint8Array[] {
  const range = dataRange(shard);
  const { rows, finished } = engine.scan(range, { limit: exactRows, maxBytes: exactBytes });
  if (finished) return exactQuantiles(rows, ways);
  const { bytes } = engine.approximateSize(range);
  return quantiles(ways).flatMap((share) => keyAt(engine, shard, share * bytes) ?? []);
}

function exactQuantiles(rows: readonly Uint8Array[], ways: number): Uint8Array[] {
  const sizes = rows.map((bytes) => bytes.length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const found: Uint8Array[] = [];
  let before = 0;
  for (let i = 0; i < rows.length && found.length < ways - 1; i += 2) {
    const row = rows[i];
    if (row !== undefined && before >= ((found.length + 1) / ways) * total)
      found.push(encodedKeyOf(row).slice());
    before += (sizes[i] ?? 0) + (sizes[i + 1] ?? 0);
  }
  return found;
}

/** The key before which about `bytes` of the shard lie: a search between its first and its last key. */
function keyAt(engine: Engine, shard: ShardDescriptor, bytes: number): Uint8Array | undefined {
  const range = dataRange(shard);
  const first = edge(engine, range, false);
  const last = edge(engine, range, true);
  if (first === undefined || last === undefined) return undefined;
  let shared = 0;
  while (shared < first.length && first[shared] === last[shared]) shared += 1;
  let low = numberAt(first, shared);
  let high = numberAt(last, shared);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    const key = keyOf(first, shared, middle);
    const upTo: Range = { ...range, end: dataKey(shard.keyspace, key) };
    if (engine.approximateSize(upTo).bytes < bytes) low = middle;
    else high = middle;
  }
  const behind = dataKey(shard.keyspace, keyOf(first, shared, high));
  return edge(engine, { ...range, start: behind }, false);
}

function edge(engine: Engine, range: Range, reverse: boolean): Uint8Array | undefined {
  const [row] = engine.scan(range, { limit: 1, reverse }).rows;
  return row === undefined ? undefined : encodedKeyOf(row).slice();
}

/** The bytes of `key` from `at` on, as a number that sorts like them. */
function numberAt(key: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 0; i < searchedBytes; i++) value = value * 256 + (key[at + i] ?? 0);
  return value;
}

function keyOf(first: Uint8Array, shared: number, value: number): Uint8Array {
  const key = Buffer.alloc(shared + searchedBytes);
  key.set(first.subarray(0, shared), 0);
  key.writeUIntBE(value, shared, searchedBytes);
  return key;
}
