import { crc32 } from "node:zlib";
import { decode, encode, FieldReader, type GroupId, ProtocolError, type ReplicaId } from "#proto";
import { confProblem, type SnapshotMeta } from "#raft/core";
import { type Family, families, type Range } from "#storage";
import { rangeFields, readRange, readSnapshot, snapshotFields, termMax } from "./rows.ts";

/** Rows of one family, flat: key, value, key, value… */
export interface RowBlock {
  readonly family: Family;
  readonly rows: readonly Uint8Array[];
}

/** The end of a stream: what a receiver needs to check it and to step it into the core. */
export interface SnapshotEnd {
  readonly chunks: number;
  /** CRC-32 over the chunks' bodies in order, seed of each the one before. */
  readonly checksum: number;
  readonly term: number;
  readonly meta: SnapshotMeta;
  /** What the snapshot holds whole: what the receiver has there gives way. */
  readonly ranges: readonly Range[];
  /** Groups that have ended in this one: what the receiver has of them gives way too. */
  readonly absorbed?: readonly GroupId[];
}

/** Messages of the `bulk` channel. `id` is the sender's, unique with its boot. */
export type BulkMessage =
  | {
      readonly kind: "chunk";
      readonly id: string;
      readonly group: GroupId;
      readonly from: ReplicaId;
      readonly to: ReplicaId;
      readonly sequence: number;
      /** In the first: what the snapshot will take, so that it can be refused before it is sent (R5). */
      readonly ranges?: readonly Range[];
      /** Likewise: whose rows it may take. */
      readonly absorbed?: readonly GroupId[];
      /** Encoded RowBlock, or undefined in the last message. */
      readonly body?: Uint8Array;
      readonly end?: SnapshotEnd;
    }
  | { readonly kind: "ack"; readonly id: string; readonly sequence: number }
  | { readonly kind: "done"; readonly id: string }
  | { readonly kind: "refused"; readonly id: string; readonly reason: string };

export function encodeBlock(block: RowBlock): Uint8Array {
  return encode([families.indexOf(block.family), block.rows]);
}

/** @throws ProtocolError */
export function decodeBlock(body: Uint8Array): RowBlock {
  const f = FieldReader.of(body, "snapshot rows");
  const family = families[f.integer()];
  if (family === undefined) throw new ProtocolError("snapshot rows: unknown family");
  const rows = f.list((row) => new FieldReader([row], "snapshot row").bytes());
  if (rows.length % 2 !== 0) throw new ProtocolError("snapshot rows: a key without a value");
  return { family, rows };
}

export function addChecksum(checksum: number, body: Uint8Array): number {
  return crc32(body, checksum);
}

function endFields(e: SnapshotEnd): unknown[] {
  return [
    e.chunks,
    e.checksum,
    e.term,
    snapshotFields(e.meta),
    e.ranges.map(rangeFields),
    e.absorbed ?? null,
  ];
}

/** @throws ProtocolError */
export function readEnd(value: unknown): SnapshotEnd {
  const f = new FieldReader(value, "snapshot end");
  const head = {
    chunks: f.integer(),
    checksum: f.integer(),
    term: f.integer(1),
    meta: readSnapshot(f.any()),
    ranges: f.list(readRange),
  };
  const absorbed = f.optional(readGroups);
  const end: SnapshotEnd = { ...head, ...(absorbed === undefined ? {} : { absorbed }) };
  if (end.term > termMax || end.meta.term > end.term) throw new ProtocolError("snapshot end: bad term");
  const problem = confProblem(end.meta.conf);
  if (problem !== undefined) throw new ProtocolError(`snapshot end: ${problem}`);
  return end;
}

function readGroups(f: FieldReader): GroupId[] {
  return f.list((id) => new FieldReader([id], "group").integer(1));
}

/** The end as it is kept beside the applying mark. */
export function encodeEnd(end: SnapshotEnd): Uint8Array {
  return encode(endFields(end));
}

export function decodeEnd(bytes: Uint8Array): SnapshotEnd {
  return readEnd(decode(bytes));
}

export function encodeBulk(m: BulkMessage): Uint8Array {
  switch (m.kind) {
    case "chunk": {
      const end = m.end === undefined ? null : endFields(m.end);
      const ranges = m.ranges?.map(rangeFields) ?? null;
      const head = [m.kind, m.id, m.group, m.from, m.to, m.sequence, m.body ?? null, end, ranges];
      return encode(m.absorbed === undefined ? head : [...head, m.absorbed]);
    }
    case "ack":
      return encode([m.kind, m.id, m.sequence]);
    case "done":
      return encode([m.kind, m.id]);
    case "refused":
      return encode([m.kind, m.id, m.reason]);
  }
}

/** @throws ProtocolError */
export function decodeBulk(bytes: Uint8Array): BulkMessage {
  const f = FieldReader.of(bytes, "bulk message");
  const kind = f.choice(["chunk", "ack", "done", "refused"] as const);
  const id = f.text();
  if (kind === "ack") return { kind, id, sequence: f.integer() };
  if (kind === "done") return { kind, id };
  if (kind === "refused") return { kind, id, reason: f.text() };
  const head = { kind, id, group: f.integer(), from: f.integer(1), to: f.integer(1), sequence: f.integer() };
  const body = f.optional((r) => r.bytes().slice());
  const end = f.optional((r) => readEnd(r.any()));
  const ranges = f.optional((r) => r.list(readRange));
  const absorbed = f.optional(readGroups);
  return {
    ...head,
    ...(ranges === undefined ? {} : { ranges }),
    ...(absorbed === undefined ? {} : { absorbed }),
    ...(body === undefined ? {} : { body }),
    ...(end === undefined ? {} : { end }),
  };
}
