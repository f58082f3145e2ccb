import type { NodeId, ReplicaDescriptor } from "#proto";
import type { Command } from "../commands.ts";
import {
  type GroupModel,
  isExpectedBack,
  isJoint,
  isStaying,
  isVoter,
  type Model,
  nameOf,
} from "../model.ts";
import type { MemberStep, Step } from "../state.ts";
import type { Checker } from "./decision.ts";

const leave: Step = { kind: "conf", changes: [], joint: false, added: [] };

/** A group that nobody works on must not stay in a joint configuration: it needs two quorums. */
export const checkJoint: Checker = (model) => {
  const commands: Command[] = [];
  for (const group of [model.placement, ...model.shards.values()]) {
    if (group.operation !== undefined || group.leader === undefined || !isJoint(group.descriptor)) continue;
    commands.push({
      name: "operation.begin",
      kind: "leave_joint",
      group: group.id,
      reason: "a membership change was begun and nobody is finishing it",
      steps: [leave],
    });
  }
  return commands;
};

/**
 * The steps from the present membership to voters on exactly the nodes of `target`: new ones as learners,
 * then, caught up, all changes in one joint step, so that the group is never of an even size (R10).
 */
export function stepsTo(group: GroupModel, target: ReadonlySet<NodeId>): Step[] {
  const { replicas } = group.descriptor;
  const held = new Map(replicas.map((r) => [r.nodeId, r]));
  const isNew = (node: NodeId): boolean => held.get(node) === undefined;
  const id = (node: NodeId): number => held.get(node)?.replicaId ?? -node;
  const promoted = [...target].filter((node) => !isVoterAt(held.get(node)));
  const removed = replicas.filter((r) => !target.has(r.nodeId));
  // Raft takes learners one change at a time outside a joint configuration.
  const learners = promoted.filter(isNew).map((node): Step => {
    const added = { replicaId: -node, nodeId: node };
    return { kind: "conf", changes: [{ kind: "learner", id: -node }], joint: false, added: [added] };
  });
  const changes: MemberStep[] = [
    ...promoted.map((node) => ({ kind: "voter" as const, id: id(node) })),
    ...removed.map((r) => ({ kind: "remove" as const, id: r.replicaId })),
  ];
  if (changes.length === 0) return [];
  const wait: Step[] = promoted.length === 0 ? [] : [{ kind: "caughtUp", replicas: promoted.map(id) }];
  const leaving = removed.filter(isVoter).map((r) => r.replicaId);
  // R10: a leader does not remove itself.
  const handOver: Step[] = leaving.length === 0 ? [] : [{ kind: "handOver", from: leaving }];
  return [
    ...learners,
    ...wait,
    ...handOver,
    { kind: "conf", changes, joint: true, added: [] },
    leave,
    ...goneSteps(removed),
  ];
}

function goneSteps(removed: readonly ReplicaDescriptor[]): Step[] {
  const replicas = removed.map(({ replicaId, nodeId }) => ({ replicaId, nodeId }));
  return replicas.length === 0 ? [] : [{ kind: "gone", replicas }];
}

/**
 * A learner that nobody is about to promote was left by a move that failed or was cancelled: it is removed,
 * so that every such end is a whole state.
 */
export const checkLearners: Checker = (model) => {
  const commands: Command[] = [];
  for (const group of [model.placement, ...model.shards.values()]) {
    if (group.operation !== undefined || group.leader === undefined || isJoint(group.descriptor)) continue;
    const learners = group.descriptor.replicas.filter((r) => r.role === "learner");
    if (learners.length === 0) continue;
    const names = learners.map((r) => nameOf(model, r.nodeId)).join(", ");
    commands.push({
      name: "operation.begin",
      kind: "remove_learner",
      group: group.id,
      reason: `the replica on ${names} was left by a move that did not end well`,
      steps: [
        ...learners.map((r): Step => {
          const changes = [{ kind: "remove" as const, id: r.replicaId }];
          return { kind: "conf", changes, joint: false, added: [] };
        }),
        ...goneSteps(learners),
      ],
    });
  }
  return commands;
};

function isVoterAt(replica: ReplicaDescriptor | undefined): boolean {
  return replica !== undefined && isVoter(replica);
}

/**
 * Placement's own voters: 1, 3 or 5, as many as `placement_replicas` and the nodes allow. Members on nodes
 * that are down or leaving are replaced where another node is there; nothing is removed before that.
 */
export const checkPlacementVoters: Checker = (model) => {
  const { placement } = model;
  if (placement.operation !== undefined || placement.leader === undefined || isJoint(placement.descriptor)) {
    return [];
  }
  const voters = placement.descriptor.replicas.filter(isVoter).map((r) => r.nodeId);
  const target = chooseVoters(model, placement, voters);
  if (target === undefined) return [];
  const steps = stepsTo(placement, target);
  if (steps.length === 0) return [];
  const names = [...target].map((node) => nameOf(model, node)).join(", ");
  const reason = `placement has ${voters.length} voters; with these nodes there it should have ${target.size}: ${names}`;
  return [{ name: "operation.begin", kind: "placement_voters", group: 0, reason, steps }];
};

/** Could placement's voters do without this node? */
export function placementFits(model: Model, without: NodeId): boolean {
  const { placement } = model;
  const voters = placement.descriptor.replicas.filter(isVoter).map((r) => r.nodeId);
  return chooseVoters(model, placement, voters, without) !== undefined;
}

function chooseVoters(
  model: Model,
  placement: GroupModel,
  voters: readonly NodeId[],
  without?: NodeId,
): Set<NodeId> | undefined {
  const wanted = model.settings.placement_replicas;
  const leader = placement.leader?.nodeId;
  const stays = (node: NodeId): boolean => {
    if (node === without) return false;
    const held = model.nodes.get(node);
    // A draining node keeps its replicas, and while it is expected back its being down is no reason either.
    if (held?.row.membership === "draining" && isExpectedBack(model, held)) return true;
    return held !== undefined && held.liveness !== "down" && isStaying(held.row.membership);
  };
  const kept = voters.filter(stays).sort((a, b) => Number(b === leader) - Number(a === leader) || a - b);
  const fresh = [...model.nodes.values()]
    .filter((node) => node.usable && !voters.includes(node.row.id) && node.row.id !== without)
    .map((node) => node.row.id);
  const there = kept.length + fresh.length;
  const possible = Math.min(wanted, there % 2 === 0 ? there - 1 : there);
  // Fewer voters only because fewer are wanted: while nodes are missing, their seats wait for them.
  const size = Math.max(possible, Math.min(voters.length, wanted));
  return there < size || size < 1 ? undefined : new Set([...kept, ...fresh].slice(0, size));
}
