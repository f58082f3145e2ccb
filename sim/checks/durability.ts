import type { GroupId, ReplicaId } from "#proto";
import type { ConfState, HardState } from "#raft/core";
import { entryOf } from "./entry-of.ts";
import { Violation } from "./violation.ts";

/** What of one replica is known to have been durable, ever. */
interface DurableLog {
  /** Terms that were durable at an index, oldest first; almost always one. */
  readonly terms: Map<number, number | number[]>;
  /** Everything up to here came with a snapshot or was compacted. */
  truncated: number;
  readonly votes: Map<number, ReplicaId>;
  hardState: HardState;
}

/**
 * R2: nothing is said before it is on disk, and nothing counts before. Acknowledgements and votes are compared
 * with what their sender's disk has synced when they arrive; a leader's commit with the disks of its voters
 * when it moves. Over restarts, term and vote never go back, commit never below applied.
 */
export class Durability {
  readonly #logs = new Map<GroupId, Map<ReplicaId, DurableLog>>();
  readonly #disks = new Map<GroupId, Map<ReplicaId, string>>();

  /** A replica is opened on a disk. R1, R34: an id is never seen on another. */
  opened(group: GroupId, replica: ReplicaId, disk: string): void {
    const disks = entryOf(this.#disks, group, () => new Map<ReplicaId, string>());
    const other = disks.get(replica);
    if (other === undefined) disks.set(replica, disk);
    else if (other !== disk) {
      throw new Violation(
        "replica ids",
        `group ${group} replica ${replica} is on ${disk}, and was on ${other}`,
      );
    }
  }

  entrySynced(group: GroupId, replica: ReplicaId, index: number, term: number): void {
    const { terms } = this.#log(group, replica);
    const known = terms.get(index);
    if (known === undefined) terms.set(index, term);
    else if (typeof known !== "number") {
      if (!known.includes(term)) known.push(term);
    } else if (known !== term) terms.set(index, [known, term]);
  }

  /**
   * A split's child begins at `index`. Its first state need not be synced: the parent's entry is, and a restart
   * that lost the child applies that again (R5).
   */
  born(group: GroupId, replica: ReplicaId, index: number): void {
    this.truncatedSynced(group, replica, index);
  }

  truncatedSynced(group: GroupId, replica: ReplicaId, index: number): void {
    const log = this.#log(group, replica);
    log.truncated = Math.max(log.truncated, index);
  }

  hardStateSynced(group: GroupId, replica: ReplicaId, next: HardState): void {
    const log = this.#log(group, replica);
    const before = log.hardState;
    const isVoteChanged = next.term === before.term && before.vote !== 0 && next.vote !== before.vote;
    if (next.term < before.term || isVoteChanged) {
      throw new Violation(
        "term and vote",
        `group ${group} replica ${replica}: term ${before.term} vote ${before.vote} became term ${next.term} vote ${next.vote}`,
      );
    }
    log.hardState = next;
    if (next.vote !== 0) log.votes.set(next.term, next.vote);
  }

  /** A restart read this: never behind what was synced. */
  recovered(group: GroupId, replica: ReplicaId, state: HardState, applied: number): void {
    const before = this.#log(group, replica).hardState;
    const isVoteLost = state.term === before.term && before.vote !== 0 && state.vote !== before.vote;
    if (state.term < before.term || isVoteLost) {
      throw new Violation(
        "term and vote",
        `group ${group} replica ${replica} had synced term ${before.term} vote ${before.vote}, and came back with term ${state.term} vote ${state.vote}`,
      );
    }
    if (state.commit < applied) {
      throw new Violation(
        "index order",
        `group ${group} replica ${replica} came back with commit ${state.commit} below applied ${applied}`,
      );
    }
  }

  /** `replica` says that its log agrees up to `index`; `term` of that entry where the asker knows it. */
  acknowledged(group: GroupId, replica: ReplicaId, index: number, term: number | undefined): void {
    if (index === 0 || this.#holds(group, replica, index, term)) return;
    throw new Violation(
      "durable before acknowledged",
      `group ${group} replica ${replica}: entry ${index} (R2)`,
    );
  }

  voted(group: GroupId, replica: ReplicaId, term: number, candidate: ReplicaId): void {
    if (this.#disks.get(group)?.has(replica) !== true) return;
    const { hardState, votes } = this.#log(group, replica);
    // On disk in a later term it cannot vote in this one again, so the vote itself need not be there.
    if (votes.get(term) === candidate || hardState.term > term) return;
    throw new Violation(
      "durable before acknowledged",
      `group ${group} replica ${replica}: vote of term ${term} (R2)`,
    );
  }

  /** A leader moved its commit to `index`, an entry of its own term. */
  commitMoved(group: GroupId, index: number, term: number, conf: ConfState): void {
    for (const half of [conf.voters, conf.outgoing]) {
      if (half.length === 0) continue;
      const holders = half.filter((replica) => this.#holds(group, replica, index, term)).length;
      if (holders * 2 > half.length) continue;
      throw new Violation(
        "commit needs a quorum of disks",
        `group ${group}: entry ${index} of term ${term} is durable on ${holders} of ${half.length} voters`,
      );
    }
  }

  /** Whether anything of the group was ever durable there: entries, a snapshot, a first state. */
  hasState(group: GroupId, replica: ReplicaId): boolean {
    const { terms, truncated } = this.#log(group, replica);
    return truncated > 0 || terms.size > 0;
  }

  #holds(group: GroupId, replica: ReplicaId, index: number, term: number | undefined): boolean {
    // Nobody opened it: only made-up messages could speak for it, and those have other tests.
    if (this.#disks.get(group)?.has(replica) !== true) return true;
    const log = this.#log(group, replica);
    if (index <= log.truncated) return true;
    const known = log.terms.get(index);
    if (known === undefined) return false;
    return term === undefined || known === term || (typeof known !== "number" && known.includes(term));
  }

  #log(group: GroupId, replica: ReplicaId): DurableLog {
    const replicas = entryOf(this.#logs, group, () => new Map<ReplicaId, DurableLog>());
    return entryOf(replicas, replica, emptyLog);
  }
}

function emptyLog(): DurableLog {
  return { terms: new Map(), truncated: 0, votes: new Map(), hardState: { term: 0, vote: 0, commit: 0 } };
}
