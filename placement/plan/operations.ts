import type { NodeId, Order, ReplicaId } from "#proto";
import { slowestStreamShare } from "#raft/host";
import type { Command } from "../commands.ts";
import { type GroupModel, isCaughtUp, isVoter, type Model, nameOf } from "../model.ts";
import type { OperationRow, Step } from "../state.ts";
import type { Checker } from "./decision.ts";
import { MoveRoom } from "./limits.ts";
import { isSealed, isThawed, mergeOf, mergeOrder } from "./merge-steps.ts";

/** How long a step may take before its operation fails, ms. Waiting for one's turn has no end. */
const stepTimeoutMs: Readonly<Record<Step["kind"], number>> = {
  turn: Number.POSITIVE_INFINITY,
  transfer: 10_000,
  handOver: 30_000,
  conf: 30_000,
  caughtUp: 600_000,
  gone: 60_000,
  suggest: 15_000,
  split: 30_000,
  // Nobody can write meanwhile.
  freeze: 5_000,
  merge: 5_000,
  // There is no other way on.
  seal: Number.POSITIVE_INFINITY,
  thaw: Number.POSITIVE_INFINITY,
};

export function groupOf(model: Model, operation: OperationRow): GroupModel | undefined {
  return operation.group === 0 ? model.placement : model.shards.get(operation.group);
}

/** Moves every running operation on: to its next step, to its end, or to failure when it takes too long. */
export const checkOperations: Checker = (model) => {
  const commands: Command[] = [];
  const room = new MoveRoom(model);
  for (const operation of model.state.operations.values()) {
    if (operation.state !== "running") continue;
    const command = progress(model, operation, room);
    if (command !== undefined) commands.push(command);
  }
  return commands;
};

function progress(model: Model, operation: OperationRow, room: MoveRoom): Command | undefined {
  const { id, at, steps, move } = operation;
  const group = groupOf(model, operation);
  if (group === undefined) {
    return { name: "operation.end", id, state: "cancelled", detail: "the shard is no more" };
  }
  const step = steps[at];
  const next: Command = { name: "operation.advance", id, at: at + 1 };
  if (step?.kind === "turn") {
    if (move !== undefined && !(model.warm && room.has(move))) return undefined;
    if (move !== undefined) room.take(move);
    return next;
  }
  if (step === undefined || isDone(model, group, step)) return next;
  if (step.kind === "suggest") {
    const hint = hintFor(group, step);
    if (hint !== undefined && hint.boundaries.length > 0) {
      return { name: "operation.split", id, boundaries: hint.boundaries };
    }
    if (hint !== undefined) return { name: "operation.end", id, state: "failed", detail: hint.blocked };
  }
  if (step.kind === "freeze") {
    const ready = mergeOf(model, operation, group);
    if (ready !== undefined) return ready;
  }
  const failed = whyFailed(model, group, operation, step);
  if (failed === undefined) return undefined;
  // What was ordered to be destroyed is an orphan now, operation or none: it is ordered until it is gone.
  if (step.kind === "gone") return next;
  return { name: "operation.end", id, state: "failed", detail: failed };
}

/** The leader's suggestion, where it is for the range the shard has now. */
function hintFor(group: GroupModel, step: Extract<Step, { kind: "suggest" }>) {
  const hint = group.lead?.splitHint;
  const fits =
    hint?.by === step.by && hint.ways === step.ways && hint.version === group.descriptor.epoch.version;
  return fits ? hint : undefined;
}

/** Judged by what is, not by what was sent: a step done by anyone, twice or before is done. */
export function isDone(model: Model, group: GroupModel, step: Step): boolean {
  switch (step.kind) {
    case "transfer":
      return group.leader?.replicaId === step.to;
    case "handOver": {
      const others = group.descriptor.replicas.filter(isVoter).some((r) => !step.from.includes(r.replicaId));
      if (!others) return true;
      return group.leader !== undefined && !step.from.includes(group.leader.replicaId);
    }
    case "caughtUp":
      return step.replicas.every((replica) => isCaughtUp(group, replica));
    case "conf":
      return isConfDone(group, step);
    case "gone":
      return step.replicas.every(({ nodeId, replicaId }) => {
        const node = model.nodes.get(nodeId);
        if (node?.liveness !== "up") return true;
        return node.heard !== undefined && node.heard.replicas.get(group.id)?.replicaId !== replicaId;
      });
    case "split":
      return group.descriptor.epoch.version > step.expected.version;
    case "seal":
      return isSealed(model, group, step);
    case "thaw":
      return isThawed(group, step);
    default:
      return false;
  }
}

function isConfDone(group: GroupModel, step: Extract<Step, { kind: "conf" }>): boolean {
  const roles = new Map(group.descriptor.replicas.map((r) => [r.replicaId, r.role]));
  if (step.changes.length === 0) {
    return [...roles.values()].every((role) => role === "voter" || role === "learner");
  }
  return step.changes.every(({ kind, id }) => {
    const role = roles.get(id);
    if (kind === "remove") return role === undefined || role === "outgoing";
    if (kind === "learner") return role !== undefined;
    return role === "voter" || role === "incoming";
  });
}

