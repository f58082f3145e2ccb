import type { NodeId } from "#proto";
import type { Command } from "../commands.ts";
import { type GroupModel, isVoter } from "../model.ts";
import type { MoveInfo, OperationKind, Step } from "../state.ts";
import { bytesOf } from "./board.ts";
import { stepsTo } from "./membership.ts";

/** The voters' nodes with `from` replaced by `to`. */
function targetOf({ descriptor }: GroupModel, { from, to }: Omit<MoveInfo, "bytes">): Set<NodeId> {
  const target = new Set(descriptor.replicas.filter(isVoter).map((r) => r.nodeId));
  if (from !== undefined) target.delete(from);
  if (to !== undefined) target.add(to);
  return target;
}

/**
 * The operation that moves a replica: a learner more, caught up, one joint change, the old one destroyed.
 * @param turn - it waits by itself until the nodes may have another move
 */
export function beginMove(
  group: GroupModel,
  move: Omit<MoveInfo, "bytes">,
  parts: {
    readonly kind: OperationKind;
    readonly reason: string;
    readonly turn?: boolean;
    readonly job?: number;
    readonly task?: number;
  },
): Extract<Command, { name: "operation.begin" }> {
  const { kind, reason, turn, job, task } = parts;
  const wait: Step[] = turn === true ? [{ kind: "turn" }] : [];
  return {
    name: "operation.begin",
    kind,
    group: group.id,
    reason,
    steps: [...wait, ...stepsTo(group, targetOf(group, move))],
    move: { ...move, bytes: bytesOf(group) },
    ...(job === undefined ? {} : { job }),
    ...(task === undefined ? {} : { task }),
  };
}

export function beginTransfer(
  group: GroupModel,
  to: NodeId,
  parts: {
    readonly reason: string;
    readonly job?: number;
    readonly task?: number;
    readonly background?: true;
  },
): Command | undefined {
  const target = group.descriptor.replicas.find((r) => r.nodeId === to && r.role === "voter");
  if (target === undefined) return undefined;
  const steps = [{ kind: "transfer", to: target.replicaId } as const];
  return { name: "operation.begin", kind: "transfer_leader", group: group.id, steps, ...parts };
}
