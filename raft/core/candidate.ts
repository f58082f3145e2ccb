import { campaign } from "./election.ts";
import { handleAppend, handleHeartbeat, handleSnapshot } from "./follower.ts";
import type { Raft } from "./raft.ts";
import type { Message } from "./types.ts";

/** A candidate or pre-candidate takes a message of its own term (a pre-vote's answer: of the next one). */
export function stepCandidate(raft: Raft, message: Message): void {
  switch (message.kind) {
    case "append":
    case "heartbeat":
    case "snapshot":
      // Section 5.2: another was elected in this term.
      raft.becomeFollower(message.term, message.from);
      raft.heardLeader(message.from);
      if (message.kind === "append") handleAppend(raft, message);
      else if (message.kind === "heartbeat") handleHeartbeat(raft, message);
      else handleSnapshot(raft, message);
      return;
    case "preVoteResponse":
      if (raft.role === "preCandidate") countVote(raft, message);
      return;
    case "voteResponse":
      if (raft.role === "candidate") countVote(raft, message);
      return;
    default:
  }
}

function countVote(raft: Raft, message: Message): void {
  if (!raft.votes.has(message.from)) raft.votes.set(message.from, message.reject !== true);
  switch (raft.voteOutcome()) {
    case "won":
      if (raft.role === "preCandidate") {
        campaign(raft, "vote");
      } else {
        raft.becomeLeader();
        raft.broadcastAppend();
      }
      return;
    case "lost":
      raft.becomeFollower(raft.term, 0);
      return;
    case "pending":
  }
}