function whyFailed(model: Model, group: GroupModel, operation: OperationRow, step: Step): string | undefined {
  const ageMs = (model.wallMicros - operation.stepStartedMicros) / 1000;
  const lost = whyLost(model, group, step, ageMs);
  if (lost !== undefined) return lost;
  const limitMs = stepTimeoutMs[step.kind] + (step.kind === "caughtUp" ? patienceMs(model, operation) : 0);
  const limit = `${Math.round(limitMs / 1000)} s`;
  return ageMs > limitMs ? `step ${operation.at + 1} was not done within ${limit}` : undefined;
}

/** Streams that give way to users are waited for; what they have is shared with others. */
const patience = 4 / slowestStreamShare;

function patienceMs(model: Model, operation: OperationRow): number {
  return (patience * 1_000 * (operation.move?.bytes ?? 0)) / model.settings.move_bytes_per_s;
}

/** What can no longer come true, without waiting for the time to pass. */
function whyLost(model: Model, group: GroupModel, step: Step, ageMs: number): string | undefined {
  const replicaOf = (id: ReplicaId) => group.descriptor.replicas.find((r) => r.replicaId === id);
  if (step.kind === "transfer") {
    const target = replicaOf(step.to);
    if (target === undefined || target.role === "learner") return "the target is no voter any more";
    const liveness = model.nodes.get(target.nodeId)?.liveness ?? "down";
    // One that is silent for a moment, on a machine that was busy, is waited for.
    const isLost = liveness === "down" || ageMs >= model.settings.suspect_after_ms;
    if (model.warm && liveness !== "up" && isLost) return `${nameOf(model, target.nodeId)} is not up`;
  }
  if (step.kind === "caughtUp") {
    for (const id of step.replicas) {
      const replica = replicaOf(id);
      if (replica === undefined) return "the new replica is no member any more";
      const liveness = model.nodes.get(replica.nodeId)?.liveness ?? "down";
      if (liveness === "down") return `${nameOf(model, replica.nodeId)} is down`;
    }
  }
  if (step.kind === "split") {
    const { epoch } = group.descriptor;
    const { version, confVersion } = step.expected;
    // Epochs only grow: at another membership the order is void for good (R6).
    if (epoch.version === version && epoch.confVersion !== confVersion) {
      return "the shard's membership changed before it was split";
    }
  }
  return undefined;
}

/** The order that a running operation's step is, and for whom: its group's leader. */
export function orderOf(
  model: Model,
  operation: OperationRow,
): { readonly node: NodeId; readonly order: Order } | undefined {
  const group = groupOf(model, operation);
  const step = operation.steps[operation.at];
  if (group?.leader === undefined || step === undefined || isDone(model, group, step)) return undefined;
  const node = group.leader.nodeId;
  switch (step.kind) {
    case "transfer":
      // To one that is behind or silent, the shard would stand still until it is not.
      if (!isCaughtUp(group, step.to) || !isUp(model, group, step.to)) return undefined;
      return { node, order: { kind: "transfer", group: group.id, to: step.to } };
    case "handOver": {
      const to = heir(model, group, new Set(step.from));
      return to === undefined ? undefined : { node, order: { kind: "transfer", group: group.id, to } };
    }
    case "conf": {
      // The membership held now: were it old, or the change already made, it is void at apply (R6).
      const { confVersion } = group.descriptor.epoch;
      const context = { expectedConfVersion: confVersion, replicas: step.added };
      const change = { changes: step.changes, joint: step.joint, context };
      return { node, order: { kind: "conf", group: group.id, change } };
    }
    case "suggest": {
      const { by, ways } = step;
      const { partition, slots } = group.keyspace ?? { partition: "range", slots: 0 };
      return { node, order: { kind: "suggest", group: group.id, by, ways, partition, slots } };
    }
    case "split": {
      const { expected, boundaries, children } = step;
      const partition = group.keyspace?.partition ?? "range";
      const split = { expected, partition, boundaries, children };
      return { node, order: { kind: "split", group: group.id, split } };
    }
    case "freeze":
    case "merge":
    case "seal":
    case "thaw":
      return mergeOrder(model, operation, group, step);
    default:
      return undefined;
  }
}

function isUp(model: Model, group: GroupModel, id: ReplicaId): boolean {
  const replica = group.descriptor.replicas.find((r) => r.replicaId === id);
  return replica !== undefined && model.nodes.get(replica.nodeId)?.liveness === "up";
}

/** Who should lead when those may not: a caught-up voter, on the settled node with the fewest leaders. */
function heir(model: Model, group: GroupModel, without: ReadonlySet<ReplicaId>): ReplicaId | undefined {
  const leaders = (node: NodeId): number =>
    [...model.shards.values()].filter((shard) => shard.leader?.nodeId === node).length;
  const fit = group.descriptor.replicas
    .filter((r) => (r.role === "voter" || r.role === "incoming") && !without.has(r.replicaId))
    .filter((r) => isCaughtUp(group, r.replicaId) && model.nodes.get(r.nodeId)?.liveness === "up")
    .map((r) => ({ id: r.replicaId, settled: model.nodes.get(r.nodeId)?.settled, leads: leaders(r.nodeId) }))
    .sort((a, b) => Number(b.settled) - Number(a.settled) || a.leads - b.leads || a.id - b.id);
  return fit[0]?.id;
}
