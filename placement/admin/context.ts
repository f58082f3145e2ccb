import type { AdminResponse, GroupId } from "#proto";
import type { Command, Written } from "../commands.ts";
import type { EventRing } from "../events.ts";
import type { GroupModel, Model, NodeModel } from "../model.ts";
import type { PlanBook } from "../plan/book.ts";
import { findKeyspace } from "../state.ts";
import { type Parameters, Refusal } from "./parameters.ts";

export interface AdminContext {
  readonly model: Model;
  readonly events: EventRing;
  /** Plans that were shown and may be asked for. */
  readonly plans: PlanBook;
  readonly command: (command: Command, done: (result: Written) => void) => void;
  /** Compacts the logs of these shards' replicas; `done` with how many did. */
  readonly compact: (shards: readonly GroupId[], done: (count: number) => void) => void;
  /** Of the request: its idempotency key and what it asked for. */
  readonly once?: { readonly key: string; readonly fingerprint: string };
}

export type Answer = (response: AdminResponse) => void;
export type Handler = (context: AdminContext, parameters: Parameters, answer: Answer) => void;

/** Handlers that only look. */
export function viewing(view: (context: AdminContext, parameters: Parameters) => unknown): Handler {
  return (context, parameters, answer) => {
    answer({ kind: "ok", status: 200, body: view(context, parameters) });
  };
}

export function list(items: readonly unknown[], cursor: string | null = null): unknown {
  return { items, cursor };
}

export interface Change {
  readonly command: Command;
  readonly status: number;
  /** What is known before: with an operation's work its id is added. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly isOperation: boolean;
}

/** Writes what was asked for, once for its idempotency key, and answers. */
export function carryOut(context: AdminContext, change: Change, answer: Answer): void {
  const { command, status, body, isOperation } = change;
  const { once } = context;
  // The record says by itself whether the operation's id belongs into the body.
  const stored = isOperation ? { ...body, operation: null } : body;
  const written: Command =
    once === undefined ? command : { name: "once", ...once, status, body: stored, command };
  context.command(written, (result) => {
    if (typeof result === "string") return answer(unwritten(result));
    if (!result.ok) {
      const code = result.mismatch === true ? "idempotency_conflict" : "conflict";
      return answer({ kind: "error", code, detail: result.detail });
    }
    const first = result.replayed === true && once !== undefined ? replayOf(context, once.key) : undefined;
    answer(first ?? { kind: "ok", status, body: bodyOf(stored, result.value) });
  });
}

/** The answer that was given under this key, where there is one. */
export function replayOf({ model }: AdminContext, key: string): AdminResponse | undefined {
  const row = model.state.once.get(key);
  if (row === undefined) return undefined;
  return { kind: "ok", status: row.status, body: bodyOf(row.body, row.value), replayed: true };
}

/** Who asks goes on to the next leader, or hears that nobody knows. */
export function unwritten(why: "never" | "unknown"): AdminResponse {
  if (why === "never") return { kind: "not_leader" };
  return {
    kind: "error",
    code: "timeout",
    detail: "placement's leader changed while this was being written",
  };
}

/** The body of an answer as it was kept, with the operation's id in its place. */
function bodyOf(body: unknown, value: number): unknown {
  const isPending =
    typeof body === "object" && body !== null && "operation" in body && body.operation === null;
  return isPending ? { ...body, operation: String(value) } : body;
}

/** @throws Refusal not_found */
export function takeNode(model: Model, parameters: Parameters, name = "name"): NodeModel {
  const wanted = parameters.need(name);
  const node = [...model.nodes.values()].find(({ row }) => row.name === wanted);
  if (node === undefined) throw new Refusal("not_found", `there is no node ${wanted}`);
  return node;
}

/** @throws Refusal not_found */
export function takeShard(model: Model, parameters: Parameters): GroupModel {
  const id = parameters.whole("id", 0);
  const shard = id === undefined ? undefined : model.shards.get(id);
  if (shard === undefined) throw new Refusal("not_found", `there is no shard ${id}`);
  return shard;
}

/** @throws Refusal no_such_keyspace */
export function demandKeyspace(model: Model, name: string): NonNullable<ReturnType<typeof findKeyspace>> {
  const keyspace = findKeyspace(model.state, name);
  if (keyspace === undefined) throw new Refusal("no_such_keyspace", `there is no keyspace ${name}`);
  return keyspace;
}
