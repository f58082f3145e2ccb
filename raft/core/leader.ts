import type { Progress } from "./progress.ts";
import { isQuorum } from "./quorum.ts";
import type { Raft } from "./raft.ts";
import type { Message, StepResult } from "./types.ts";

/** The leader takes a message of its own term. */
export function stepLeader(raft: Raft, message: Message): void {
  if (message.kind === "transferLeader") {
    transferTo(raft, message.index ?? 0);
    return;
  }
  const peer = raft.peer(message.from);
  if (peer === undefined) return;
  switch (message.kind) {
    case "appendResponse":
      peer.recentActive = true;
      noteAnswer(raft, peer, message);
      if (message.reject === true) onRejection(raft, peer, message);
      else onAcknowledgement(raft, peer, message.index ?? 0);
      return;
    case "heartbeatResponse":
      peer.recentActive = true;
      noteAnswer(raft, peer, message);
      onHeartbeatResponse(raft, peer, message);
      return;
    default:
  }
}

/** R17: the answer shows that this voter followed when the message it answers was sent. */
function noteAnswer(raft: Raft, peer: Progress, { sentAtMs }: Message): void {
  if (sentAtMs === undefined || sentAtMs > raft.nowMs) return;
  if (sentAtMs > peer.answeredSentAtMs) peer.answeredSentAtMs = sentAtMs;
}

function onRejection(raft: Raft, peer: Progress, message: Message): void {
  const hint = message.rejectHint ?? 0;
  const hintTerm = message.logTerm ?? 0;
  // Fast backtracking, the leader's half: where our term is above the follower's at its hint, the logs
  // cannot meet, since terms only grow along a log.
  const meet = hintTerm > 0 ? raft.log.findConflictByTerm(hint, hintTerm).index : hint;
  if (!peer.rejectedAt(message.index ?? 0, meet)) return;
  if (peer.state === "Replicate") peer.becomeProbe();
  raft.sendAppend(peer);
}

function onAcknowledgement(raft: Raft, peer: Progress, index: number): void {
  // What is not in our log cannot be acknowledged: not a message of this log.
  if (index > raft.log.last) return;
  const isNew = peer.acknowledge(index);
  if (!isNew && !(peer.match === index && peer.state === "Probe")) return;
  if (peer.state === "Probe") {
    peer.becomeReplicate();
  } else if (peer.state === "Snapshot") {
    // Whatever snapshot it got, and from whom: the log now reaches it.
    if (peer.match + 1 >= raft.log.firstIndex()) {
      peer.becomeProbe();
      peer.becomeReplicate();
    }
  } else {
    peer.inflights.freeThrough(index);
  }
  const isOther = peer.id !== raft.id;
  if (raft.maybeCommit()) {
    raft.releasePostponedReads();
    if (raft.commitsAtOnce) raft.broadcastAppend();
  } else if (isOther && raft.commitsAtOnce && peer.canBumpCommit(raft.log.committed)) {
    raft.sendAppend(peer);
  }
  if (!isOther) return;
  // The window has room again: fill it.
  while (raft.maybeSendAppend(peer, false));
  if (peer.id === raft.transferTarget && peer.match === raft.log.last) sendTimeoutNow(raft, peer.id);
}

function onHeartbeatResponse(raft: Raft, peer: Progress, message: Message): void {
  peer.flowPaused = false;
  if (peer.match < raft.log.last || peer.state === "Probe") raft.sendAppend(peer);
  if (message.context === undefined) return;
  const number = Number(message.context);
  if (!(number > peer.confirmedRead && number <= raft.reads.lastNumber)) return;
  peer.confirmedRead = number;
  raft.reads.confirmed(raft.confirmedRead(), (request, index) => raft.answerRead(request, index));
}

function sendTimeoutNow(raft: Raft, to: number): void {
  raft.sentTimeoutNow = true;
  raft.send({ kind: "timeoutNow", to });
}

/** Thesis 3.10: brings `target` level, then tells it to campaign; given up after an election timeout. */
export function transferTo(raft: Raft, target: number): StepResult {
  const peer = raft.peer(target);
  if (peer === undefined || peer.isLearner) return "not_voter";
  if (raft.transferTarget !== 0) {
    if (raft.transferTarget === target) return "ignored";
    raft.transferTarget = 0;
  }
  if (target === raft.id) return "ignored";
  raft.electionElapsed = 0;
  raft.transferTarget = target;
  if (peer.match === raft.log.last) sendTimeoutNow(raft, target);
  else raft.sendAppend(peer);
  return "ok";
}

/** A follower forwards a read; term 0 when the sender's is not said. */
export function onForwardedRead(raft: Raft, message: Message): StepResult {
  const { from, term, context } = message;
  if (context === undefined || from === raft.id) return "ignored";
  // R18: at the asker's term the message itself shows that it followed us after the read had come.
  const confirmed =
    term === raft.term &&
    raft.isVoter(from) &&
    isQuorum(raft.conf.voters, raft.conf.outgoing, (id) => id === from || id === raft.id);
  return raft.read({ from, context }, confirmed);
}

export function tickLeader(raft: Raft): void {
  raft.heartbeatElapsed++;
  raft.electionElapsed++;
  if (raft.electionElapsed >= raft.config.electionTicks) {
    raft.electionElapsed = 0;
    if (raft.config.checkQuorum) checkQuorum(raft);
    // A transfer that took this long has failed; the leader serves again.
    raft.transferTarget = 0;
  }
  if (raft.role !== "leader" || raft.heartbeatElapsed < raft.config.heartbeatTicks) return;
  raft.heartbeatElapsed = 0;
  raft.broadcastHeartbeat();
}

/** Thesis 6.2: a leader that has not heard from a quorum for an election timeout steps down. */
function checkQuorum(raft: Raft): void {
  if (!raft.quorumActive()) {
    raft.becomeFollower(raft.term, 0);
    return;
  }
  for (const peer of raft.peers) peer.recentActive = peer.id === raft.id;
}

export function reportUnreachable(raft: Raft, id: number): StepResult {
  const peer = raft.peer(id);
  if (raft.role !== "leader" || peer?.state !== "Replicate") return "ignored";
  // What was sent ahead is probably lost.
  peer.becomeProbe();
  return "ok";
}

export function reportSnapshot(raft: Raft, id: number, ok: boolean): StepResult {
  const peer = raft.peer(id);
  if (raft.role !== "leader" || peer?.state !== "Snapshot") return "ignored";
  // Failed: the probe must not begin behind a snapshot that is not there.
  if (!ok) peer.pendingSnapshot = 0;
  peer.becomeProbe();
  // Sent: wait for the follower's word that it is installed. Failed: wait a heartbeat before the next try.
  peer.flowPaused = true;
  return "ok";
}
