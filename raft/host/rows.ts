import { encode, FieldReader, type GroupId, groupRow, metaTags, ProtocolError, type ReplicaId } from "#proto";
import type { ConfState, Entry, HardState, SnapshotMeta } from "#raft/core";
import { families, type Range } from "#storage";

/**
 * The host's rows. In the `raft` family: `[group, 8 bytes][tag][index, 8 bytes]`; log rows sort by index. In
 * `meta`: what this node knows of a replica, what its state machine has applied, and snapshots under way.
 * @module
 */
const tags = { truncated: 0, hardState: 1, entry: 2 } as const;

function raftRow(group: GroupId, tag: number, index?: number): Uint8Array {
  const row = Buffer.allocUnsafe(index === undefined ? 9 : 17);
  row.writeBigUInt64BE(BigInt(group), 0);
  row[8] = tag;
  if (index !== undefined) row.writeBigUInt64BE(BigInt(index), 9);
  return row;
}

export const truncatedRow = (group: GroupId): Uint8Array => raftRow(group, tags.truncated);
export const hardStateRow = (group: GroupId): Uint8Array => raftRow(group, tags.hardState);
export const entryRow = (group: GroupId, index: number): Uint8Array => raftRow(group, tags.entry, index);

/** All rows of a group in the `raft` family: [start, end). */
export function raftBounds(group: GroupId): { start: Uint8Array; end: Uint8Array } {
  return { start: raftRow(group, 0), end: raftRow(group, 0xff) };
}

export function indexOfEntryRow(row: Uint8Array): number {
  return Number(Buffer.from(row.buffer, row.byteOffset, row.byteLength).readBigUInt64BE(9));
}

const headBytes = 7;

/** The largest term that a log row can hold; the wire takes none above. */
export const termMax: number = 2 ** 48 - 1;

/** One byte of kind, six of term, then the data as it is: the hot path's only disk format. */
export function entryValue(entry: Entry): Uint8Array {
  const value = Buffer.allocUnsafe(headBytes + entry.data.length);
  value[0] = entry.kind === "conf" ? 1 : 0;
  value.writeUIntBE(entry.term, 1, 6);
  value.set(entry.data, headBytes);
  return value;
}

export function readEntry(index: number, value: Uint8Array): Entry {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return {
    index,
    term: bytes.readUIntBE(1, 6),
    kind: bytes[0] === 1 ? "conf" : "normal",
    data: bytes.subarray(headBytes),
  };
}

export function hardStateValue(s: HardState): Uint8Array {
  return encode([s.term, s.vote, s.commit]);
}

export function readHardState(value: Uint8Array): HardState {
  const f = FieldReader.of(value, "hard state");
  return { term: f.integer(), vote: f.integer(), commit: f.integer() };
}

/** Everything up to `index` (of `term`) is compacted away or came with a snapshot. */
export interface Truncated {
  readonly index: number;
  readonly term: number;
}

export function truncatedValue(t: Truncated): Uint8Array {
  return encode([t.index, t.term]);
}

export function readTruncated(value: Uint8Array): Truncated {
  const f = FieldReader.of(value, "truncated state");
  return { index: f.integer(), term: f.integer() };
}

/** What the state machine's rows reflect; written with them in one batch. */
export interface Applied {
  readonly index: number;
  readonly term: number;
  readonly conf: ConfState;
}

export const appliedRow = (group: GroupId): Uint8Array => groupRow(metaTags.hostApplied, group);

export function appliedValue(a: Applied): Uint8Array {
  return encode([a.index, a.term, confFields(a.conf)]);
}

export function readApplied(value: Uint8Array): Applied {
  const f = FieldReader.of(value, "applied state");
  return { index: f.integer(), term: f.integer(), conf: readConf(f.any()) };
}

export function confFields(c: ConfState): unknown[] {
  return [c.voters, c.outgoing, c.learners, c.learnersNext, c.autoLeave];
}

export function readConf(value: unknown): ConfState {
  const f = new FieldReader(value, "configuration");
  const ids = (): number[] => f.list((id) => new FieldReader([id], "replica id").integer(1));
  return {
    voters: ids(),
    outgoing: ids(),
    learners: ids(),
    learnersNext: ids(),
    autoLeave: f.boolean(),
  };
}

export function snapshotFields(s: SnapshotMeta): unknown[] {
  return [s.index, s.term, confFields(s.conf)];
}

export function readSnapshot(value: unknown): SnapshotMeta {
  const f = new FieldReader(value, "snapshot");
  return { index: f.integer(1), term: f.integer(1), conf: readConf(f.any()) };
}

/**
 * What this node knows of its replica of a group. A tombstone says that replicas up to `replica` are gone for
 * good and is never removed while the node lives (R34).
 */
export interface ReplicaRecord {
  readonly replica: ReplicaId;
  readonly state: "live" | "tombstone";
  /** On a tombstone whose rows may not all be gone: where they are. */
  readonly ranges?: readonly Range[];
}

export const replicaRow = (group: GroupId): Uint8Array => groupRow(metaTags.hostReplica, group);

export function replicaValue(r: ReplicaRecord): Uint8Array {
  return encode([r.replica, r.state, r.ranges === undefined ? null : r.ranges.map(rangeFields)]);
}

export function readReplica(value: Uint8Array): ReplicaRecord {
  const f = FieldReader.of(value, "replica record");
  const replica = f.integer(1);
  const state = f.choice(["live", "tombstone"] as const);
  const ranges = f.optional((r) => r.list(readRange));
  return { replica, state, ...(ranges === undefined ? {} : { ranges }) };
}

/** Ranges to be cleared that a split left behind here. */
export const leftoverRow = (group: GroupId): Uint8Array => groupRow(metaTags.hostLeftover, group);

export function leftoverValue(ranges: readonly Range[]): Uint8Array {
  return encode([ranges.map(rangeFields)]);
}

export function readLeftover(value: Uint8Array): Range[] {
  return FieldReader.of(value, "leftover").list(readRange);
}

export function rangeFields(range: Range): unknown[] {
  return [families.indexOf(range.family), range.start, range.end ?? null];
}

/** @throws ProtocolError */
export function readRange(value: unknown): Range {
  const f = new FieldReader(value, "range");
  const family = families[f.integer()];
  if (family === undefined) throw new ProtocolError("range: unknown family");
  const start = f.bytes().slice();
  const end = f.optional((e) => e.bytes().slice());
  return { family, start, ...(end === undefined ? {} : { end }) };
}
