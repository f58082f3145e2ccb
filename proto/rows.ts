import type { GroupId } from "./ids.ts";

/**
 * First byte of a row in the `meta` family: who owns it. One table, so that no two rooms meet in a key.
 * Rows of `raft` are the host's alone; of `data`, the shards'.
 */
export const metaTags = {
  node: 0x01,
  hostReplica: 0x02,
  hostApplied: 0x03,
  hostInstalling: 0x04,
  hostStaging: 0x05,
  hostLeftover: 0x06,
  shardState: 0x10,
  shardDedup: 0x11,
  shardIdempotency: 0x12,
  shardExpiry: 0x13,
  placement: 0x20,
} as const;

/** `[tag][group, 8 bytes big-endian]` */
export function groupRow(tag: number, group: GroupId): Uint8Array {
  const row = Buffer.allocUnsafe(9);
  row[0] = tag;
  row.writeBigUInt64BE(BigInt(group), 1);
  return row;
}

/** The group of a `groupRow`. */
export function groupOfRow(row: Uint8Array): GroupId {
  return Number(Buffer.from(row.buffer, row.byteOffset, row.byteLength).readBigUInt64BE(1));
}

/** `[tag][keyspace, 4 bytes big-endian]` followed by `rest` */
export function keyspaceRow(tag: number, keyspace: number, rest: Uint8Array): Uint8Array {
  const row = Buffer.allocUnsafe(5 + rest.length);
  row[0] = tag;
  row.writeUInt32BE(keyspace, 1);
  row.set(rest, 5);
  return row;
}
