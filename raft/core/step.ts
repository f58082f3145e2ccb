import { unreachable } from "#runtime";
import { stepCandidate } from "./candidate.ts";
import { answerVote, campaignIfAllowed, ignoresVote, learnCommit, rejectVote } from "./election.ts";
import { stepFollower } from "./follower.ts";
import { onForwardedRead, stepLeader } from "./leader.ts";
import type { Raft } from "./raft.ts";
import type { Entry, Message, StepResult } from "./types.ts";

/** Answers only make sense from members. */
function isResponse(message: Message): boolean {
  switch (message.kind) {
    case "appendResponse":
    case "heartbeatResponse":
    case "voteResponse":
    case "preVoteResponse":
    case "readIndexResponse":
      return true;
    default:
      return false;
  }
}

/** Takes a message from another replica. */
export function receive(raft: Raft, message: Message): StepResult {
  if (message.to !== raft.id || message.from === raft.id) return "ignored";
  if (isResponse(message) && raft.peer(message.from) === undefined) return "ignored";
  switch (message.kind) {
    case "propose":
      // Proposals and reads are as good from an older or newer term: they do not speak for a leader.
      return propose(raft, message.entries ?? []);
    case "readIndex":
      return raft.role === "leader" ? onForwardedRead(raft, message) : "not_leader";
    case "forgetLeader":
      return "ignored";
    case "voteResponse":
    case "preVoteResponse":
      learnCommit(raft, message);
      return message.term > 0 ? stepMessage(raft, message) : "ignored";
    default:
      return message.term > 0 ? stepMessage(raft, message) : "ignored";
  }
}

/** Proposes here, forwards, or refuses. */
export function propose(raft: Raft, drafts: readonly Pick<Entry, "kind" | "data">[]): StepResult {
  if (drafts.length === 0) return "ignored";
  if (raft.role === "leader") return raft.propose(drafts);
  if (raft.lead === 0) return "no_leader";
  if (!raft.config.forwardProposals) return "not_leader";
  const entries = drafts.map(({ kind, data }) => ({ index: 0, term: 0, kind, data }));
  raft.send({ kind: "propose", to: raft.lead, term: 0, entries });
  return "ok";
}

/** Figure 2, rules for all servers, then the role's; also what this replica owes itself comes this way. */
export function stepMessage(raft: Raft, message: Message): StepResult {
  if (message.term > raft.term) {
    if (!meetNewerTerm(raft, message)) return "ignored";
  } else if (message.term < raft.term) {
    return answerOlderTerm(raft, message);
  } else if ((message.kind === "vote" || message.kind === "preVote") && ignoresVote(raft, message)) {
    return "ignored";
  }
  if (message.kind === "vote" || message.kind === "preVote") {
    answerVote(raft, message);
    return "ok";
  }
  switch (raft.role) {
    case "leader":
      stepLeader(raft, message);
      return "ok";
    case "candidate":
    case "preCandidate":
      stepCandidate(raft, message);
      return "ok";
    case "follower":
      stepFollower(raft, message);
      return "ok";
    default:
      return unreachable(raft.role);
  }
}

/** False: the message is passed over. */
function meetNewerTerm(raft: Raft, message: Message): boolean {
  switch (message.kind) {
    case "vote":
    case "preVote":
      forgetCampaigningLeader(raft, message);
      if (ignoresVote(raft, message)) return false;
      // A pre-vote never changes a term (thesis 9.6).
      if (message.kind === "vote") raft.becomeFollower(message.term, 0);
      return true;
    case "preVoteResponse":
      // Granted: of the term we asked for. Rejected: of a term that has begun without us.
      if (message.reject === true) raft.becomeFollower(message.term, 0);
      return true;
    case "append":
    case "heartbeat":
    case "snapshot":
      raft.becomeFollower(message.term, message.from);
      return true;
    default:
      raft.becomeFollower(message.term, 0);
      return true;
  }
}

/** R20: a leader that asks for votes in a later term leads no more, so it is nobody's leader here. */
function forgetCampaigningLeader(raft: Raft, message: Message): void {
  if (raft.config.leaseMs > 0 && raft.role === "follower" && raft.lead === message.from) raft.lead = 0;
}

function answerOlderTerm(raft: Raft, message: Message): StepResult {
  const { kind, from } = message;
  const { checkQuorum, preVote, leaseMs } = raft.config;
  if ((kind === "append" || kind === "heartbeat") && (checkQuorum || preVote || leaseMs > 0)) {
    // Our term moved on in a partition, and nobody hears our votes, whose leader is well: this answer moves
    // the leader's term on, so that we do not stay stuck.
    raft.send({ kind: "appendResponse", to: from, index: 0 });
    return "ok";
  }
  if (kind === "preVote") {
    // Else a candidate behind in its log but ahead of others in term could block both (etcd).
    rejectVote(raft, message);
    return "ok";
  }
  return "ignored";
}

export function tickFollower(raft: Raft): void {
  raft.electionElapsed++;
  if (!raft.promotable || raft.electionElapsed < raft.electionTimeout) return;
  raft.electionElapsed = 0;
  campaignIfAllowed(raft, raft.config.preVote ? "preVote" : "vote");
}
