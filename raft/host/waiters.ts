import type { ProposeOutcome } from "./types.ts";

export type ProposeDone = (outcome: ProposeOutcome) => void;

/** Who waits for one entry: a callback per command, or one for a configuration change. */
export interface EntryWaiter {
  readonly index: number;
  readonly term: number;
  readonly done: readonly ProposeDone[];
}

/** What has become of waiters by an entry's being applied. */
export interface Settled {
  /** The entry applied is theirs. */
  readonly applied: EntryWaiter | undefined;
  /** Theirs can never be committed now. */
  readonly dropped: readonly EntryWaiter[];
}

const none: readonly EntryWaiter[] = [];

/**
 * Entries this replica appended as leader whose fate is open. A later leadership of the same replica may
 * append at the same index again while the older entry still lives on another node and may yet win, so an
 * index can have several waiters, and only an applied entry decides.
 */
export class Waiters {
  readonly #byIndex: Map<number, EntryWaiter[]> = new Map();
  /** At most the lowest term among those that wait. */
  #oldestTerm = Number.POSITIVE_INFINITY;

  get size(): number {
    return this.#byIndex.size;
  }

  add(waiter: EntryWaiter): void {
    const there = this.#byIndex.get(waiter.index);
    if (there === undefined) this.#byIndex.set(waiter.index, [waiter]);
    else there.push(waiter);
    this.#oldestTerm = Math.min(this.#oldestTerm, waiter.term);
  }

  /**
   * The entry of `term` at `index` is applied here; called for every entry. Terms never fall along a log, so
   * behind a committed entry of `term` none of an older term can come: those who wait for one, at this index
   * or a later, need not wait until the log has grown that far again.
   */
  settle(index: number, term: number): Settled {
    if (this.#byIndex.size === 0) return { applied: undefined, dropped: none };
    const dropped = this.#oldestTerm < term ? this.#takeOlderThan(term) : [];
    const here = this.#byIndex.get(index);
    if (here === undefined) return { applied: undefined, dropped };
    this.#byIndex.delete(index);
    const applied = here.find((waiter) => waiter.term === term);
    for (const waiter of here) if (waiter !== applied) dropped.push(waiter);
    return { applied, dropped };
  }

  /** A snapshot stands for all up to `index`: what was applied on the way cannot be told here any more. */
  jump(index: number, term: number): { readonly unknown: EntryWaiter[]; readonly dropped: EntryWaiter[] } {
    const unknown: EntryWaiter[] = [];
    for (const [at, waiters] of this.#byIndex) {
      if (at > index) continue;
      unknown.push(...waiters);
      this.#byIndex.delete(at);
    }
    return { unknown, dropped: this.#takeOlderThan(term) };
  }

  takeAll(): EntryWaiter[] {
    const all = [...this.#byIndex.values()].flat();
    this.#byIndex.clear();
    this.#oldestTerm = Number.POSITIVE_INFINITY;
    return all;
  }

  #takeOlderThan(term: number): EntryWaiter[] {
    const older: EntryWaiter[] = [];
    let oldest = Number.POSITIVE_INFINITY;
    for (const [at, waiters] of this.#byIndex) {
      const kept = waiters.filter((waiter) => waiter.term >= term);
      for (const waiter of waiters) if (waiter.term < term) older.push(waiter);
      for (const waiter of kept) oldest = Math.min(oldest, waiter.term);
      if (kept.length === 0) this.#byIndex.delete(at);
      else this.#byIndex.set(at, kept);
    }
    this.#oldestTerm = oldest;
    return older;
  }
}
