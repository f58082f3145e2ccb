import { type GroupId, groupRow, metaTags, type ReplicaId } from "#proto";
import type { Batch, Range } from "#storage";
import { clearSlice } from "./clearing.ts";
import { rowRange, subtract } from "./ranges.ts";
import { appliedRow, raftBounds, type readReplica, replicaRow, replicaValue } from "./rows.ts";
import type { Shared } from "./shared.ts";
import { inSlices } from "./slices.ts";
import { installedRanges, markRow, stagingRange } from "./snapshot-receive.ts";

/** What a replica has apart from its state machine's rows. */
function ownRanges(group: GroupId): Range[] {
  const log: Range = { family: "raft", ...raftBounds(group) };
  return [log, rowRange("meta", markRow(group)), stagingRange(group), rowRange("meta", appliedRow(group))];
}

interface Grave {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  /** What is left to clear; also in the tombstone, so that a crash in between leaves no rows behind. */
  readonly ranges: Range[];
  readonly spared: readonly Range[];
  readonly waiting: (() => void)[];
}

/**
 * Replicas that leave for good. The tombstone goes in a turn's synced batch, behind every write under way for
 * the replica; only then its rows go, slice by slice (R34, R13), clipped to what no live replica holds. Until
 * they are gone no other replica of the group is made here: it would find the log and votes of the dead one.
 */
export class Graveyard {
  readonly #shared: Shared;
  readonly #graves: Map<GroupId, Grave> = new Map();
  #unwritten: Grave[] = [];

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  has(group: GroupId): boolean {
    return this.#graves.has(group);
  }

  get anyUnwritten(): boolean {
    return this.#unwritten.length > 0;
  }

  /** Runs `then` when the rows are gone; at once when they are. */
  whenCleared(group: GroupId, then: () => void): void {
    const grave = this.#graves.get(group);
    if (grave === undefined) then();
    else grave.waiting.push(then);
  }

  /** @param spared - what an install that goes into the same batch clears itself, and then fills */
  bury(
    group: GroupId,
    replica: ReplicaId,
    machineRanges: readonly Range[],
    done: () => void,
    spared: readonly Range[] = [],
  ): void {
    const grave: Grave = { group, replica, ranges: [...machineRanges], spared, waiting: [done] };
    this.#graves.set(group, grave);
    this.#unwritten.push(grave);
    this.#shared.schedule();
  }

  /**
   * Puts the tombstone in `tx`, which is about to be written, synced or not: whatever survives of the clearing
   * that follows, the tombstone and what came with it survive too.
   */
  buryIn(tx: Pick<Batch, "put">, group: GroupId, replica: ReplicaId, leftover: readonly Range[]): void {
    const ranges = [...leftover, ...ownRanges(group)];
    tx.put("meta", replicaRow(group), replicaValue({ replica, state: "tombstone", ranges }));
    this.resume(group, { replica, state: "tombstone", ranges });
  }

  /** Puts the tombstones in the turn's batch, which must then be synced. */
  collect(batch: Batch): readonly Grave[] {
    const graves = this.#unwritten;
    this.#unwritten = [];
    const { engine } = this.#shared.options;
    for (const { group, replica, ranges, spared } of graves) {
      // Read only now that every write of the replica is in the engine: an install may have been under way.
      const left = [...ranges, ...installedRanges(engine, group), ...ownRanges(group)];
      ranges.splice(0, ranges.length, ...left.flatMap((range) => subtract(range, spared)));
      batch.put("meta", replicaRow(group), replicaValue({ replica, state: "tombstone", ranges }));
    }
    return graves;
  }

  /** The tombstones are durable. */
  written(graves: readonly Grave[]): void {
    for (const grave of graves) this.#clearAll(grave);
  }

  /** A tombstone found at the start whose rows may not all be gone. */
  resume(group: GroupId, record: ReturnType<typeof readReplica>): void {
    if (record.ranges === undefined) return;
    const grave: Grave = {
      group,
      replica: record.replica,
      ranges: [...record.ranges],
      spared: [],
      waiting: [],
    };
    this.#graves.set(group, grave);
    this.#shared.options.clock.soon(() => this.#shared.guarded(() => this.#clearAll(grave)));
  }

  /** Whether rows of a dead replica lie there that are still to be cleared. */
  rangesLeft(): Range[] {
    return [...this.#graves.values()].flatMap((grave) => grave.ranges);
  }

  #clearAll(grave: Grave): void {
    inSlices(this.#shared, () => this.#clear(grave));
  }

  /** One slice. @returns whether more is left */
  #clear(grave: Grave): boolean {
    const batch = this.#shared.options.engine.batch();
    const more = grave.ranges.length > 0;
    if (!more) this.#cleared(grave, batch);
    else {
      clearSlice(this.#shared, grave.ranges, batch);
      if (batch.size > 0) this.#shared.writeUnsynced(batch);
    }
    return more;
  }

  #cleared({ group, replica, waiting }: Grave, batch: Batch): void {
    batch.put("meta", replicaRow(group), replicaValue({ replica, state: "tombstone" }));
    this.#shared.writeUnsynced(batch);
    this.#graves.delete(group);
    for (const then of waiting) this.#shared.answer(then);
    this.#shared.schedule();
  }
}

/** All replica records of a node. */
export const replicaRecords: Range = {
  family: "meta",
  start: groupRow(metaTags.hostReplica, 0),
  end: groupRow(metaTags.hostReplica + 1, 0),
};
