import type { Raft } from "./raft.ts";
import type { Message } from "./types.ts";

/**
 * Elections: who may campaign, who gets a vote (sections 5.2, 5.4.1; thesis 9.6 for the pre-vote, 4.2.3 and
 * 6.4 for not disturbing a leader, R17 for leases).
 * @module
 */

export type Campaign = "preVote" | "vote" | "transfer";

/**
 * Starts an election unless this replica may not have one now.
 * @returns whether it started
 */
export function campaignIfAllowed(raft: Raft, kind: Campaign): boolean {
  if (raft.role === "leader" || !raft.promotable) return false;
  // The configuration in force may be another than the one applied here.
  if (hasUnappliedConfChange(raft)) return false;
  if (kind !== "transfer" && !raft.isLoneVoter && inLeaderLease(raft)) return false;
  campaign(raft, kind);
  return true;
}

/** Becomes (pre-)candidate and asks every voter. */
export function campaign(raft: Raft, kind: Campaign): void {
  if (kind === "preVote") raft.becomePreCandidate();
  else raft.becomeCandidate();
  const term = kind === "preVote" ? raft.term + 1 : raft.term;
  const request = kind === "preVote" ? "preVote" : "vote";
  const response = kind === "preVote" ? "preVoteResponse" : "voteResponse";
  const index = raft.log.last;
  const logTerm = raft.log.lastTerm();
  for (const peer of raft.peers) {
    if (!raft.isVoter(peer.id)) continue;
    // Its own vote counts once it is durable, so it comes back the way of the others' (R2).
    if (peer.id === raft.id) raft.send({ kind: response, to: peer.id, term });
    else if (kind === "transfer")
      raft.send({ kind: request, to: peer.id, term, index, logTerm, transfer: true });
    else raft.send({ kind: request, to: peer.id, term, index, logTerm });
  }
}

/** Looks for a configuration change among what is committed and not applied, page by page. */
function hasUnappliedConfChange(raft: Raft): boolean {
  let next = raft.log.applied + 1;
  while (next <= raft.log.committed) {
    const page = raft.log.slice(next, raft.log.committed + 1, raft.config.maxCommittedBytesPerReady);
    if (page === undefined || page.length === 0) return true;
    if (page.some((entry) => entry.kind === "conf")) return true;
    next += page.length;
  }
  return false;
}

/**
 * Whether a vote now, one's own included, could make a second leader while the first still holds a lease
 * (R17). Clocks of different nodes may run at different speeds, so voters wait a tenth longer than leases
 * last. A replica that has never had a leader has promised nothing to any.
 */
export function inLeaderLease(raft: Raft): boolean {
  const { leaseMs, noVoteBeforeMs } = raft.config;
  if (leaseMs === 0) return false;
  if (raft.nowMs < raft.contactMs + leaseMs + leaseMs / 10) return true;
  return raft.nowMs < noVoteBeforeMs && !raft.neverLed;
}

/**
 * Whether a (pre-)vote request is passed over in silence, term and all: its sender should not get a leader
 * deposed that others follow.
 */
export function ignoresVote(raft: Raft, message: Message): boolean {
  if (message.transfer === true || message.term < raft.term) return false;
  if (raft.config.leaseMs > 0) {
    if (raft.role === "leader") {
      return message.term > raft.term && (raft.config.checkQuorum || raft.leaseHeld(raft.nowMs));
    }
    return inLeaderLease(raft);
  }
  if (message.term === raft.term || !raft.config.checkQuorum || raft.lead === 0) return false;
  return raft.electionElapsed < raft.config.electionTicks;
}

/** Answers a (pre-)vote request whose term is not below ours (a pre-vote's may be above). */
export function answerVote(raft: Raft, message: Message): void {
  const isPreVote = message.kind === "preVote";
  const free =
    raft.vote === message.from ||
    (raft.vote === 0 && raft.lead === 0) ||
    (isPreVote && message.term > raft.term);
  const kind = isPreVote ? "preVoteResponse" : "voteResponse";
  // Learners vote, too: one may be a voter already and not know it.
  if (free && raft.log.isUpToDate(message.index ?? 0, message.logTerm ?? 0)) {
    // The asked term, not ours: a pre-candidate is ahead of us and would drop an answer of the past.
    raft.send({ kind, to: message.from, term: message.term });
    if (isPreVote) return;
    raft.electionElapsed = 0;
    raft.vote = message.from;
  } else {
    rejectVote(raft, message);
  }
}

/** Rejects a (pre-)vote, and says what is committed, in case the asker has the entry and does not know. */
export function rejectVote(raft: Raft, message: Message): void {
  const kind = message.kind === "preVote" ? "preVoteResponse" : "voteResponse";
  const answer = { kind, to: message.from, term: raft.term, reject: true } as const;
  const commit = raft.log.committed;
  const logTerm = raft.config.commitInVotes === false ? undefined : raft.log.term(commit);
  raft.send(logTerm === undefined ? answer : { ...answer, commit, logTerm });
}

/**
 * Takes the commit index of a rejection, whatever its term: that an entry is committed stays true. Without
 * this a group can be stuck for good: the leader applies the end of a joint configuration, leaves it and
 * stops leading, and those who have the entry but have not heard of its commitment cannot win a vote, for
 * which they still ask the outgoing half.
 */
export function learnCommit(raft: Raft, { commit, logTerm, reject }: Message): void {
  if (reject !== true || commit === undefined || logTerm === undefined || raft.role === "leader") return;
  if (logTerm === 0 || commit <= raft.log.committed || raft.log.term(commit) !== logTerm) return;
  raft.log.commitTo(commit);
  // The configuration may change before the votes are counted.
  if (raft.role !== "follower" && hasUnappliedConfChange(raft)) raft.becomeFollower(raft.term, 0);
}
