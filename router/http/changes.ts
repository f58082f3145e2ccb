import {
  choiceField,
  durationField,
  type Fields,
  idField,
  keyField,
  labelsField,
  nameField,
  required,
  weightField,
  wholeField,
} from "./json-body.ts";
import type { ResourceName } from "./routes.ts";

/** One way to change the cluster: what its request may hold, and what placement calls it. */
export interface Change {
  readonly operation: string;
  /** Of the path: `name` or `id`. */
  readonly names: "node" | "keyspace" | "shard" | "operation" | "cluster";
  readonly query: readonly ("wait" | "dry_run" | "force" | "shard")[];
  /** Absent: no body. `settings`: an object of settings, as `changes`. */
  readonly body?: Fields | "settings";
}

type ChangeName = `${"POST" | "PATCH" | "DELETE"} ${ResourceName}`;

const shardId = wholeField(1, Number.MAX_SAFE_INTEGER);
const waiting = ["wait"] as const;

/** By method and resource. */
export const changes: Readonly<Partial<Record<ChangeName, Change>>> = {
  "PATCH node": {
    operation: "nodes.patch",
    names: "node",
    query: waiting,
    body: { labels: labelsField, weight: weightField },
  },
  "DELETE node": { operation: "nodes.delete", names: "node", query: ["force"] },
  "POST nodeDrain": { operation: "nodes.drain", names: "node", query: waiting, body: { for: durationField } },
  "POST nodeUndrain": { operation: "nodes.undrain", names: "node", query: waiting, body: {} },
  "POST nodeDecommission": {
    operation: "nodes.decommission",
    names: "node",
    query: ["dry_run", "wait"],
    body: { plan: idField },
  },
  "POST nodeRecommission": { operation: "nodes.recommission", names: "node", query: waiting, body: {} },
  "POST shardSplit": {
    operation: "shards.split",
    names: "shard",
    query: waiting,
    body: { at: keyField, ways: wholeField(2, 64) },
  },
  "POST shardMerge": {
    operation: "shards.merge",
    names: "shard",
    query: waiting,
    body: { with: required(shardId) },
  },
  "POST shardTransferLeader": {
    operation: "shards.transferLeader",
    names: "shard",
    query: waiting,
    body: { to: required(nameField) },
  },
  "POST shardMove": {
    operation: "shards.move",
    names: "shard",
    query: waiting,
    body: { from: required(nameField), to: required(nameField) },
  },
  "POST shardScatter": { operation: "shards.scatter", names: "shard", query: waiting, body: {} },
  "POST rebalance": {
    operation: "rebalance",
    names: "cluster",
    query: ["dry_run", "wait"],
    body: { plan: idField },
  },
  "DELETE operation": { operation: "operations.cancel", names: "operation", query: [] },
  "PATCH config": { operation: "config.set", names: "cluster", query: [], body: "settings" },
  "POST keyspaces": {
    operation: "keyspaces.create",
    names: "cluster",
    query: [],
    body: {
      name: required(nameField),
      partition: choiceField(["hash", "range"]),
      slots: wholeField(1, 65_536),
      shards: wholeField(1, 65_536),
      replicas: wholeField(1, 5),
    },
  },
  "DELETE keyspace": { operation: "keyspaces.delete", names: "keyspace", query: waiting },
  "POST snapshot": { operation: "snapshot", names: "cluster", query: ["shard"], body: {} },
};

export function changeOf(method: string, name: ResourceName): Change | undefined {
  return changes[`${method} ${name}` as ChangeName];
}
