import { defaultSlots, evenBoundaries, type Partition } from "#proto";
import type { Command } from "../commands.ts";
import { type Model, nameOf } from "../model.ts";
import { findKeyspace } from "../state.ts";
import type { Checker } from "./decision.ts";
import { type Site, spreadShards } from "./spread.ts";

export const defaultKeyspace = "default";

/** Values of a key's first two bytes. */
const prefixes = 65_536;

/** Nodes that are started together join within this time; shards should begin on all of them. */
const joinTogetherMs = 500;
/** A node that has joined is waited for that long. */
const firstReportMs = 3_000;

function isStillComing(model: Model): boolean {
  return [...model.nodes.values()].some(({ row, heard }) => {
    const sinceJoinMs = (model.wallMicros - row.joinedMicros) / 1000;
    return sinceJoinMs < (heard === undefined ? firstReportMs : joinTogetherMs);
  });
}

/** R31: the default keyspace is made when as many nodes are there as a shard has replicas. */
export const checkDefaultKeyspace: Checker = (model) => {
  const { cluster } = model.state;
  if (cluster === undefined || findKeyspace(model.state, defaultKeyspace) !== undefined) return [];
  if (isStillComing(model)) return [];
  const { partition, shards } = cluster.wish;
  const plan = planKeyspace(model, {
    keyspace: defaultKeyspace,
    partition,
    shards,
    slots: partition === "hash" ? defaultSlots(shards) : 0,
    replicas: model.settings.replicas,
  });
  return typeof plan === "string" ? [] : [plan];
};

/**
 * The command that makes a keyspace, its replicas on the usable nodes with the fewest.
 * @returns text that says why it cannot be made now
 */
export function planKeyspace(
  model: Model,
  wish: {
    readonly keyspace: string;
    readonly partition: Partition;
    readonly shards: number;
    readonly slots: number;
    readonly replicas: number;
    readonly ownReplicas?: true;
  },
): Command | string {
  const sites = usableSites(model);
  const placements = spreadShards(sites, wish.shards, wish.replicas);
  if (placements === undefined) {
    return `${sites.length} nodes are up, a shard of ${wish.keyspace} needs ${wish.replicas}`;
  }
  const { keyspace, partition, slots, replicas } = wish;
  // Nobody knows a range keyspace's keys before they come: even over their first two bytes, then splits.
  const bounds = evenBoundaries(partition === "hash" ? slots : prefixes, wish.shards);
  const names = sites.map((site) => nameOf(model, site.id)).join(", ");
  const reason = `keyspace ${keyspace}: ${wish.shards} shards of ${replicas} replicas over ${names}`;
  const own = wish.ownReplicas === true ? ({ ownReplicas: true } as const) : {};
  const command = { keyspace, partition, slots, replicas, bounds, placements, reason, ...own };
  return { name: "keyspace.create", ...command };
}

function usableSites(model: Model): Site[] {
  const counts = new Map<number, number>();
  for (const { descriptor } of model.shards.values()) {
    for (const { nodeId } of descriptor.replicas) counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
  }
  return [...model.nodes.values()]
    .filter((node) => node.usable)
    .map(({ row }) => ({ id: row.id, labels: row.labels, replicas: counts.get(row.id) ?? 0 }));
}

/** A shard is born when every replica of its first membership that still belongs to it has been seen. */
export const checkBirths: Checker = (model) => {
  const ids: number[] = [];
  for (const shard of model.shards.values()) {
    if (shard.birth !== undefined && shard.leader !== undefined && waitedFor(shard).length === 0) {
      ids.push(shard.id);
    }
  }
  return ids.length === 0 ? [] : [{ name: "shards.born", ids }];
};

type Shard = Model["shards"] extends ReadonlyMap<number, infer S> ? S : never;

/** First replicas that were not seen yet. */
export function waitedFor(shard: Shard): readonly { replicaId: number; nodeId: number }[] {
  const { birth, descriptor, present } = shard;
  if (birth === undefined) return [];
  const still = new Set(descriptor.replicas.map((r) => r.replicaId));
  return birth.descriptor.replicas.filter((r) => still.has(r.replicaId) && !present.has(r.replicaId));
}
