import type { NodeId, ReplicaId } from "#proto";
import type { Group } from "./group.ts";

/**
 * This replica's place in the order in which the group's live voters campaign after their leader is lost:
 * each group has its own order, so that the leaders of a lost node spread over the others (R20).
 * @returns 0 for who goes first; undefined when this replica does not vote
 */
export function campaignRank(
  group: Group,
  lost: ReplicaId,
  isGone: (node: NodeId) => boolean,
): number | undefined {
  const candidates = group.conf.voters.filter((replica) => {
    const node = group.nodeOf(replica);
    return replica !== lost && (replica === group.replica || (node !== undefined && !isGone(node)));
  });
  const order = candidates.sort((a, b) => draw(group.group, a) - draw(group.group, b) || a - b);
  const rank = order.indexOf(group.replica);
  return rank < 0 ? undefined : rank;
}

/** Any fixed mixing of the two numbers does: all that matters is that groups differ. */
function draw(group: number, replica: number): number {
  let hash = Math.imul(group, 0x9e3779b1) ^ Math.imul(replica, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
  return (hash ^ (hash >>> 13)) >>> 0;
}
