import { type AdminResponse, type Code, changeSettings, encodeKey, inRange, keyBytesMax } from "#proto";
import type { Command, CommandResult } from "../commands.ts";
import type { EventRing } from "../events.ts";
import { type GroupModel, type Health, type Model, nameOf } from "../model.ts";
import { findKeyspace, operationStates } from "../state.ts";
import {
  clusterView,
  eventView,
  keyspaceView,
  locateView,
  nodeView,
  operationView,
  shardView,
} from "./views.ts";

const pageDefault = 1_000;
const pageMax = 10_000;

/** A request that cannot be answered as asked. */
class Refusal extends Error {
  readonly code: Code;

  constructor(code: Code, detail: string) {
    super(detail);
    this.code = code;
  }
}

/** Reads the parameters of one request; whatever is left over or of another type is refused by name. */
class Parameters {
  readonly #left: Map<string, unknown>;

  constructor(parameters: Readonly<Record<string, unknown>>) {
    this.#left = new Map(Object.entries(parameters).filter(([, value]) => value != null));
  }

  take(name: string): unknown {
    const value = this.#left.get(name);
    this.#left.delete(name);
    return value;
  }

  text(name: string): string | undefined {
    const value = this.take(name);
    if (value === undefined || typeof value === "string") return value;
    throw new Refusal("bad_parameter", `${name}: must be text`);
  }

  /** A whole number of at least `min`, as such or in decimal. */
  whole(name: string, min: number, max: number = Number.MAX_SAFE_INTEGER): number | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    const number = typeof value === "string" && /^\d{1,16}$/.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isSafeInteger(number) && number >= min && number <= max) {
      return number;
    }
    throw new Refusal("bad_parameter", `${name}: must be a whole number of at least ${min}`);
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name);
    const found = choices.find((choice) => choice === value);
    if (value === undefined || found !== undefined) return found;
    throw new Refusal("bad_parameter", `${name}: must be one of ${choices.join(", ")}`);
  }

  end(): void {
    for (const name of this.#left.keys()) throw new Refusal("bad_parameter", `${name}: unknown parameter`);
  }
}

export interface AdminContext {
  readonly model: Model;
  readonly events: EventRing;
  /** Writes a command; undefined: not known whether it will be applied. */
  readonly command: (command: Command, done: (result: CommandResult | undefined) => void) => void;
}

type Answer = (response: AdminResponse) => void;
type Handler = (context: AdminContext, parameters: Parameters, answer: Answer) => void;

/** Answers one admin operation from a model that holds everything decided before it was asked. */
export function answerAdmin(
  context: AdminContext,
  operation: string,
  parameters: Readonly<Record<string, unknown>>,
  answer: Answer,
): void {
  const handler = handlers.get(operation);
  if (handler === undefined) {
    return answer({ kind: "error", code: "no_such_route", detail: `no admin operation ${operation}` });
  }
  try {
    handler(context, new Parameters(parameters), answer);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    answer({ kind: "error", code: error.code, detail: error.message });
  }
}

/** Handlers that only look. */
function viewing(view: (context: AdminContext, parameters: Parameters) => unknown): Handler {
  return (context, parameters, answer) => {
    answer({ kind: "ok", status: 200, body: view(context, parameters) });
  };
}

function list(items: readonly unknown[], cursor: string | null = null): unknown {
  return { items, cursor };
}

const handlers: ReadonlyMap<string, Handler> = new Map(
  Object.entries({
    "cluster.get": viewing(({ model }, parameters) => {
      parameters.end();
      return clusterView(model);
    }),
    "nodes.list": viewing(({ model }, parameters) => {
      parameters.end();
      return list([...model.nodes.values()].map((node) => nodeView(model, node)));
    }),
    "nodes.get": viewing(({ model }, parameters) => {
      const name = parameters.text("name");
      parameters.end();
      const node = [...model.nodes.values()].find(({ row }) => row.name === name);
      if (node === undefined) throw new Refusal("not_found", `there is no node ${name}`);
      return nodeView(model, node);
    }),
    "shards.list": viewing(listShards),
    "shards.get": viewing(({ model }, parameters) => shardView(model, takeShard(model, parameters))),
    locate: viewing(({ model }, parameters) => locateView(model, locate(model, parameters))),
    "keyspaces.list": viewing(({ model }, parameters) => {
      parameters.end();
      return list([...model.state.keyspaces.values()].map((keyspace) => keyspaceView(model, keyspace)));
    }),
    "config.get": viewing(({ model }, parameters) => {
      parameters.end();
      return model.settings;
    }),
    "config.set": setConfig,
    "operations.list": viewing(({ model }, parameters) => {
      const state = parameters.choice("state", operationStates);
      parameters.end();
      const rows = [...model.state.operations.values()].filter(
        (row) => state === undefined || row.state === state,
      );
      return list(rows.map((row) => operationView(model, row)));
    }),
    "operations.get": viewing(({ model }, parameters) => {
      const id = parameters.whole("id", 1);
      parameters.end();
      const row = id === undefined ? undefined : model.state.operations.get(id);
      if (row === undefined) throw new Refusal("not_found", `there is no operation ${id}`);
      return operationView(model, row);
    }),
    "events.list": viewing(({ model, events }, parameters) => {
      const since = parameters.whole("since", 0) ?? 0;
      const shard = parameters.whole("shard", 1);
      parameters.end();
      const found = events.after(since).filter((event) => shard === undefined || event.shard === shard);
      return list(found.map((event) => eventView(model, event)));
    }),
  } satisfies Record<string, Handler>),
);

