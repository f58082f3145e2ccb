import {
  compareBytes,
  encodeSplit,
  firstLogIndex,
  firstLogTerm,
  inRange,
  type ReplicaId,
  type ShardDescriptor,
  type SplitChild,
  type SplitCommand,
} from "#proto";
import type { ConfState } from "#raft/core";
import type { Birth } from "#raft/host";
import type { ShardOrder, Undecided } from "./order-door.ts";
import { dataRange, dedupRange, initialRows } from "./state-rows.ts";

/** What became of a split: who holds the keys now, the parent first; or why nothing has changed. */
export type SplitResult =
  | { readonly kind: "split"; readonly shards: readonly ShardDescriptor[] }
  | { readonly kind: "void"; readonly reason: string; readonly current: ShardDescriptor };

/** What a split's entry answers. */
export interface SplitApplied {
  readonly clockMicros: number;
  readonly result?: undefined;
  readonly split: SplitResult;
}

/** Bytes of a boundary between two slots. */
const slotBytes = 2;
/** Children of one split, at most: each costs every replica an opening in one turn. */
export const childrenMax = 64;

/**
 * Why `parent` cannot be split so; undefined: it can. Asked before proposing and again at apply, where it
 * decides alone: of command and descriptor only, so alike on every replica (R6).
 */
export function splitProblem(command: SplitCommand, parent: ShardDescriptor): string | undefined {
  const { expected, boundaries, children } = command;
  const { version, confVersion } = parent.epoch;
  if (expected.version !== version || expected.confVersion !== confVersion)
    return `the shard is at epoch ${version}.${confVersion}, not ${expected.version}.${expected.confVersion}`;
  // The halves of a joint configuration would have to be split too, and left by each child on its own.
  if (parent.replicas.some(({ role }) => role === "incoming" || role === "outgoing"))
    return "the shard's membership is changing";
  if (children.length === 0 || children.length > childrenMax || children.length !== boundaries.length)
    return `${children.length} children for ${boundaries.length} boundaries`;
  return boundaryProblem(command, parent) ?? idProblem(children, parent);
}

function boundaryProblem(
  { boundaries, partition }: SplitCommand,
  parent: ShardDescriptor,
): string | undefined {
  let previous = parent.start;
  for (const boundary of boundaries) {
    if (compareBytes(boundary, previous) <= 0 || !inRange(boundary, parent.start, parent.end))
      return "a boundary is not inside the shard's range, in ascending order";
    if (partition === "hash" && boundary.length !== slotBytes)
      return "a boundary of a hash keyspace is not between two slots";
    previous = boundary;
  }
  return undefined;
}

function idProblem(children: readonly SplitChild[], parent: ShardDescriptor): string | undefined {
  const ids = new Set([parent.id, ...children.map((child) => child.id)]);
  if (ids.size !== children.length + 1) return "a child's id is there twice";
  const members = new Set(parent.replicas.map((r) => r.replicaId));
  for (const { id, replicas } of children) {
    const mapped = new Set(replicas.map((r) => r.parent));
    const own = new Set(replicas.map((r) => r.child));
    const complete = replicas.length === members.size && replicas.every((r) => members.has(r.parent));
    if (!complete || mapped.size !== members.size || own.size !== members.size)
      return `child ${id} has not one replica for each of the shard's`;
  }
  return undefined;
}

/** The parent as it is left, and its children; all of one new version. Only without a `splitProblem`. */
export function splitDescriptors(
  { boundaries, children }: SplitCommand,
  parent: ShardDescriptor,
): { readonly parent: ShardDescriptor; readonly children: readonly ShardDescriptor[] } {
  const epoch = { version: parent.epoch.version + 1, confVersion: parent.epoch.confVersion };
  const endOf = (at: number): Uint8Array => boundaries[at] ?? parent.end;
  return {
    parent: { ...parent, end: endOf(0), epoch },
    children: children.map((child, i) => ({
      id: child.id,
      keyspace: parent.keyspace,
      start: endOf(i),
      end: endOf(i + 1),
      epoch,
      replicas: childReplicas(child, parent),
    })),
  };
}

function childReplicas(child: SplitChild, parent: ShardDescriptor): ShardDescriptor["replicas"] {
  const ids = new Map(child.replicas.map((r) => [r.parent, r.child]));
  return parent.replicas.flatMap(({ replicaId, nodeId, role }) => {
    const id = ids.get(replicaId);
    return id === undefined ? [] : [{ replicaId: id, nodeId, role }];
  });
}

/**
 * A child as the host is to write it beside the parent's change (R5). Its data and dedup rows are here
 * already: they lie by key, not by shard (R23). Its clock goes on from the parent's (R25), so that neither
 * revisions nor deadlines ever go back.
 */
export function birthOf(
  child: ShardDescriptor,
  { replicas }: SplitChild,
  here: ReplicaId,
  clockMicros: number,
): Birth {
  return {
    group: child.id,
    replica: replicas.find((r) => r.parent === here)?.child,
    conf: confOf(child),
    index: firstLogIndex,
    term: firstLogTerm,
    rows: initialRows(child, clockMicros),
    ranges: [dedupRange(child), dataRange(child)],
  };
}

function confOf({ replicas }: ShardDescriptor): ConfState {
  const ids = (learners: boolean): number[] =>
    replicas
      .filter(({ role }) => (role === "learner") === learners)
      .map((r) => r.replicaId)
      .sort((a, b) => a - b);
  return { voters: ids(false), outgoing: [], learners: ids(true), learnersNext: [], autoLeave: false };
}

export type SplitOutcome = SplitResult | Undecided;

export function splitOrder(request: SplitCommand): ShardOrder<SplitResult> {
  return {
    voidIn: ({ descriptor }) => {
      const reason = splitProblem(request, descriptor);
      return reason === undefined ? undefined : { kind: "void", reason, current: descriptor };
    },
    encode: () => encodeSplit(request),
    resultOf: (applied) => (applied as SplitApplied).split,
  };
}
