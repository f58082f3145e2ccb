import { equalBytes, type MergeStep, type NodeId, type Order, type ShardDescriptor } from "#proto";
import type { Command } from "../commands.ts";
import { type GroupModel, isCaughtUp, type Model } from "../model.ts";
import type { OperationRow, Step } from "../state.ts";
import type { Checker } from "./decision.ts";

/** How a merge goes on: see the shard room's account of it, and docs/adr. @module */

type StepOf<K extends Step["kind"]> = Extract<Step, { kind: K }>;

/** Its leader reports that the source stands still everywhere: the next step may be written down. */
export function mergeOf(model: Model, operation: OperationRow, source: GroupModel): Command | undefined {
  const { frozen, descriptor } = source.lead ?? {};
  const target = targetOf(model, operation);
  if (frozen?.operation !== operation.id || !frozen.everywhere || descriptor === undefined) return undefined;
  // The replicas of the target must all be there for good, or one could come into being behind the merge, by a
  // split that its node applies late, and need what has been destroyed by then.
  if (target?.lead?.rooted !== true || !isAsReported(target)) return undefined;
  const { everywhere: _, ...rest } = frozen;
  return { name: "operation.merge", id: operation.id, source: descriptor, frozen: rest };
}

function targetOf(model: Model, { target }: OperationRow): GroupModel | undefined {
  return target === undefined ? undefined : model.shards.get(target);
}

/** What would be expected of it is what it is. */
function isAsReported({ descriptor, lead }: GroupModel): boolean {
  const epoch = lead?.descriptor.epoch;
  return epoch?.version === descriptor.epoch.version && epoch.confVersion === descriptor.epoch.confVersion;
}

/** No merge that the operation ordered can be applied any more: had one been, the operation would be over. */
export function isSealed(model: Model, { operation }: GroupModel, step: StepOf<"seal">): boolean {
  const target = operation === undefined ? undefined : targetOf(model, operation);
  return target !== undefined && target.descriptor.epoch.version > step.version;
}

export function isThawed({ lead, operation }: GroupModel, { version }: StepOf<"thaw">): boolean {
  if (lead === undefined || operation === undefined) return false;
  return lead.frozen?.operation !== operation.id && lead.descriptor.epoch.version > version;
}

/** The order that a step of a merge is, to the leader of the shard in whose log it is to stand. */
export function mergeOrder(
  model: Model,
  operation: OperationRow,
  source: GroupModel,
  step: StepOf<"freeze" | "merge" | "seal" | "thaw">,
): { readonly node: NodeId; readonly order: Order } | undefined {
  const target = targetOf(model, operation);
  const group = step.kind === "merge" || step.kind === "seal" ? target : source;
  if (group?.leader === undefined) return undefined;
  if (step.kind === "freeze" && (target === undefined || !mayFreeze(source, target))) return undefined;
  const content = contentOf(operation, source, step);
  if (content === undefined) return undefined;
  return { node: group.leader.nodeId, order: { kind: "merge", group: group.id, step: content } };
}

function contentOf(
  { id: operation, target }: OperationRow,
  source: GroupModel,
  step: StepOf<"freeze" | "merge" | "seal" | "thaw">,
): MergeStep | undefined {
  switch (step.kind) {
    case "freeze":
      if (target === undefined) return undefined;
      // The epoch held now: were it old, the freeze is void at apply (R6).
      return { kind: "freeze", operation, target, expected: source.descriptor.epoch };
    case "merge": {
      const { expected, source: ended, frozen } = step;
      const { index, term, clockMicros } = frozen;
      return { kind: "merge", operation, expected, source: ended, index, term, clockMicros };
    }
    default:
      return { kind: step.kind, operation, version: step.version };
  }
}

/** From the freeze on nobody can write, so everybody has to be there. */
function mayFreeze(source: GroupModel, target: GroupModel): boolean {
  const ready = [source, target].every(
    (group) =>
      group.leader !== undefined &&
      group.descriptor.replicas.every(
        (r) => r.role === "voter" && group.present.has(r.replicaId) && isCaughtUp(group, r.replicaId),
      ),
  );
  return ready && onSameNodes(source.descriptor, target.descriptor);
}

export function onSameNodes(a: ShardDescriptor, b: ShardDescriptor): boolean {
  const nodes = new Set(a.replicas.map((r) => r.nodeId));
  return nodes.size === b.replicas.length && b.replicas.every((r) => nodes.has(r.nodeId));
}

/** The target's leader reports a range with the source's in it: the merge was applied. */
export const recordMerges: Checker = (model) => {
  const commands: Command[] = [];
  for (const operation of model.state.operations.values()) {
    if (operation.kind !== "merge" || operation.state !== "running") continue;
    const step = operation.steps.find((s): s is StepOf<"merge"> => s.kind === "merge");
    const target = targetOf(model, operation);
    const now = target?.lead?.descriptor;
    if (step === undefined || target === undefined || now === undefined) continue;
    if (now.epoch.version <= target.descriptor.epoch.version) continue;
    const { source } = step;
    const { start, end } = target.descriptor;
    const before = equalBytes(now.start, source.start) && equalBytes(now.end, end);
    const behind = equalBytes(now.start, start) && equalBytes(now.end, source.end);
    if (before || behind) commands.push({ name: "shards.merge", id: operation.id });
  }
  return commands;
};
