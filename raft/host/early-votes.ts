import type { GroupId, ReplicaId } from "#proto";
import type { Message } from "#raft/core";

/** Kept at most; beyond, the oldest go. They are retried by design. */
const keptMax = 256;
/** ms; an election has gone on by then. */
const keptMs = 1_000;

interface Vote {
  readonly group: GroupId;
  readonly message: Message;
}

/**
 * Vote requests for a split's child that this node has not applied yet: the parent's leader asks for them in
 * the same turn in which it says that the split is committed. Without them the child would wait for an
 * election timeout (TiKV keeps them likewise).
 */
export class EarlyVotes<T extends Vote> {
  #kept: { readonly vote: T; readonly atMs: number }[] = [];

  keep(vote: T, nowMs: number): void {
    const { kind } = vote.message;
    if (kind !== "vote" && kind !== "preVote") return;
    if (this.#kept.length >= keptMax) this.#kept.shift();
    this.#kept.push({ vote, atMs: nowMs });
  }

  /** Those for a replica that is there now. */
  take(group: GroupId, replica: ReplicaId, nowMs: number): T[] {
    if (this.#kept.length === 0) return [];
    const fresh = this.#kept.filter(({ atMs }) => nowMs - atMs < keptMs);
    const isFor = ({ vote }: { vote: T }): boolean => vote.group === group && vote.message.to === replica;
    this.#kept = fresh.filter((kept) => !isFor(kept));
    return fresh.filter(isFor).map(({ vote }) => vote);
  }
}
