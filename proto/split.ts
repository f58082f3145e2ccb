import { encode, FieldReader, ProtocolError } from "./codec.ts";
import type { GroupId, ReplicaId } from "./ids.ts";
import type { Partition } from "./keys.ts";
import type { Epoch } from "./shards.ts";

/** Tags from 64 on are the shard's own: no router may propose them. */
export const splitTag = 65;

/**
 * The fixed first state of every new group (R5): its log begins behind this index and term, as TiKV's do, so
 * that no replica without that state can pass for one that is level.
 */
export const firstLogIndex = 10;
export const firstLogTerm = 5;

/** One shard that a split makes. Its ids come from placement and are never used again. */
export interface SplitChild {
  readonly id: GroupId;
  /** One for each replica of the parent, learners too: the child's replica on the same node. */
  readonly replicas: readonly { readonly parent: ReplicaId; readonly child: ReplicaId }[];
}

/** A split as it stands in the parent's log. The parent keeps its keys up to the first boundary. */
export interface SplitCommand {
  /** Void at apply unless the parent's epoch still is this one, both parts of it (R6). */
  readonly expected: Epoch;
  /** In `hash` keyspaces boundaries lie between slots only. */
  readonly partition: Partition;
  /** Where each child begins: encoded keys inside the parent's range, ascending. */
  readonly boundaries: readonly Uint8Array[];
  /** As many as boundaries, in key order. */
  readonly children: readonly SplitChild[];
}

export function encodeSplit({ expected, partition, boundaries, children }: SplitCommand): Uint8Array {
  const made = children.map(({ id, replicas }) => [id, replicas.map((r) => [r.parent, r.child])]);
  return encode([splitTag, expected.version, expected.confVersion, partition, boundaries, made]);
}

/** Reads what follows the tag. @throws ProtocolError */
export function readSplit(f: FieldReader): SplitCommand {
  const split: SplitCommand = {
    expected: { version: f.integer(), confVersion: f.integer() },
    partition: f.choice(["hash", "range"] as const),
    boundaries: f.list((key) => new FieldReader([key], "split boundary").bytes().slice()),
    children: f.list(readChild),
  };
  if (split.boundaries.length !== split.children.length || split.children.length === 0)
    throw new ProtocolError("split: not one boundary for each child");
  return split;
}

function readChild(value: unknown): SplitChild {
  const f = new FieldReader(value, "split child");
  const id = f.integer(1);
  const replicas = f.list((pair) => {
    const r = new FieldReader(pair, "split replica");
    return { parent: r.integer(1), child: r.integer(1) };
  });
  return { id, replicas };
}
