import type { NodeId, ReplicaId } from "#proto";
import type { Message, ProgressStatus } from "#raft/core";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

/**
 * R10: a removed member is no follower any more, so nothing would bring it the entry that removed it; it would
 * campaign in vain until it asks placement (R34). For a minute the leader that removed it sends it the log up
 * to that entry, in plain appends beside the core, which knows it no longer.
 * @module
 */

const farewellMs = 60_000;
const bytesMax = 1024 * 1024;

interface Member {
  readonly node: NodeId;
  readonly match: number;
}

/** The members as a leader knows them right before a change; undefined on others, who tell nobody. */
export function beforeChange(group: Group): ReadonlyMap<ReplicaId, Member> | undefined {
  if (group.core.role !== "leader") return undefined;
  const members = new Map<ReplicaId, Member>();
  for (const [replica, { match }] of group.progress as ReadonlyMap<ReplicaId, ProgressStatus>) {
    const node = group.nodeOf(replica);
    if (node !== undefined && replica !== group.replica) members.set(replica, { node, match });
  }
  return members;
}

/** The entry at `index` is in force now: whoever of `before` is no member any more is to be told. */
export function rememberRemoved(
  shared: Shared,
  group: Group,
  before: ReadonlyMap<ReplicaId, Member>,
  index: number,
): void {
  const members = group.members();
  for (const replica of members) group.farewells.delete(replica);
  for (const [replica, { node, match }] of before) {
    if (members.has(replica)) continue;
    group.farewells.set(replica, { node, index, match, sinceMs: shared.nowMs() });
    shared.farewells.add(group);
  }
}

/** Once a second, and when one answers. */
export function sayFarewells(shared: Shared, nowMs: number): void {
  for (const group of shared.farewells) {
    if (group.closed || group.core.role !== "leader") group.farewells.clear();
    for (const [replica, { sinceMs }] of group.farewells) {
      if (nowMs - sinceMs > farewellMs) group.farewells.delete(replica);
      else sayFarewell(shared, group, replica);
    }
    if (group.farewells.size === 0) shared.farewells.delete(group);
  }
}

function sayFarewell(shared: Shared, group: Group, replica: ReplicaId): void {
  const farewell = group.farewells.get(replica);
  if (farewell === undefined) return;
  const { node, index, match } = farewell;
  const logTerm = group.log.term(match);
  const entries = group.log.entries(match + 1, index + 1, bytesMax);
  // Compacted meanwhile: it has to ask placement.
  if (logTerm === undefined || entries === undefined) {
    group.farewells.delete(replica);
    return;
  }
  const { replica: from, core } = group;
  const message: Message = {
    kind: "append",
    from,
    to: replica,
    term: core.term,
    index: match,
    logTerm,
    entries,
    commit: Math.min(index, core.commit),
  };
  shared.outbox.add(node, group.group, message);
}

/** The core ignores answers of those who are no members; this takes them. */
export function onFarewellAnswer(shared: Shared, group: Group, message: Message): void {
  const farewell = group.farewells.get(message.from);
  if (farewell === undefined || message.kind !== "appendResponse" || message.term !== group.core.term) return;
  const index = message.index ?? 0;
  if (message.reject === true) {
    farewell.match = Math.max(0, Math.min(message.rejectHint ?? 0, farewell.match - 1));
  } else if (index >= farewell.index) {
    group.farewells.delete(message.from);
    return;
  } else if (index <= farewell.match) return;
  else farewell.match = index;
  sayFarewell(shared, group, message.from);
}
