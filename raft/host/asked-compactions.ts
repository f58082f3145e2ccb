import type { Batch } from "#storage";
import { heldBack } from "./compaction.ts";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

export type CompactDone = (compacted: boolean) => void;

interface Asked {
  /** Applied when it was asked for last: at the turn that carries it out the core has advanced past it. */
  to: number;
  readonly done: CompactDone[];
}

/**
 * Compactions that somebody asked for, whatever the logs' sizes: each log goes up to what was applied when it
 * was asked, as far as R9 allows, a slice a turn (R13). Only turns write to logs, or an older row of where a
 * log begins could be written behind a newer one.
 */
export class AskedCompactions {
  readonly #shared: Shared;
  readonly #asked = new Map<Group, Asked>();
  #written: CompactDone[] = [];

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  get pending(): boolean {
    return this.#asked.size > 0;
  }

  ask(group: Group, done: CompactDone): void {
    const asked = this.#asked.get(group) ?? { to: 0, done: [] };
    asked.to = group.log.applied.index;
    asked.done.push(done);
    this.#asked.set(group, asked);
    this.#shared.schedule();
  }

  /** Puts a slice of each into the turn's batch. */
  collect(batch: Batch): void {
    const { limits } = this.#shared;
    for (const [group, { to, done }] of this.#asked) {
      if (group.closed || group.installing) {
        this.#asked.delete(group);
        this.#answer(done, false);
        continue;
      }
      const target = heldBack(group, to, limits, (replica) => this.#shared.isLive(group, replica));
      if (group.log.compact(batch, target, limits.sliceRows) < target) continue;
      this.#asked.delete(group);
      this.#written.push(...done);
    }
  }

  /** The turn's batch is written. */
  settle(): void {
    const written = this.#written;
    this.#written = [];
    this.#answer(written, true);
  }

  /** The host stops: nobody is left waiting. */
  abandon(): void {
    for (const { done } of this.#asked.values()) this.#answer(done, false);
    this.#asked.clear();
    this.#answer(this.#written, false);
    this.#written = [];
  }

  #answer(done: readonly CompactDone[], compacted: boolean): void {
    for (const tell of done) this.#shared.answer(() => tell(compacted));
  }
}
