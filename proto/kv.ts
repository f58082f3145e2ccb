import { encode, FieldReader, ProtocolError } from "./codec.ts";
import type { GroupId, NodeId } from "./ids.ts";
import { encodedKeyBytesMax } from "./keys.ts";
import { type MergeStep, readMergeStep } from "./merge.ts";
import { descriptorFields, readDescriptor, type ShardDescriptor } from "./shards.ts";
import { readSplit, type SplitCommand, splitTag } from "./split.ts";

/** RPC methods of the shard service, asked by routers. */
export const kvMethods = { write: 1, read: 2 } as const;

/**
 * A condition on the present revision (absent = 0), decided at apply. Lists are alternatives.
 * `match: "any"`: must exist. `noneMatch: "any"`: must be absent; a list: must be none of these.
 */
export interface Condition {
  readonly match?: "any" | readonly number[];
  readonly noneMatch?: "any" | readonly number[];
}

/** Whose attempt a command is (R23): the router's session, its sequence, its lowest unanswered one. */
export interface Attempt {
  readonly session: string;
  readonly sequence: number;
  readonly lowestUnanswered: number;
  /**
   * A reading of the shard's clock in µs; apply refuses the command once that clock is past it. Attempts of
   * one sequence carry the same one, but after a refusal for it: else a late copy could outlive its record.
   */
  readonly deadlineMicros: number;
}

export type KvOperation =
  | {
      readonly kind: "put";
      readonly value: Uint8Array;
      readonly contentType: string;
      readonly condition?: Condition;
    }
  | { readonly kind: "delete"; readonly condition?: Condition };

/** One write as it stands in the log: opaque to Raft, decoded at the leader's door and at apply. */
export interface KvCommand {
  readonly attempt: Attempt;
  /** The epoch version the router believed in. */
  readonly version: number;
  readonly keyspace: number;
  /** Encoded key. */
  readonly key: Uint8Array;
  readonly operation: KvOperation;
}

const operationTags = { put: 1, delete: 2 } as const;
/** Tags from 64 on are the shard's own. */
const floorTag = 64;

/** Content types are at most this long, in bytes of UTF-8. */
export const contentTypeBytesMax = 128;
/** Sequences fit six bytes. */
export const sequenceMax: number = 2 ** 48 - 1;
/** Revisions a condition may list. */
export const conditionRevisionsMax = 256;
const keyspaceMax = 2 ** 32 - 1;

/** A router's session: 16 lower-case hex digits. */
export function isSession(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text);
}

function conditionFields(c: Condition | undefined): unknown {
  return c === undefined ? null : [c.match ?? null, c.noneMatch ?? null];
}

function readCondition(value: unknown): Condition {
  const f = new FieldReader(value, "condition");
  const side = (raw: unknown): "any" | number[] | undefined => {
    if (raw == null) return undefined;
    if (raw === "any") return "any";
    const isList = Array.isArray(raw) && raw.length <= conditionRevisionsMax;
    if (isList && raw.every((r) => Number.isSafeInteger(r) && r >= 0)) return raw;
    throw new ProtocolError("condition: neither a short list of revisions nor any");
  };
  const match = side(f.any());
  const noneMatch = side(f.any());
  return { ...(match === undefined ? {} : { match }), ...(noneMatch === undefined ? {} : { noneMatch }) };
}

export function encodeCommand(c: KvCommand): Uint8Array {
  const { attempt: a, operation: op } = c;
  const head = [operationTags[op.kind], a.session, a.sequence, a.lowestUnanswered, a.deadlineMicros];
  const condition = conditionFields(op.condition);
  const tail = op.kind === "put" ? [op.value, op.contentType, condition] : [condition];
  return encode([...head, c.version, c.keyspace, c.key, ...tail]);
}

/**
 * A command of a router. Total and strict: what passes here cannot make apply throw (R12), so the leader's
 * door and apply use it both. Never make it stricter: entries of older versions are read with it (R11).
 * @throws ProtocolError; binary parts are views into `bytes`
 */
