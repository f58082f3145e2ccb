import type { Command } from "../commands.ts";
import { isCaughtUp, isJoint, type Model, nameOf } from "../model.ts";
import type { OperationRow } from "../state.ts";
import type { Checker } from "./decision.ts";
import { leaderMoves, type Seat } from "./leaders.ts";

/** Leader transfers under way at once: each is a short pause of one shard. */
const transfersMax = 8;
/** A shard whose leader was moved is left alone for this long, or longer after a failure. */
const restMs = 5_000;
const restAfterFailureMs = 60_000;

/** Spreads leaders over the nodes that may lead. Balanced, it plans nothing. */
export const balanceLeaders: Checker = (model) => {
  if (!model.settings.rebalance_enabled || !model.warm) return [];
  const running = [...model.state.operations.values()].filter(
    (row) => row.kind === "transfer_leader" && row.state === "running",
  ).length;
  // One at a time would do, but a whole plan is only right while nothing of an earlier one is under way.
  if (running > 0) return [];
  const resting = restingGroups(model);
  const nodes = [...model.nodes.values()].filter((node) => node.settled).map((node) => node.row.id);
  const seats: Seat[] = [];
  for (const shard of model.shards.values()) {
    if (shard.leader === undefined) continue;
    const leader = shard.leader.nodeId;
    const still = shard.operation !== undefined || resting.has(shard.id) || shard.birth !== undefined;
    const candidates = shard.descriptor.replicas
      .filter((r) => r.role === "voter" && r.nodeId !== leader && shard.present.has(r.replicaId))
      .filter((r) => isCaughtUp(shard, r.replicaId))
      .map((r) => r.nodeId);
    seats.push({ group: shard.id, leader, candidates: still || isJoint(shard.descriptor) ? [] : candidates });
  }
  const moves = leaderMoves(nodes, seats, transfersMax);
  return moves.flatMap(({ group, from, to, most, fewest }): Command[] => {
    const target = model.shards.get(group)?.descriptor.replicas.find((r) => r.nodeId === to);
    if (target === undefined) return [];
    const reason = `leaders are uneven: some node has ${most}, another ${fewest}; from ${nameOf(model, from)} to ${nameOf(model, to)}`;
    const steps = [{ kind: "transfer", to: target.replicaId } as const];
    const background = true;
    return [{ name: "operation.begin", kind: "transfer_leader", group, reason, steps, background }];
  });
};

function restingGroups(model: Model): Set<number> {
  const resting = new Set<number>();
  for (const row of model.state.operations.values()) {
    if (row.kind === "transfer_leader" && isResting(row, model.wallMicros)) resting.add(row.group);
  }
  return resting;
}

function isResting(row: OperationRow, wallMicros: number): boolean {
  if (row.finishedMicros === undefined) return false;
  const agoMs = (wallMicros - row.finishedMicros) / 1000;
  return agoMs < (row.state === "failed" ? restAfterFailureMs : restMs);
}
