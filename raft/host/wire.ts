import { decode, encode, FieldReader, type GroupId, ProtocolError } from "#proto";
import type { Entry, Message, MessageKind } from "#raft/core";
import { termMax } from "./rows.ts";

/**
 * R20, beside the core's own messages. On a heartbeat `ask`: fall asleep at this commit index. On its response
 * `differs`: the follower is not where the leader believes and stays awake.
 */
export type SleepMark = "none" | "ask" | "differs";

/** A Raft message with its group. */
export interface GroupMessage {
  readonly group: GroupId;
  readonly message: Message;
  readonly sleep: SleepMark;
}

const kinds: readonly MessageKind[] = [
  "append",
  "appendResponse",
  "heartbeat",
  "heartbeatResponse",
  "vote",
  "voteResponse",
  "preVote",
  "preVoteResponse",
  "snapshot",
  "propose",
  "timeoutNow",
  "transferLeader",
  "readIndex",
  "readIndexResponse",
  "forgetLeader",
];
const tagOfKind: ReadonlyMap<MessageKind, number> = new Map(kinds.map((kind, i) => [kind, i]));

/**
 * What hosts send each other here. A snapshot comes only with its data, as a stream (R4); a proposal is never
 * forwarded (R24).
 */
const sentKinds: ReadonlySet<MessageKind> = new Set(
  kinds.filter((kind) => kind !== "snapshot" && kind !== "propose" && kind !== "forgetLeader"),
);

const flags = { reject: 1, transfer: 2, ask: 4, differs: 8 } as const;

/** A tuple; entries take only term, kind and data, since their indexes follow the previous one's. */
export function messageFields(group: GroupId, m: Message, sleep: SleepMark): unknown[] {
  const bits =
    (m.reject === true ? flags.reject : 0) |
    (m.transfer === true ? flags.transfer : 0) |
    (sleep === "none" ? 0 : flags[sleep]);
  const fields: unknown[] = [
    group,
    tagOfKind.get(m.kind),
    m.from,
    m.to,
    m.term,
    bits,
    m.logTerm ?? null,
    m.index ?? null,
    m.commit ?? null,
    m.rejectHint ?? null,
    m.context ?? null,
    m.sentAtMs ?? null,
  ];
  if (m.entries !== undefined) fields.push(entryFields(m.entries));
  return fields;
}

/** Flat: first index, then term, kind, data of each. */
function entryFields(entries: readonly Entry[]): unknown[] {
  const fields: unknown[] = [entries[0]?.index ?? 0];
  for (const e of entries) fields.push(e.term, e.kind === "conf" ? 1 : 0, e.data);
  return fields;
}

function readEntries(value: unknown): Entry[] {
  if (!Array.isArray(value) || value.length % 3 !== 1) throw new ProtocolError("entries: bad shape");
  const f = new FieldReader(value, "entries");
  let index = f.integer();
  const entries: Entry[] = [];
  for (let left = (value.length - 1) / 3; left > 0; left--) {
    const term = readTerm(f, 1);
    const kind = f.choice([0, 1]) === 1 ? "conf" : "normal";
    // A copy: the view would pin the whole socket chunk for as long as the log keeps the entry.
    entries.push({ index, term, kind, data: f.bytes().slice() });
    index += 1;
  }
  return entries;
}

export function encodeMessages(list: readonly unknown[][]): Uint8Array {
  return encode(list);
}

/** @throws ProtocolError */
export function decodeMessages(body: Uint8Array): GroupMessage[] {
  const list = decode(body);
  if (!Array.isArray(list)) throw new ProtocolError("raft messages: not an array");
  return list.map(readMessage);
}

function readTerm(f: FieldReader, min: number): number {
  const term = f.integer(min);
  if (term > termMax) throw new ProtocolError("raft message: term too large");
  return term;
}

function readMessage(value: unknown): GroupMessage {
  const f = new FieldReader(value, "raft message");
  const group = f.integer();
  const kind = kinds[f.integer()];
  if (kind === undefined || !sentKinds.has(kind)) throw new ProtocolError("raft message: unknown kind");
  const from = f.integer(1);
  const to = f.integer(1);
  const term = readTerm(f, 0);
  const bits = f.integer();
  const message: { -readonly [K in keyof Message]: Message[K] } = { kind, from, to, term };
  const integer = (r: FieldReader): number => r.integer();
  setIf(message, "logTerm", f.optional(integer));
  setIf(message, "index", f.optional(integer));
  setIf(message, "commit", f.optional(integer));
  setIf(message, "rejectHint", f.optional(integer));
  setIf(
    message,
    "context",
    f.optional((r) => r.text()),
  );
  setIf(
    message,
    "sentAtMs",
    f.optional((r) => r.number()),
  );
  setIf(
    message,
    "entries",
    f.optional((r) => readEntries(r.any())),
  );
  if ((bits & flags.reject) !== 0) message.reject = true;
  if ((bits & flags.transfer) !== 0) message.transfer = true;
  return { group, message, sleep: sleepOf(bits) };
}

function setIf<T, K extends keyof T>(target: T, key: K, value: T[K] | undefined): void {
  if (value !== undefined) target[key] = value;
}

function sleepOf(bits: number): SleepMark {
  if ((bits & flags.ask) !== 0) return "ask";
  return (bits & flags.differs) !== 0 ? "differs" : "none";
}
