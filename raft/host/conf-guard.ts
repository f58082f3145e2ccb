import type { ReplicaId } from "#proto";
import type { ConfState } from "#raft/core";
import type { Group } from "./group.ts";

/** A voter this far behind the leader's log still counts as caught up: what comes in while it is asked. */
const lagEntriesMax = 256;

/**
 * R10: what a leader refuses to propose. A group never rests at an even size, and the configuration that a
 * change leads to needs a quorum of live, caught-up voters: else it could neither go on nor go back.
 * @param next - the configuration right after the change (joint or not)
 * @returns why not, or undefined
 */
export function confChangeProblem(
  group: Group,
  next: ConfState,
  isLive: (replica: ReplicaId) => boolean,
): string | undefined {
  const joint = next.outgoing.length > 0;
  if (next.voters.length % 2 === 0) return "a group must not rest at an even number of voters";
  if (!joint && !next.voters.includes(group.replica)) return "a leader does not remove itself";
  const progress = group.progress;
  const last = group.core.lastIndex;
  const fit = (replica: ReplicaId): boolean => {
    if (replica === group.replica) return true;
    const peer = progress.get(replica);
    return peer !== undefined && isLive(replica) && peer.match + lagEntriesMax >= last && peer.match > 0;
  };
  const fitVoters = next.voters.filter(fit).length;
  if (fitVoters * 2 <= next.voters.length) return "too few of the new voters are live and caught up";
  return undefined;
}