export function decodeCommand(bytes: Uint8Array): KvCommand {
  const decoded = decodeShardCommand(bytes);
  if (decoded.kind === "kv") return decoded.command;
  throw new ProtocolError(`command: a router may not propose ${decoded.kind}`);
}

/** Everything that may stand in a shard's log: routers' commands, and the shard's own. */
export type ShardCommand =
  | { readonly kind: "kv"; readonly command: KvCommand }
  /** Moves the shard's clock to its entry's stamp, nothing else (R24). */
  | { readonly kind: "floor" }
  /** Parts the shard's range; proposed by its node alone, on placement's order. */
  | { readonly kind: "split"; readonly split: SplitCommand }
  /** Likewise. */
  | { readonly kind: "merge"; readonly step: MergeStep };

/** The shard's own command `floor`. */
export function encodeFloor(): Uint8Array {
  return encode([floorTag]);
}

/** @throws ProtocolError, for an unknown operation too (R11) */
export function decodeShardCommand(bytes: Uint8Array): ShardCommand {
  const f = FieldReader.of(bytes, "command");
  const tag = f.integer(1);
  if (tag === floorTag) return { kind: "floor" };
  if (tag === splitTag) return { kind: "split", split: readSplit(f) };
  const read = operationReaders.get(tag);
  if (read === undefined) {
    const step = readMergeStep(tag, f);
    if (step !== undefined) return { kind: "merge", step };
    throw new ProtocolError(`command: unknown operation ${tag}`);
  }
  const attempt = readAttempt(f);
  const version = f.integer();
  const keyspace = f.integer(1);
  const key = f.bytes();
  if (keyspace > keyspaceMax) throw new ProtocolError("command: the keyspace is out of range");
  if (key.length === 0 || key.length > encodedKeyBytesMax)
    throw new ProtocolError(`command: a key of ${key.length} bytes`);
  return { kind: "kv", command: { attempt, version, keyspace, key, operation: read(f) } };
}

/** By operation tag. Tags are for ever; a new operation takes a new one. */
const operationReaders: ReadonlyMap<number, (f: FieldReader) => KvOperation> = new Map([
  [operationTags.put, readPut],
  [operationTags.delete, readDelete],
]);

function readAttempt(f: FieldReader): Attempt {
  const attempt = {
    session: f.text(),
    sequence: f.integer(),
    lowestUnanswered: f.integer(),
    deadlineMicros: f.integer(),
  };
  if (!isSession(attempt.session)) throw new ProtocolError("command: a session is 16 hex digits");
  if (attempt.sequence > sequenceMax) throw new ProtocolError("command: the sequence is out of range");
  if (attempt.lowestUnanswered > attempt.sequence)
    throw new ProtocolError("command: its own sequence counts as answered");
  return attempt;
}

function readPut(f: FieldReader): KvOperation {
  const value = f.bytes();
  const contentType = f.text();
  if (Buffer.byteLength(contentType) > contentTypeBytesMax)
    throw new ProtocolError("command: the content type is too long");
  return { kind: "put", value, contentType, ...optionalCondition(f) };
}

function readDelete(f: FieldReader): KvOperation {
  return { kind: "delete", ...optionalCondition(f) };
}

function optionalCondition(f: FieldReader): { condition?: Condition } {
  const condition = f.optional((r) => readCondition(r.any()));
  return condition === undefined ? {} : { condition };
}

/** Router → shard service: propose `command` (an encoded KvCommand) to `shard`. */
export interface WriteRequest {
  readonly shard: GroupId;
  readonly command: Uint8Array;
}

/**
 * What became of one write attempt. `applied`, `precondition_failed` are answers. `refused` ones were never
 * appended, `dropped` was appended and has been overwritten: never applied by this attempt. `deadline` was
 * refused at apply. `unknown`: leadership was lost before it was known.
 */
