import type { ReplicaId } from "#proto";
import { type ConfChange, type ConfState, leavesJoint } from "#raft/core";
import type { Group } from "./group.ts";
import { transferTo } from "./handover.ts";
import type { Shared } from "./shared.ts";
import { successor } from "./successor.ts";

/** A voter this far behind the leader's log still counts as caught up: what comes in while it is asked. */
const lagEntriesMax = 256;

/** How long a joint configuration may stand that whoever ordered it does not leave (R10). */
const jointRestMs = 5_000;

/** `transfer`: the change would end this leader's own membership, so another must lead first. */
export type ConfVerdict =
  | { readonly kind: "fine" }
  | { readonly kind: "refused"; readonly problem: string }
  | { readonly kind: "transfer"; readonly problem: string };

/**
 * R10: what a leader refuses to propose. A group never rests at an even size; the configuration that a change
 * leads to needs a quorum of live, caught-up voters in each half, else the group could neither go on nor go
 * back; and a leader never removes itself. Where it is the whole outgoing half nobody else could lead yet, so
 * there it may enter the joint state, and hands over inside.
 * @param next - the configuration right after the change (joint or not)
 */
export function judgeConfChange(
  group: Group,
  next: ConfState,
  isLive: (replica: ReplicaId) => boolean,
): ConfVerdict {
  const { conf } = group;
  const joint = next.outgoing.length > 0;
  const votersChange = joint !== conf.outgoing.length > 0 || !sameIds(next.voters, conf.voters);
  if (!votersChange) return { kind: "fine" };
  if (next.voters.length % 2 === 0) {
    return { kind: "refused", problem: "a group must not rest at an even number of voters" };
  }
  const isFit = fitness(group, isLive);
  if (!hasFitMajority(next.voters, isFit)) {
    return { kind: "refused", problem: "too few of the new voters are live and caught up" };
  }
  if (joint && !hasFitMajority(next.outgoing, isFit)) {
    return { kind: "refused", problem: "too few of the present voters are live and caught up" };
  }
  if (next.voters.includes(group.replica)) return { kind: "fine" };
  const alone = joint && next.outgoing.length === 1 && !next.autoLeave;
  return alone ? { kind: "fine" } : { kind: "transfer", problem: "a leader does not remove itself" };
}

function fitness(group: Group, isLive: (replica: ReplicaId) => boolean): (replica: ReplicaId) => boolean {
  const { progress } = group;
  const last = group.core.lastIndex;
  return (replica) => {
    if (replica === group.replica) return true;
    const peer = progress.get(replica);
    return peer !== undefined && peer.match > 0 && peer.match + lagEntriesMax >= last && isLive(replica);
  };
}

function hasFitMajority(voters: readonly ReplicaId[], isFit: (replica: ReplicaId) => boolean): boolean {
  return voters.filter(isFit).length * 2 > voters.length;
}

function sameIds(a: readonly ReplicaId[], b: readonly ReplicaId[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at]);
}

const leave: ConfChange = { transition: "auto", changes: [], context: new Uint8Array(0) };

/**
 * Once a second, on leaders: a joint configuration is no place to rest. One that outlasts its order is left
 * under the same rule as any change; a leader that is not of its incoming half hands over at once (R10).
 */
export function tendJoint(shared: Shared, group: Group, nowMs: number): void {
  const { core } = group;
  const joint = core.conf.outgoing.length > 0 && core.role === "leader";
  if (!joint) {
    group.jointSinceMs = undefined;
    return;
  }
  group.jointSinceMs ??= nowMs;
  if (core.transferTarget !== 0) return;
  if (!core.conf.voters.includes(group.replica)) return handOver(shared, group, core.conf);
  if (core.conf.autoLeave || nowMs - group.jointSinceMs < jointRestMs) return;
  const verdict = judgeConfChange(group, core.previewConfChange(leave), (id) => shared.isLive(group, id));
  // Refused while another change is not applied yet: asked again in a second.
  if (verdict.kind === "fine") core.step({ kind: "proposeConfChange", change: leave });
  else
    shared.options.logger.info({ group: group.group, verdict }, "a joint configuration cannot be left yet");
  shared.markDirty(group);
}

/** Gives leadership to one who stays a member in `next`. */
export function handOver(shared: Shared, group: Group, next: ConfState): void {
  const to = successor(shared, group, (id) => next.voters.includes(id));
  if (to !== undefined) transferTo(shared, group, to);
}

/** What `change` makes of the group's configuration; undefined when it cannot take it. */
export function preview(group: Group, change: ConfChange): ConfState | undefined {
  if (leavesJoint(change) && group.conf.outgoing.length === 0) return undefined;
  try {
    return group.core.previewConfChange(change);
  } catch {
    return undefined;
  }
}
