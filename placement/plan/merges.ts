import { equalBytes, type GroupId, type NodeId } from "#proto";
import type { Command } from "../commands.ts";
import { type GroupModel, isVoter, type Model } from "../model.ts";
import type { Step } from "../state.ts";
import { bytesOf, isIdle } from "./board.ts";
import type { Checker } from "./decision.ts";
import { stepsTo } from "./membership.ts";

/** A shard that was split or merged is left as it is for this long, ms: what made it so may come again. */
const restMs = 600_000;
/** Two that are merged by themselves are together below this part of what would split them again. */
const calm = 0.5;

/** Side by side in one keyspace. */
export function areNeighbours({ descriptor: a }: GroupModel, { descriptor: b }: GroupModel): boolean {
  const follows = (end: Uint8Array, start: Uint8Array): boolean => end.length > 0 && equalBytes(end, start);
  return a.id !== b.id && a.keyspace === b.keyspace && (follows(a.end, b.start) || follows(b.end, a.start));
}

/**
 * The operation by which `target` takes over `source`: the source's replicas go where the target's are, then it
 * stands still.
 */
export function beginMerge(source: GroupModel, target: GroupModel, reason: string): Command {
  const nodes = new Set<NodeId>(target.descriptor.replicas.filter(isVoter).map((r) => r.nodeId));
  const held = new Map(source.descriptor.replicas.map((r) => [r.nodeId, r.replicaId]));
  const moves = stepsTo(source, nodes);
  const arriving = [...nodes].find((node) => !held.has(node));
  const leaving = [...held.keys()].find((node) => !nodes.has(node));
  const move =
    arriving === undefined && leaving === undefined
      ? {}
      : {
          move: {
            ...(leaving === undefined ? {} : { from: leaving }),
            ...(arriving === undefined ? {} : { to: arriving }),
            bytes: bytesOf(source),
          },
        };
  const wait: Step[] = moves.length === 0 ? [] : [{ kind: "turn" }];
  return {
    name: "operation.begin",
    kind: "merge",
    group: source.id,
    target: target.id,
    reason,
    // Which waits until all replicas of both are level, but not for long: a dead node's are to be replaced.
    steps: [...wait, ...moves, { kind: "freeze" }],
    ...move,
  };
}

/**
 * Neighbours that are small and idle become one, where the operator has allowed it: one merge at a time, and
 * never to fewer shards of a keyspace than there are nodes.
 */
export const checkMerges: Checker = (model) => {
  const { merge_enabled, merge_bytes: bytesMax, split_bytes, split_qps } = model.settings;
  if (!merge_enabled || isMerging(model)) return [];
  const resting = restingShards(model);
  const isFree = (shard: GroupModel): boolean =>
    isIdle(shard) && shard.lead !== undefined && shard.health === "healthy" && !resting.has(shard.id);
  for (const [keyspace, shards] of byKeyspace(model)) {
    if (shards.length <= Math.max(1, usableNodes(model))) continue;
    for (const [i, first] of shards.entries()) {
      const second = shards[i + 1];
      if (second === undefined || !isFree(first) || !isFree(second) || !areNeighbours(first, second))
        continue;
      const bytes = bytesOf(first) + bytesOf(second);
      const rate = rateOf(first) + rateOf(second);
      if (bytes >= Math.min(bytesMax, calm * split_bytes) || rate >= calm * split_qps) continue;
      const [source, target] = bytesOf(first) < bytesOf(second) ? [first, second] : [second, first];
      const together = `together ${bytes} bytes and ${Math.round(rate)} requests/s`;
      const reason = `shards ${source.id} and ${target.id} of keyspace ${keyspace} are small: ${together}`;
      return [beginMerge(source, target, reason)];
    }
  }
  return [];
};

function isMerging(model: Model): boolean {
  return [...model.state.operations.values()].some((row) => row.kind === "merge" && row.state === "running");
}

function restingShards(model: Model): Set<GroupId> {
  const resting = new Set<GroupId>();
  for (const row of model.state.operations.values()) {
    if (row.kind !== "split" && row.kind !== "merge") continue;
    if ((model.wallMicros - (row.finishedMicros ?? model.wallMicros)) / 1000 >= restMs) continue;
    resting.add(row.group);
    if (row.target !== undefined) resting.add(row.target);
    for (const step of row.steps) if (step.kind === "split") for (const c of step.children) resting.add(c.id);
  }
  return resting;
}

/** In key order. */
function byKeyspace(model: Model): Map<string, GroupModel[]> {
  const keyspaces = new Map<string, GroupModel[]>();
  for (const shard of model.shards.values()) {
    if (shard.keyspace === undefined) continue;
    const shards = keyspaces.get(shard.keyspace.name) ?? [];
    keyspaces.set(shard.keyspace.name, shards);
    shards.push(shard);
  }
  for (const shards of keyspaces.values())
    shards.sort((a, b) => Buffer.compare(a.descriptor.start, b.descriptor.start));
  return keyspaces;
}

function rateOf({ lead }: GroupModel): number {
  return (lead?.writesPerSecond ?? 0) + (lead?.readsPerSecond ?? 0);
}

function usableNodes(model: Model): number {
  return [...model.nodes.values()].filter((node) => node.usable).length;
}
