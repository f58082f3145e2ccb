import { encode, FieldReader } from "#proto";

/** R25: a stamp beyond this (the year 2112) is a broken clock's. */
export const stampMicrosMax: number = 2 ** 52;

const entryFormat = 1;

/** The commands of one turn and the leader's clock at their joining, in µs. */
export interface ShardEntry {
  readonly stampMicros: number;
  readonly commands: readonly Uint8Array[];
}

export function encodeEntry(entry: ShardEntry): Uint8Array {
  // What a wild clock says must still decode everywhere; apply refuses it by `stampMicrosMax`.
  const stamp = Math.min(Math.max(0, Math.floor(entry.stampMicros)), Number.MAX_SAFE_INTEGER);
  return encode([entryFormat, stamp, entry.commands]);
}

/** @throws ProtocolError; commands are views into `data` */
export function decodeEntry(data: Uint8Array): ShardEntry {
  const f = FieldReader.of(data, "shard entry");
  f.choice([entryFormat]);
  return {
    stampMicros: f.integer(),
    commands: f.list((command) => new FieldReader([command], "shard entry's command").bytes()),
  };
}
