import { decode, encode } from "@msgpack/msgpack";
import { ConfChangeError } from "./conf-change.ts";
import type { ConfChange, MemberChange } from "./types.ts";

const transitions = ["auto", "implicit", "explicit"] as const;
const kinds = ["voter", "learner", "remove"] as const;
const none = new Uint8Array(0);

/**
 * The data of a `conf` entry: MessagePack of [transition, [kind, id, kind, id …], context]. The change that
 * leaves a joint configuration, without context, is empty data: it costs nothing and is never refused for
 * its size.
 */
export function encodeConfChange(change: ConfChange): Uint8Array {
  if (change.transition === "auto" && change.changes.length === 0 && change.context.length === 0) return none;
  const members: number[] = [];
  for (const { kind, id } of change.changes) members.push(kinds.indexOf(kind), id);
  return encode([transitions.indexOf(change.transition), members, change.context]);
}

/**
 * The change in a `conf` entry's data.
 * @throws ConfChangeError that says what is wrong with the data; nothing else
 */
export function decodeConfChange(data: Uint8Array): ConfChange {
  if (data.length === 0) return { transition: "auto", changes: [], context: none };
  const fields = decodeFields(data);
  const [code, members, context] = fields;
  const transition = typeof code === "number" ? transitions[code] : undefined;
  if (transition === undefined) throw new ConfChangeError(`unknown transition ${String(code)}`);
  if (!Array.isArray(members) || members.length % 2 !== 0) throw new ConfChangeError("members: not pairs");
  if (!(context instanceof Uint8Array)) throw new ConfChangeError("context: not bytes");
  const changes: MemberChange[] = [];
  for (let at = 0; at < members.length; at += 2) changes.push(member(members[at], members[at + 1]));
  return { transition, changes, context };
}

function decodeFields(data: Uint8Array): readonly unknown[] {
  let value: unknown;
  try {
    value = decode(data);
  } catch (cause) {
    throw new ConfChangeError("not MessagePack", { cause });
  }
  if (!Array.isArray(value) || value.length !== 3) throw new ConfChangeError("not an array of three fields");
  return value;
}

function member(code: unknown, id: unknown): MemberChange {
  const kind = typeof code === "number" ? kinds[code] : undefined;
  if (kind === undefined) throw new ConfChangeError(`unknown member change ${String(code)}`);
  if (typeof id !== "number" || !Number.isSafeInteger(id) || id <= 0) {
    throw new ConfChangeError(`no replica id: ${String(id)}`);
  }
  return { kind, id };
}
