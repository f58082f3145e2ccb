import type { NodeId, ReplicaId } from "#proto";
import type { Message } from "#raft/core";
import type { Group } from "./group.ts";

/** Which nodes must be told that the group sleeps, and which are gone and were not asked (R20). */
export interface SleepPlan {
  readonly tell: readonly ReplicaId[];
  readonly without: ReadonlySet<NodeId>;
}

/**
 * May this leader's group fall asleep? Only with nothing pending here, everything committed and applied, and
 * every follower on a live node level with the log; followers on dead nodes are remembered and woken for.
 */
export function planSleep(group: Group, isGone: (node: NodeId) => boolean): SleepPlan | undefined {
  const { core } = group;
  const last = core.lastIndex;
  if (group.hasWork || core.commit !== last || group.applied !== last) return undefined;
  if (core.conf.outgoing.length > 0 || group.snapshotsOut.size > 0) return undefined;
  const status = core.status();
  if (status.transferTarget !== 0) return undefined;
  const tell: ReplicaId[] = [];
  const without = new Set<NodeId>();
  for (const [replica, progress] of status.progress) {
    if (replica === group.replica) continue;
    const node = group.nodeOf(replica);
    if (node === undefined) return undefined;
    if (isGone(node)) without.add(node);
    else if (progress.match !== last || progress.state !== "Replicate") return undefined;
    else tell.push(replica);
  }
  return { tell, without };
}

/** The heartbeat that says "sleep at this commit index": it binds to leader, term and, by its sender, boot. */
export function sleepMessage(group: Group, to: ReplicaId): Message {
  const { core } = group;
  return { kind: "heartbeat", from: group.replica, to, term: core.term, commit: core.lastIndex };
}

/** Is this follower exactly where the sleeping leader says it is? */
export function agreesToSleep(group: Group, message: Message): boolean {
  const { core } = group;
  return (
    core.role === "follower" &&
    core.term === message.term &&
    core.leader === message.from &&
    core.lastIndex === message.commit &&
    core.commit === message.commit &&
    !group.hasWork
  );
}
