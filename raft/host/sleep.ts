import type { NodeId, ReplicaId } from "#proto";
import { isQuorum, type Message } from "#raft/core";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";
import type { SleepMark } from "./wire.ts";

/**
 * Sleep of idle groups (R20). A leader with nothing to do asks its followers to sleep at its commit index and
 * sleeps at once; a follower that is not exactly there says so and stays awake. A sleeping group gets no
 * ticks, sends nothing, and wakes by a proposal, a read, a message, or by its leader's node being lost.
 * @module
 */

interface SleepPlan {
  readonly tell: readonly ReplicaId[];
  /** Nodes that are gone and could not be asked: woken for when they are back. */
  readonly without: ReadonlySet<NodeId>;
}

/** Puts a leader's group to sleep where nothing is pending and all live followers are level. */
export function sleepIfIdle(shared: Shared, group: Group): void {
  // A heartbeat of this very tick would wake the followers again.
  if (group.core.role !== "leader" || group.core.hasReady()) return;
  // Heard by a quorum just now: one that is cut off must find out awake, by check-quorum.
  if (shared.nowMs() - group.core.confirmedMs > shared.timing.leaseMs) return;
  const plan = planSleep(group, (node) => shared.suspected(node));
  if (plan === undefined) return;
  const { core } = group;
  for (const to of plan.tell) {
    const node = group.nodeOf(to);
    if (node === undefined) continue;
    // It binds to leader, term and, by its sender, boot.
    const ask: Message = {
      kind: "heartbeat",
      from: group.replica,
      to,
      term: core.term,
      commit: core.lastIndex,
    };
    shared.outbox.add(node, group.group, ask, "ask");
  }
  group.asleepWithout = plan.without;
  putToSleep(shared, group);
}

function planSleep(group: Group, isGone: (node: NodeId) => boolean): SleepPlan | undefined {
  const { core } = group;
  const last = core.lastIndex;
  if (group.hasWork || !group.settled || core.commit !== last || group.applied !== last) return undefined;
  if (core.conf.outgoing.length > 0 || group.snapshotsOut.size > 0 || core.transferTarget !== 0) {
    return undefined;
  }
  const tell: ReplicaId[] = [];
  const without = new Set<NodeId>();
  for (const [replica, progress] of group.progress) {
    if (replica === group.replica) continue;
    const node = group.nodeOf(replica);
    if (node === undefined) return undefined;
    const isLevel = progress.match === last;
    // A learner that has heard nothing yet has no reason to beat with us: no word of its node would wake us.
    if (progress.isLearner && progress.match === 0) return undefined;
    if (isGone(node)) {
      if (!isLevel) without.add(node);
    } else if (!isLevel || progress.state !== "Replicate") return undefined;
    else tell.push(replica);
  }
  // Cut off from a quorum it would go on believing that it leads: awake, check-quorum tells it.
  const isWithUs = (replica: ReplicaId): boolean => replica === group.replica || tell.includes(replica);
  return isQuorum(core.conf.voters, core.conf.outgoing, isWithUs) ? { tell, without } : undefined;
}

/** After the heartbeat that asked was stepped: sleeps where this follower is exactly where the leader says. */
export function sleepIfAgreed(shared: Shared, group: Group, message: Message): void {
  const { core } = group;
  const level =
    core.role === "follower" &&
    core.term === message.term &&
    core.leader === message.from &&
    core.lastIndex === message.commit &&
    core.commit === message.commit;
  if (level && !group.hasWork) return putToSleep(shared, group);
  group.differs = true;
  shared.wake(group);
}

function putToSleep(shared: Shared, group: Group): void {
  group.quiesced = true;
  group.log.dropCache();
  shared.awake.delete(group);
}

/** Before a message is stepped: most wake the group. */
export function wakeForMessage(shared: Shared, group: Group, message: Message, sleep: SleepMark): void {
  if (message.kind !== "heartbeat" && message.kind !== "heartbeatResponse") group.busyAtMs = shared.nowMs();
  if (!group.quiesced) return;
  if (message.kind === "vote" || message.kind === "preVote") judgeVote(shared, group, message);
  // A sleeping leader still gets answers to what it sent before: only one that differs wakes it.
  const lateAnswer = message.kind === "heartbeatResponse" && sleep !== "differs";
  if (sleep !== "ask" && !lateAnswer) shared.wake(group);
}

/**
 * A sleeping follower was last in touch with its leader when their nodes last were (R17, for refusing only);
 * a campaign of the followed leader itself means that it has forgotten (R20).
 */
function judgeVote(shared: Shared, group: Group, message: Message): void {
  if (group.core.role === "leader") return;
  if (message.from === group.core.leader) {
    group.core.step({ kind: "forgetLeader" });
    return;
  }
  const node = group.leaderNode;
  const heardMs = node === undefined ? undefined : shared.liveness.lastHeardMs(node);
  if (heardMs !== undefined) group.core.step({ kind: "contact", nowMs: heardMs });
}
