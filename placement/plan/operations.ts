import type { NodeId, Order } from "#proto";
import type { Command } from "../commands.ts";
import { type GroupModel, isCaughtUp, type Model, nameOf } from "../model.ts";
import type { OperationRow, Step } from "../state.ts";
import type { Checker } from "./decision.ts";

/** How long a step may take before its operation fails, ms. */
const stepTimeoutMs: Readonly<Record<Step["kind"], number>> = {
  transfer: 10_000,
  conf: 30_000,
  caughtUp: 600_000,
};

export function groupOf(model: Model, operation: OperationRow): GroupModel | undefined {
  return operation.group === 0 ? model.placement : model.shards.get(operation.group);
}

/** Moves every running operation on: to its next step, to its end, or to failure when it takes too long. */
export const checkOperations: Checker = (model) => {
  const commands: Command[] = [];
  for (const operation of model.state.operations.values()) {
    if (operation.state !== "running") continue;
    const command = progress(model, operation);
    if (command !== undefined) commands.push(command);
  }
  return commands;
};

function progress(model: Model, operation: OperationRow): Command | undefined {
  const { id, at, steps } = operation;
  const group = groupOf(model, operation);
  if (group === undefined) {
    return { name: "operation.end", id, state: "cancelled", detail: "the shard is no more" };
  }
  const step = steps[at];
  if (step === undefined || isDone(group, step)) return { name: "operation.advance", id, at: at + 1 };
  const failed = whyFailed(model, group, operation, step);
  return failed === undefined ? undefined : { name: "operation.end", id, state: "failed", detail: failed };
}

/** Judged by what is, not by what was sent: a step done by anyone, twice or before is done. */
export function isDone(group: GroupModel, step: Step): boolean {
  switch (step.kind) {
    case "transfer":
      return group.leader?.replicaId === step.to;
    case "caughtUp":
      return step.replicas.every((replica) => isCaughtUp(group, replica));
    default:
      return isConfDone(group, step);
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
  if (step.kind === "transfer") {
    const target = group.descriptor.replicas.find((r) => r.replicaId === step.to);
    if (target === undefined || target.role === "learner") return "the target is no voter any more";
    if (model.warm && model.nodes.get(target.nodeId)?.liveness !== "up") {
      return `${nameOf(model, target.nodeId)} is not up`;
    }
  }
  const ageMs = (model.wallMicros - operation.stepStartedMicros) / 1000;
  const limitMs = stepTimeoutMs[step.kind];
  return ageMs > limitMs ? `step ${operation.at + 1} was not done within ${limitMs / 1000} s` : undefined;
}

/** The order that a running operation's step is, and for whom: its group's leader. */
export function orderOf(
  model: Model,
  operation: OperationRow,
): { readonly node: NodeId; readonly order: Order } | undefined {
  const group = groupOf(model, operation);
  const step = operation.steps[operation.at];
  if (group?.leader === undefined || step === undefined || isDone(group, step)) return undefined;
  const node = group.leader.nodeId;
  switch (step.kind) {
    case "transfer":
      return { node, order: { kind: "transfer", group: group.id, to: step.to } };
    case "conf": {
      // The membership held now: were it old, or the change already made, it is void at apply (R6).
      const { confVersion } = group.descriptor.epoch;
      const context = { expectedConfVersion: confVersion, replicas: step.added };
      const change = { changes: step.changes, joint: step.joint, context };
      return { node, order: { kind: "conf", group: group.id, change } };
    }
    default:
      return undefined;
  }
}
