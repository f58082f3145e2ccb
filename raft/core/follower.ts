import { campaignIfAllowed } from "./election.ts";
import type { Draft, Raft } from "./raft.ts";
import type { Message } from "./types.ts";

/** A follower takes a message of its own term. */
export function stepFollower(raft: Raft, message: Message): void {
  switch (message.kind) {
    case "append":
      raft.heardLeader(message.from);
      handleAppend(raft, message);
      return;
    case "heartbeat":
      raft.heardLeader(message.from);
      handleHeartbeat(raft, message);
      return;
    case "snapshot":
      raft.heardLeader(message.from);
      handleSnapshot(raft, message);
      return;
    case "transferLeader":
      if (raft.lead !== 0) raft.send({ kind: "transferLeader", to: raft.lead, index: message.index ?? 0 });
      return;
    case "timeoutNow":
      // Thesis 3.10. No pre-vote: the leader itself says that it is time.
      campaignIfAllowed(raft, "transfer");
      return;
    case "readIndexResponse":
      if (message.context !== undefined && message.index !== undefined) {
        raft.readStates.push({ context: message.context, index: message.index });
      }
      return;
    default:
  }
}

/** Answers the leader, with the send time of its message, for its leases (R17). */
function answer(raft: Raft, { sentAtMs }: Message, draft: Draft): void {
  if (sentAtMs !== undefined) draft.sentAtMs = sentAtMs;
  raft.send(draft);
}

/** Figure 2, AppendEntries, receiver. */
export function handleAppend(raft: Raft, message: Message): void {
  const previous = message.index ?? 0;
  const previousTerm = message.logTerm ?? 0;
  const entries = message.entries ?? [];
  // Entries that do not follow one another are no log; nothing a right leader sends.
  if (entries.some((entry, at) => entry.index !== previous + 1 + at)) return;
  const to = message.from;
  if (previous < raft.log.committed) {
    answer(raft, message, { kind: "appendResponse", to, index: raft.log.committed });
    return;
  }
  const lastNew = raft.log.maybeAppend(previous, previousTerm, entries, message.commit ?? 0);
  if (lastNew !== undefined) {
    answer(raft, message, { kind: "appendResponse", to, index: lastNew });
    return;
  }
  // Section 5.3, fast backtracking: the leader's terms up to `previous` are at most `previousTerm`, so the
  // logs cannot meet where ours is higher.
  const hint = raft.log.findConflictByTerm(Math.min(previous, raft.log.last), previousTerm);
  const rejection = { index: previous, reject: true, rejectHint: hint.index, logTerm: hint.term };
  answer(raft, message, { kind: "appendResponse", to, ...rejection });
}

export function handleHeartbeat(raft: Raft, message: Message): void {
  raft.log.commitTo(message.commit ?? 0);
  const response: Draft = { kind: "heartbeatResponse", to: message.from };
  if (message.context !== undefined) response.context = message.context;
  answer(raft, message, response);
}

export function handleSnapshot(raft: Raft, message: Message): void {
  const snapshot = message.snapshot;
  const restored = snapshot !== undefined && raft.restore(snapshot);
  raft.send({
    kind: "appendResponse",
    to: message.from,
    index: restored ? raft.log.last : raft.log.committed,
  });
}
