import {
  addressOf,
  encode,
  FieldReader,
  type GroupId,
  type NodeId,
  ProtocolError,
  placementMethods,
} from "#proto";
import type { GroupHost } from "#raft/host";
import type { Model } from "./model.ts";
import type { PlacementParts } from "./parts.ts";

/**
 * Logs compacted because somebody asked: the leader asks every node that holds a replica, each node its host.
 * Nothing of it is in placement's log but that it was done: done twice it does no harm.
 * @module
 */

/** A node that has not answered by then is not counted, ms. */
const answerMs = 3_000;

/** @returns how many of these groups' replicas here begin their log behind what they have applied */
export function compactHere(
  host: Pick<GroupHost, "compact">,
  groups: readonly GroupId[],
  done: (count: number) => void,
): void {
  let left = groups.length;
  let count = 0;
  if (left === 0) return done(0);
  for (const group of groups) {
    host.compact(group, (compacted) => {
      left -= 1;
      if (compacted) count += 1;
      if (left === 0) done(count);
    });
  }
}

/** Asks every node that is up for its replicas of these shards. */
export function compactEverywhere(
  rpc: PlacementParts["rpc"],
  model: Model,
  shards: readonly GroupId[],
  done: (count: number) => void,
): void {
  const wanted = holders(model, shards);
  let left = wanted.size;
  let count = 0;
  if (left === 0) return done(0);
  for (const [node, groups] of wanted) {
    rpc.call(addressOf(node), placementMethods.compact, encode([groups]), answerMs, (result) => {
      left -= 1;
      if (result.ok) count += readCount(result.body);
      if (left === 0) done(count);
    });
  }
}

function holders(model: Model, shards: readonly GroupId[]): Map<NodeId, GroupId[]> {
  const held = new Map<NodeId, GroupId[]>();
  for (const id of shards) {
    for (const { nodeId } of model.shards.get(id)?.descriptor.replicas ?? []) {
      if (model.nodes.get(nodeId)?.liveness !== "up") continue;
      const groups = held.get(nodeId);
      if (groups === undefined) held.set(nodeId, [id]);
      else groups.push(id);
    }
  }
  return held;
}

/** What cannot be read counts for nothing. */
function readCount(body: Uint8Array): number {
  try {
    return FieldReader.of(body, "answer to a compaction").integer();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return 0;
  }
}

/** @throws ProtocolError */
export function readCompaction(body: Uint8Array): GroupId[] {
  return FieldReader.of(body, "compaction").list((id) => new FieldReader([id], "group").integer(1));
}
