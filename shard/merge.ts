import {
  compareBytes,
  encodeMergeStep,
  equalBytes,
  type Frozen,
  type MergeStep,
  type ShardDescriptor,
} from "#proto";
import type { ShardOrder, Undecided } from "./order-door.ts";

type StepOf<K extends MergeStep["kind"]> = Extract<MergeStep, { kind: K }>;

/** What became of a merge's step: `done` it has changed the shard as said, `void` it has changed nothing. */
export type MergeResult =
  | { readonly kind: "done"; readonly shard: ShardDescriptor }
  | { readonly kind: "void"; readonly reason: string };

/** What a merge's step answers. */
export interface MergeApplied {
  readonly clockMicros: number;
  readonly result?: undefined;
  readonly merge: MergeResult;
}

/**
 * Why this step of a merge changes nothing here; undefined: it does. Decided at apply, of the step, the
 * descriptor and whether the shard is frozen, so alike on every replica (R6).
 */
export function mergeProblem(
  step: MergeStep,
  shard: ShardDescriptor,
  frozen: Frozen | undefined,
): string | undefined {
  switch (step.kind) {
    case "freeze":
      if (frozen !== undefined) return `it is frozen already, by operation ${frozen.operation}`;
      return epochProblem(step, shard) ?? membersProblem(shard);
    case "merge":
      if (frozen !== undefined) return `it is frozen itself, by operation ${frozen.operation}`;
      return epochProblem(step, shard) ?? membersProblem(shard) ?? neighbourProblem(step.source, shard);
    case "seal":
      return shard.epoch.version > step.version ? `it is at version ${shard.epoch.version}` : undefined;
    default:
      if (frozen?.operation === step.operation) return undefined;
      if (frozen !== undefined) return `it is frozen by operation ${frozen.operation}`;
      return shard.epoch.version > step.version ? `it is at version ${shard.epoch.version}` : undefined;
  }
}

function epochProblem(
  { expected }: StepOf<"freeze" | "merge">,
  { epoch }: ShardDescriptor,
): string | undefined {
  return epoch.version === expected.version && epoch.confVersion === expected.confVersion
    ? undefined
    : `it is at epoch ${epoch.version}.${epoch.confVersion}, not ${expected.version}.${expected.confVersion}`;
}

/** A replica that is no voter may lack what the freeze waits for. */
function membersProblem({ replicas }: ShardDescriptor): string | undefined {
  return replicas.every(({ role }) => role === "voter") ? undefined : "its membership is changing";
}

/** Can these two be one? Of the same keyspace, side by side, on the same nodes. */
export function neighbourProblem(source: ShardDescriptor, target: ShardDescriptor): string | undefined {
  if (source.id === target.id || source.keyspace !== target.keyspace || !areAdjacent(source, target))
    return `shard ${source.id} is not its neighbour`;
  const nodes = (shard: ShardDescriptor): string =>
    shard.replicas
      .map((r) => r.nodeId)
      .sort((a, b) => a - b)
      .join();
  if (membersProblem(source) !== undefined || nodes(source) !== nodes(target))
    return `shard ${source.id} is not on the same nodes`;
  return undefined;
}

function areAdjacent(a: ShardDescriptor, b: ShardDescriptor): boolean {
  const follows = (end: Uint8Array, start: Uint8Array): boolean => end.length > 0 && equalBytes(end, start);
  return follows(a.end, b.start) || follows(b.end, a.start);
}

/** The target with both ranges, newer than both. */
export function mergedDescriptor(source: ShardDescriptor, target: ShardDescriptor): ShardDescriptor {
  const sourceFirst = compareBytes(source.start, target.start) < 0;
  const version = Math.max(source.epoch.version, target.epoch.version) + 1;
  return {
    ...target,
    start: sourceFirst ? source.start : target.start,
    end: sourceFirst ? target.end : source.end,
    epoch: { ...target.epoch, version },
  };
}

/** The same range and members, a version later: whatever expects an earlier one is void. */
export function movedOn(shard: ShardDescriptor): ShardDescriptor {
  return { ...shard, epoch: { ...shard.epoch, version: shard.epoch.version + 1 } };
}

export type MergeOutcome = MergeResult | Undecided;

export function mergeOrder(step: MergeStep): ShardOrder<MergeResult> {
  return {
    voidIn: ({ descriptor, machine }) => {
      const reason = mergeProblem(step, descriptor, machine.frozen);
      return reason === undefined ? undefined : { kind: "void", reason };
    },
    encode: () => encodeMergeStep(step),
    resultOf: (applied) => (applied as MergeApplied).merge,
  };
}
