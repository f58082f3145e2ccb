import {
  dataKey,
  descriptorFields,
  encode,
  escapeKey,
  FieldReader,
  type Frozen,
  frozenFields,
  type GroupId,
  groupRow,
  keyspaceRow,
  metaTags,
  noBytes,
  ProtocolError,
  prefixEnd,
  readDescriptor,
  readFrozen,
  type ShardDescriptor,
} from "#proto";
import type { Engine, Range } from "#storage";
import type { RowTx } from "./tx.ts";

/**
 * A shard's own rows in `meta`, under `shardState | group`: its descriptor, written when that changes, its
 * clock, written with every entry and so kept apart and small, and, while it is frozen, for what.
 */
const stateFormat = 1;
const descriptorPart = 0;
const clockPart = 1;
const frozenPart = 2;
const absorbedPart = 3;

function stateRow(group: GroupId, part: number): Uint8Array {
  return Buffer.concat([groupRow(metaTags.shardState, group), Buffer.of(part)]);
}

export function clockRow(group: GroupId): Uint8Array {
  return stateRow(group, clockPart);
}

export function encodeClock(micros: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeDoubleBE(micros, 0);
  return bytes;
}

export function putDescriptor(tx: RowTx, descriptor: ShardDescriptor): void {
  const row = stateRow(descriptor.id, descriptorPart);
  tx.put("meta", row, encode([stateFormat, descriptorFields(descriptor)]));
}

/** Undefined where the shard has no state here yet. @throws ProtocolError */
export function loadDescriptor(engine: Engine, group: GroupId): ShardDescriptor | undefined {
  const bytes = engine.get("meta", stateRow(group, descriptorPart));
  if (bytes === undefined) return undefined;
  const f = FieldReader.of(bytes, "shard state");
  f.choice([stateFormat]);
  return readDescriptor(f.any());
}

/** µs; 0 where the shard has no state here yet. @throws ProtocolError */
export function loadClock(engine: Engine, group: GroupId): number {
  const bytes = engine.get("meta", clockRow(group));
  if (bytes === undefined) return 0;
  if (bytes.length !== 8) throw new ProtocolError("shard clock: not 8 bytes");
  return Buffer.from(bytes.buffer, bytes.byteOffset, 8).readDoubleBE(0);
}

/** Frozen from here on, or no more. */
export function putFrozen(tx: RowTx, group: GroupId, frozen: Frozen | undefined): void {
  const row = stateRow(group, frozenPart);
  if (frozen === undefined) tx.delete("meta", row);
  else tx.put("meta", row, encode([stateFormat, frozenFields(frozen)]));
}

/** @throws ProtocolError */
export function loadFrozen(engine: Engine, group: GroupId): Frozen | undefined {
  const bytes = engine.get("meta", stateRow(group, frozenPart));
  if (bytes === undefined) return undefined;
  const f = FieldReader.of(bytes, "shard's frozen state");
  f.choice([stateFormat]);
  return readFrozen(f.any());
}

/** Shards that have ended in this one, the newest last. */
export function putAbsorbed(tx: RowTx, group: GroupId, absorbed: readonly GroupId[]): void {
  tx.put("meta", stateRow(group, absorbedPart), encode([stateFormat, absorbed]));
}

/** @throws ProtocolError */
export function loadAbsorbed(engine: Engine, group: GroupId): readonly GroupId[] {
  const bytes = engine.get("meta", stateRow(group, absorbedPart));
  if (bytes === undefined) return [];
  const f = FieldReader.of(bytes, "shard's absorbed shards");
  f.choice([stateFormat]);
  return f.list((id) => new FieldReader([id], "shard id").integer(1));
}

/** The rows a shard begins with: for `ReplicaInit.rows`, from placement's logged order (R5). */
export function initialRows(descriptor: ShardDescriptor, clockMicros = 0): (tx: RowTx) => void {
  return (tx) => {
    putDescriptor(tx, descriptor);
    tx.put("meta", clockRow(descriptor.id), encodeClock(clockMicros));
  };
}

export function stateRange(group: GroupId): Range {
  return bounded("meta", groupRow(metaTags.shardState, group), groupRow(metaTags.shardState, group + 1));
}

/** The rows of the users' keys of a shard. */
export function dataRange({ keyspace, start, end }: ShardDescriptor): Range {
  const upper = end.length === 0 ? prefixEnd(dataKey(keyspace, noBytes)) : dataKey(keyspace, end);
  return bounded("data", dataKey(keyspace, start), upper);
}

/** The dedup rows of a shard: they sort by the key they protect, so a range of keys is a range of rows (R23). */
export function dedupRange({ keyspace, start, end }: ShardDescriptor): Range {
  const upper =
    end.length === 0
      ? prefixEnd(keyspaceRow(metaTags.shardDedup, keyspace, noBytes))
      : keyspaceRow(metaTags.shardDedup, keyspace, escapeKey(end));
  return bounded("meta", keyspaceRow(metaTags.shardDedup, keyspace, escapeKey(start)), upper);
}

function bounded(family: Range["family"], start: Uint8Array, end: Uint8Array | undefined): Range {
  return end === undefined ? { family, start } : { family, start, end };
}