const healths: readonly Health[] = ["healthy", "under_replicated", "leaderless"];

function listShards({ model }: AdminContext, parameters: Parameters): unknown {
  const node = parameters.text("node");
  const keyspace = parameters.text("keyspace");
  const state = parameters.choice("state", healths);
  const limit = parameters.whole("limit", 1, pageMax) ?? pageDefault;
  const cursor = parameters.whole("cursor", 0) ?? 0;
  parameters.end();
  if (node !== undefined && ![...model.nodes.values()].some(({ row }) => row.name === node)) {
    throw new Refusal("not_found", `there is no node ${node}`);
  }
  if (keyspace !== undefined && findKeyspace(model.state, keyspace) === undefined) {
    throw new Refusal("no_such_keyspace", `there is no keyspace ${keyspace}`);
  }
  const found = [...model.shards.values()]
    .filter((shard) => shard.id > cursor)
    .filter((shard) => state === undefined || shard.health === state)
    .filter((shard) => keyspace === undefined || shard.keyspace?.name === keyspace)
    .filter(
      (shard) =>
        node === undefined || shard.descriptor.replicas.some((r) => nameOf(model, r.nodeId) === node),
    )
    .sort((a, b) => a.id - b.id);
  const page = found.slice(0, limit);
  const next = found.length > limit ? String(page.at(-1)?.id) : null;
  return list(
    page.map((shard) => shardView(model, shard)),
    next,
  );
}

function takeShard(model: Model, parameters: Parameters): GroupModel {
  const id = parameters.whole("id", 0);
  parameters.end();
  const shard = id === undefined ? undefined : model.shards.get(id);
  if (shard === undefined) throw new Refusal("not_found", `there is no shard ${id}`);
  return shard;
}

function locate(model: Model, parameters: Parameters): GroupModel {
  const key = parameters.take("key");
  const name = parameters.text("keyspace") ?? "default";
  parameters.end();
  const bytes = typeof key === "string" ? Buffer.from(key, "utf8") : key;
  if (!(bytes instanceof Uint8Array)) throw new Refusal("bad_parameter", "key: missing");
  if (bytes.length === 0) throw new Refusal("key_empty", "the key is empty");
  if (bytes.length > keyBytesMax) throw new Refusal("key_too_large", `the key has ${bytes.length} bytes`);
  const keyspace = findKeyspace(model.state, name);
  if (keyspace === undefined) throw new Refusal("no_such_keyspace", `there is no keyspace ${name}`);
  const encoded = encodeKey(bytes, keyspace.partition, keyspace.slots);
  for (const shard of model.shards.values()) {
    const { descriptor } = shard;
    if (descriptor.keyspace !== keyspace.id) continue;
    if (inRange(encoded, descriptor.start, descriptor.end)) return shard;
  }
  throw new Refusal("internal", "no shard covers the key");
}

function setConfig({ model, command }: AdminContext, parameters: Parameters, answer: Answer): void {
  const changes = parameters.take("changes");
  parameters.end();
  if (typeof changes !== "object" || changes === null || Array.isArray(changes)) {
    throw new Refusal("bad_request", "the settings to change must be an object");
  }
  const wanted = changes as Readonly<Record<string, unknown>>;
  const settings = changeSettings(model.settings, wanted);
  if (typeof settings === "string") throw new Refusal("bad_parameter", settings);
  command({ name: "config.set", changes: wanted }, (result) => {
    if (result === undefined) {
      return answer({ kind: "error", code: "unavailable", detail: "placement's leader changed on the way" });
    }
    if (!result.ok) return answer({ kind: "error", code: "bad_parameter", detail: result.detail });
    answer({ kind: "ok", status: 200, body: settings });
  });
}
