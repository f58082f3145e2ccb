import { encodeKey, inRange } from "#proto";
import { type GroupModel, type Health, type Model, nameOf } from "../model.ts";
import { type AdminContext, demandKeyspace, list } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";
import { shardView } from "./views.ts";

const pageDefault = 1_000;
const pageMax = 10_000;

const healths: readonly Health[] = ["healthy", "under_replicated", "leaderless"];

export function listShards({ model }: AdminContext, parameters: Parameters): unknown {
  const node = parameters.text("node");
  const keyspace = parameters.text("keyspace");
  const state = parameters.choice("state", healths);
  const limit = parameters.whole("limit", 1, pageMax) ?? pageDefault;
  const cursor = parameters.whole("cursor", 0) ?? 0;
  parameters.end();
  if (node !== undefined && ![...model.nodes.values()].some(({ row }) => row.name === node)) {
    throw new Refusal("not_found", `there is no node ${node}`);
  }
  if (keyspace !== undefined) demandKeyspace(model, keyspace);
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

/** The shard of a user's key. */
export function findShard(model: Model, parameters: Parameters): GroupModel {
  const key = parameters.key("key");
  const name = parameters.text("keyspace") ?? "default";
  parameters.end();
  if (key === undefined) throw new Refusal("bad_parameter", "key: missing");
  const keyspace = demandKeyspace(model, name);
  const encoded = encodeKey(key, keyspace.partition, keyspace.slots);
  for (const shard of model.shards.values()) {
    const { descriptor } = shard;
    if (descriptor.keyspace !== keyspace.id) continue;
    if (inRange(encoded, descriptor.start, descriptor.end)) return shard;
  }
  throw new Refusal("internal", "no shard covers the key");
}
