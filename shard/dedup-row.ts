import { escapeKey, keyspaceRow, metaTags, ProtocolError, unescapeKey } from "#proto";
import type { Effect } from "./operations.ts";

/** What became of one attempt, until nobody can ask for it any more (R23). */
export interface DedupRow {
  readonly session: string;
  readonly sequence: number;
  readonly deadlineMicros: number;
  readonly effect: Effect;
  /** Its row in `meta`, named by the data key first, then by session and sequence. */
  readonly key: Uint8Array;
}

const sessionBytes = 8;
const sequenceBytes = 6;
const headBytes = 5;

/** `tag | keyspace | escaped data key | session | sequence`: sorts by the data key it protects. */
export function dedupKey(keyspace: number, key: Uint8Array, session: string, sequence: number): Uint8Array {
  const escaped = escapeKey(key);
  const rest = Buffer.allocUnsafe(escaped.length + sessionBytes + sequenceBytes);
  rest.set(escaped, 0);
  rest.write(session, escaped.length, "hex");
  rest.writeUIntBE(sequence, escaped.length + sessionBytes, sequenceBytes);
  return keyspaceRow(metaTags.shardDedup, keyspace, rest);
}

/** Kinds are for ever. A kind decides what follows: these four are `u8 kind | f64 deadline | f64 revision`. */
const kinds = { put: 1, deleted: 2, nothing_deleted: 3, precondition_failed: 4 } as const;
const rowBytes = 17;

export function encodeDedupValue(effect: Effect, deadlineMicros: number): Uint8Array {
  const value = Buffer.allocUnsafe(rowBytes);
  value[0] = kinds[effect.kind === "deleted" && !effect.deleted ? "nothing_deleted" : effect.kind];
  value.writeDoubleBE(deadlineMicros, 1);
  value.writeDoubleBE(effect.revision, 9);
  return value;
}

/** @throws ProtocolError */
export function decodeDedupRow(key: Uint8Array, value: Uint8Array): DedupRow {
  const name = Buffer.from(key.buffer, key.byteOffset + headBytes, key.length - headBytes);
  const at = unescapeKey(name)?.length;
  if (at === undefined || name.length !== at + sessionBytes + sequenceBytes || value.length < rowBytes)
    throw new ProtocolError("dedup row: too short");
  const fields = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return {
    session: name.toString("hex", at, at + sessionBytes),
    sequence: name.readUIntBE(at + sessionBytes, sequenceBytes),
    deadlineMicros: fields.readDoubleBE(1),
    effect: effectOf(fields[0], fields.readDoubleBE(9)),
    key,
  };
}

function effectOf(kind: number | undefined, revision: number): Effect {
  switch (kind) {
    case kinds.put:
      return { kind: "put", revision };
    case kinds.deleted:
    case kinds.nothing_deleted:
      return { kind: "deleted", deleted: kind === kinds.deleted, revision };
    case kinds.precondition_failed:
      return { kind: "precondition_failed", revision };
    default:
      throw new ProtocolError(`dedup row: unknown kind ${kind}`);
  }
}
