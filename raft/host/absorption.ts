import type { GroupId } from "#proto";
import { invariant } from "#runtime";
import type { OverlayBatch } from "#storage";
import type { applyEntries } from "./apply.ts";
import type { Births } from "./births.ts";
import type { Group } from "./group.ts";
import type { Replicas } from "./replicas.ts";
import type { Shared } from "./shared.ts";
import { installer } from "./snapshot-receive.ts";
import type { Absorb } from "./types.ts";

/**
 * Ends replicas of groups that others take over: by an entry of the other's log, in the batch that applies it,
 * or under a snapshot of the other.
 */
export class Absorption {
  readonly #shared: Shared;
  readonly #replicas: Replicas;
  readonly #births: Births;
  readonly #apply: typeof applyEntries;
  readonly #close: (group: Group) => void;

  /** @param close - tells who waits for the replica, and stops its snapshots */
  constructor(
    shared: Shared,
    parts: {
      readonly replicas: Replicas;
      readonly births: Births;
      readonly apply: typeof applyEntries;
      readonly close: (group: Group) => void;
    },
  ) {
    this.#shared = shared;
    this.#replicas = parts.replicas;
    this.#births = parts.births;
    this.#apply = parts.apply;
    this.#close = parts.close;
  }

  /** For the entries applied into `tx`. */
  into(tx: OverlayBatch): Absorb {
    return (id, at, leftover) => {
      const group = this.#shared.groups.get(id);
      invariant(group !== undefined, `group ${id} is to be absorbed and is not here`);
      this.#finishInstall(group);
      this.#catchUp(group, at, tx);
      this.#replicas.giveUp(group, leftover, tx);
      this.#close(group);
    };
  }

  /** The mark is durable and the chunks are there: what is left to do depends on nothing else (R4). */
  #finishInstall(group: Group): void {
    if (!group.installing) return;
    const { engine, limits } = this.#shared.options;
    const next = installer(engine, group.group, limits.sliceRows, (batch) =>
      this.#shared.writeUnsynced(batch),
    );
    while (next()) if (this.#shared.stopped) return;
    group.installing = false;
    group.machine.load();
  }

  /** Every replica holds the log up to there, and it is committed, whatever this one has heard of that. */
  #catchUp(group: Group, { index, term }: { index: number; term: number }, tx: OverlayBatch): void {
    const { log, group: id } = group;
    const from = log.applied.index + 1;
    if (from > index) return;
    invariant(
      log.lastIndex() >= index && log.term(index) === term,
      `group ${id}: entry ${index} is not here`,
    );
    const entries = log.entries(from, index + 1, Number.MAX_SAFE_INTEGER);
    invariant(entries !== undefined, `group ${id}: entries from ${from} are not here`);
    this.#apply(this.#shared, group, entries, tx, this.#births, this);
  }

  /**
   * A snapshot of `group` is about to be installed: what ended in it ends here too, in the same batch, and
   * leaves to the install what that will clear.
   */
  under(group: Group, absorbed: readonly GroupId[], ranges: Parameters<Replicas["buryUnder"]>[1]): void {
    for (const id of absorbed) {
      const ended = this.#shared.groups.get(id);
      // One that is being installed itself, and so lies elsewhere, goes when placement says so.
      if (ended === undefined || ended === group || ended.installing) continue;
      this.#replicas.buryUnder(ended, ranges);
      this.#close(ended);
    }
  }
}