export type WriteResult =
  | { readonly kind: "put"; readonly revision: number }
  | { readonly kind: "deleted"; readonly deleted: boolean; readonly revision: number }
  /** `revision`: the present one, 0 when absent. */
  | { readonly kind: "precondition_failed"; readonly revision: number }
  | { readonly kind: "epoch_mismatch"; readonly current: readonly ShardDescriptor[] }
  | { readonly kind: "deadline" }
  | { readonly kind: "not_leader"; readonly leader?: NodeId }
  | { readonly kind: "no_replica" }
  | { readonly kind: "too_busy"; readonly detail: string }
  | { readonly kind: "storage_full" }
  /** This node's clock is off, or it is draining: find another leader. */
  | { readonly kind: "not_now"; readonly detail: string }
  | { readonly kind: "bad_command"; readonly detail: string }
  | { readonly kind: "dropped" }
  | { readonly kind: "unknown" };

/** Every answer carries the shard's clock (its last stamp) in µs; 0 where no replica answered (R23). */
export interface WriteResponse {
  readonly clockMicros: number;
  readonly result: WriteResult;
}

export function encodeWriteRequest(r: WriteRequest): Uint8Array {
  return encode([r.shard, r.command]);
}

export function decodeWriteRequest(bytes: Uint8Array): WriteRequest {
  const f = FieldReader.of(bytes, "write request");
  return { shard: f.integer(1), command: f.bytes() };
}

export function encodeWriteResponse({ clockMicros, result: r }: WriteResponse): Uint8Array {
  switch (r.kind) {
    case "put":
    case "precondition_failed":
      return encode([clockMicros, r.kind, r.revision]);
    case "deleted":
      return encode([clockMicros, r.kind, r.deleted, r.revision]);
    case "epoch_mismatch":
      return encode([clockMicros, r.kind, r.current.map(descriptorFields)]);
    case "not_leader":
      return encode([clockMicros, r.kind, r.leader ?? null]);
    case "too_busy":
    case "not_now":
    case "bad_command":
      return encode([clockMicros, r.kind, r.detail]);
    default:
      return encode([clockMicros, r.kind]);
  }
}

const writeKinds = [
  "put",
  "deleted",
  "precondition_failed",
  "epoch_mismatch",
  "deadline",
  "not_leader",
  "no_replica",
  "too_busy",
  "storage_full",
  "not_now",
  "bad_command",
  "dropped",
  "unknown",
] as const;

/** @throws ProtocolError */
export function decodeWriteResponse(bytes: Uint8Array): WriteResponse {
  const f = FieldReader.of(bytes, "write response");
  const clockMicros = f.integer();
  return { clockMicros, result: readWriteResult(f.choice(writeKinds), f) };
}

function readWriteResult(kind: (typeof writeKinds)[number], f: FieldReader): WriteResult {
  switch (kind) {
    case "put":
    case "precondition_failed":
      return { kind, revision: f.integer() };
    case "deleted":
      return { kind, deleted: f.boolean(), revision: f.integer() };
    case "epoch_mismatch":
      return { kind, current: f.list(readDescriptor) };
    case "not_leader":
      return { kind, ...readLeader(f) };
    case "too_busy":
    case "not_now":
    case "bad_command":
      return { kind, detail: f.text() };
    default:
      return { kind };
  }
}

function readLeader(f: FieldReader): { leader?: NodeId } {
  const leader = f.optional((r) => r.integer(1));
  return leader === undefined ? {} : { leader };
}

export type Consistency = "linearizable" | "leader" | "stale";

/** Router → shard service: read one key. */
export interface ReadRequest {
  readonly shard: GroupId;
  readonly version: number;
  readonly keyspace: number;
  /** Encoded key. */
  readonly key: Uint8Array;
  readonly consistency: Consistency;
  /** stale: refuse with `too_stale` beyond this; absent: any staleness. */
  readonly maxStalenessMs?: number;
  /** stale: refuse with `too_stale` while the shard has not reached this revision. */
  readonly minRevision?: number;
  /** Time left for it, in ms. */
  readonly timeoutMs: number;
}

export interface StoredValue {
  readonly revision: number;
  readonly contentType: string;
  /** Wall clock in ms since 1970; absent without a TTL. */
  readonly expiresMs?: number;
  readonly value: Uint8Array;
}

