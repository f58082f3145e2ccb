import type { NodeId } from "#proto";
import {
  type GroupModel,
  isExpectedBack,
  isJoint,
  isLedSoon,
  isVoter,
  type Model,
  type NodeModel,
} from "../model.ts";
import type { OperationRow } from "../state.ts";
import { waitedFor } from "./births.ts";
import { Draft, type DraftNode, type DraftShard } from "./draft.ts";

/** A shard of which a move failed is left alone by background work for this long, ms. */
const restAfterFailureMs = 60_000;

/**
 * The cluster as plans see it. `background`: shards that are busy, or of which a move failed within the last
 * `restMs`, stay where they are.
 */
export function draftOf(
  model: Model,
  options: { readonly background: boolean; readonly restMs?: number },
): Draft {
  const restMs = options.restMs ?? restAfterFailureMs;
  const resting = options.background ? failedLately(model, restMs) : new Set<number>();
  const dead = deadNodes(model);
  const nodes = [...model.nodes.values()].map(draftNode);
  const shards = [...model.shards.values()].map((shard): DraftShard => {
    const free = options.background
      ? isRepairable(shard, dead) && !resting.has(shard.id)
      : isLedSoon(model, shard);
    return {
      id: shard.id,
      on: nodesAfter(shard),
      ...(shard.leader === undefined ? {} : { leader: shard.leader.nodeId }),
      bytes: bytesOf(shard),
      movable: free,
    };
  });
  return new Draft(nodes, shards);
}

function draftNode({ row, heard, usable, settled }: NodeModel): DraftNode {
  const total = heard?.diskTotalBytes ?? 0;
  // R36: below that a node refuses writes.
  const reserve = Math.min(total / 20, 2 * 1024 ** 3);
  return {
    id: row.id,
    name: row.name,
    weight: row.weight,
    labels: row.labels,
    takes: usable,
    leads: settled,
    freeBytes: (heard?.diskFreeBytes ?? 0) - reserve,
  };
}

export function bytesOf(shard: GroupModel): number {
  return Math.round(shard.lead?.bytes ?? 0);
}

/** Nothing is under way there, and something could be. */
export function isIdle(group: GroupModel): boolean {
  return group.birth === undefined && isQuiet(group);
}

/** As `isIdle`, or all it waits for are first replicas that never come: the nodes they belong on are dead. */
export function isRepairable(group: GroupModel, dead: ReadonlySet<NodeId>): boolean {
  return isQuiet(group) && waitedFor(group).every(({ nodeId }) => dead.has(nodeId));
}

function isQuiet({ descriptor, operation, leader }: GroupModel): boolean {
  if (operation !== undefined || leader === undefined) return false;
  return !isJoint(descriptor) && descriptor.replicas.every((r) => r.role === "voter");
}

/** Nodes of the voters once the running operation is done. */
function nodesAfter({ descriptor, operation }: GroupModel): NodeId[] {
  const { from, to } = operation?.move ?? {};
  const now = descriptor.replicas
    .filter((r) => isVoter(r) && r.role !== "outgoing")
    .map((r) => r.nodeId)
    .filter((node) => node !== from);
  return to === undefined || now.includes(to) ? now : [...now, to];
}

function failedLately(model: Model, restMs: number): Set<number> {
  const groups = new Set<number>();
  for (const row of model.state.operations.values()) {
    // Only moves count: a leader that could not go to a dying node is no reason to let its replica wait.
    if (row.state === "failed" && row.move !== undefined && agoMs(model, row) < restMs) groups.add(row.group);
  }
  return groups;
}

function agoMs(model: Model, { finishedMicros }: OperationRow): number {
  return finishedMicros === undefined ? 0 : (model.wallMicros - finishedMicros) / 1000;
}

/** Nodes whose replicas are lost for good, as far as the time that passed can tell; deleted ones too. */
export function deadNodes(model: Model): Set<NodeId> {
  const dead = new Set<NodeId>();
  for (const { descriptor } of model.shards.values()) {
    for (const { nodeId } of descriptor.replicas) {
      const node = model.nodes.get(nodeId);
      if (node === undefined || (node.liveness === "down" && !isExpectedBack(model, node))) dead.add(nodeId);
    }
  }
  return dead;
}