/** `stalenessMs` only on stale reads: an upper bound (R19). */
export type ReadResult =
  | { readonly kind: "found"; readonly stored: StoredValue; readonly stalenessMs?: number }
  | { readonly kind: "absent"; readonly stalenessMs?: number }
  | { readonly kind: "too_stale" }
  | { readonly kind: "epoch_mismatch"; readonly current: readonly ShardDescriptor[] }
  | { readonly kind: "not_leader"; readonly leader?: NodeId }
  | { readonly kind: "no_replica" }
  | { readonly kind: "too_busy"; readonly detail: string }
  | { readonly kind: "timeout" };

export interface ReadResponse {
  readonly clockMicros: number;
  readonly result: ReadResult;
}

export function encodeReadRequest(r: ReadRequest): Uint8Array {
  return encode([
    r.shard,
    r.version,
    r.keyspace,
    r.key,
    r.consistency,
    r.timeoutMs,
    r.maxStalenessMs ?? null,
    r.minRevision ?? null,
  ]);
}

/** @throws ProtocolError */
export function decodeReadRequest(bytes: Uint8Array): ReadRequest {
  const f = FieldReader.of(bytes, "read request");
  const head = {
    shard: f.integer(1),
    version: f.integer(),
    keyspace: f.integer(1),
    key: f.bytes(),
    consistency: f.choice(["linearizable", "leader", "stale"] as const),
    timeoutMs: f.number(),
  };
  const maxStalenessMs = f.optional((r) => r.number());
  const minRevision = f.optional((r) => r.integer());
  return {
    ...head,
    ...(maxStalenessMs === undefined ? {} : { maxStalenessMs }),
    ...(minRevision === undefined ? {} : { minRevision }),
  };
}

export function encodeReadResponse({ clockMicros, result: r }: ReadResponse): Uint8Array {
  switch (r.kind) {
    case "found": {
      const s = r.stored;
      return encode([
        clockMicros,
        r.kind,
        r.stalenessMs ?? null,
        s.revision,
        s.contentType,
        s.expiresMs ?? null,
        s.value,
      ]);
    }
    case "absent":
      return encode([clockMicros, r.kind, r.stalenessMs ?? null]);
    case "epoch_mismatch":
      return encode([clockMicros, r.kind, r.current.map(descriptorFields)]);
    case "not_leader":
      return encode([clockMicros, r.kind, r.leader ?? null]);
    case "too_busy":
      return encode([clockMicros, r.kind, r.detail]);
    default:
      return encode([clockMicros, r.kind]);
  }
}

const readKinds = [
  "found",
  "absent",
  "too_stale",
  "epoch_mismatch",
  "not_leader",
  "no_replica",
  "too_busy",
  "timeout",
] as const;

/** @throws ProtocolError */
export function decodeReadResponse(bytes: Uint8Array): ReadResponse {
  const f = FieldReader.of(bytes, "read response");
  const clockMicros = f.integer();
  return { clockMicros, result: readReadResult(f.choice(readKinds), f) };
}

function readReadResult(kind: (typeof readKinds)[number], f: FieldReader): ReadResult {
  switch (kind) {
    case "found":
      return { kind, ...readStaleness(f), stored: readStored(f) };
    case "absent":
      return { kind, ...readStaleness(f) };
    case "epoch_mismatch":
      return { kind, current: f.list(readDescriptor) };
    case "not_leader":
      return { kind, ...readLeader(f) };
    case "too_busy":
      return { kind, detail: f.text() };
    default:
      return { kind };
  }
}

function readStaleness(f: FieldReader): { stalenessMs?: number } {
  const stalenessMs = f.optional((r) => r.number());
  return stalenessMs === undefined ? {} : { stalenessMs };
}

function readStored(f: FieldReader): StoredValue {
  const revision = f.integer(1);
  const contentType = f.text();
  const expiresMs = f.optional((r) => r.integer());
  const value = f.bytes();
  return { revision, contentType, value, ...(expiresMs === undefined ? {} : { expiresMs }) };
}
