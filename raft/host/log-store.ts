import type { GroupId } from "#proto";
import {
  type ConfState,
  type Entry,
  entryBytes,
  type HardState,
  type LogReader,
  type SnapshotMeta,
} from "#raft/core";
import { invariant } from "#runtime";
import type { Batch, Engine, Range } from "#storage";
import {
  type Applied,
  appliedRow,
  entryRow,
  entryValue,
  hardStateRow,
  hardStateValue,
  indexOfEntryRow,
  readApplied,
  readEntry,
  readHardState,
  readTruncated,
  type Truncated,
  truncatedRow,
  truncatedValue,
} from "./rows.ts";

const noConf: ConfState = { voters: [], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
const nothing: Truncated = { index: 0, term: 0 };

/** Entries kept in memory behind the last one, so that followers in step are fed without a read. */
const cacheBytesMax = 512 * 1024;

/**
 * One group's log and hard state in the `raft` family. Changes go into the caller's batch; reads see them
 * only after `stable`, because a batch is not in the engine before it is written.
 */
export class LogStore implements LogReader {
  readonly #engine: Engine;
  readonly #group: GroupId;
  #truncated: Truncated;
  #last: number;
  #lastTerm: number;
  #hardState: HardState;
  /** The lowest entry that may change the membership and is not known on disk to be committed; 0: none. */
  #openConf = 0;
  #lastConf = 0;
  #applied: Applied;
  /** A dense run of entries that ends at #last, or nothing. */
  #cache: Entry[] = [];
  #cacheBytes = 0;
  /** Bytes of log rows, roughly: estimated when first asked for, then counted. */
  #bytes: number | undefined;
  /** Rows at or below #truncated that a snapshot jumped over and that may still be there: [from, to]. */
  #left: { from: number; readonly to: number } | undefined;

  constructor(engine: Engine, group: GroupId) {
    this.#engine = engine;
    this.#group = group;
    const applied = engine.get("meta", appliedRow(group));
    const truncated = engine.get("raft", truncatedRow(group));
    const hardState = engine.get("raft", hardStateRow(group));
    this.#applied = applied === undefined ? { ...nothing, conf: noConf } : readApplied(applied);
    this.#truncated = truncated === undefined ? nothing : readTruncated(truncated);
    const stored = hardState === undefined ? { term: 0, vote: 0, commit: 0 } : readHardState(hardState);
    // The applied row is written unsynced behind entries that were durable on a quorum: what it covers is
    // committed, though the commit index in the hard state may be older.
    this.#hardState = { ...stored, commit: Math.max(stored.commit, this.#applied.index) };
    const last = this.#findLast();
    this.#last = last?.index ?? this.#truncated.index;
    this.#lastTerm = last?.term ?? this.#truncated.term;
    // Not read to see whether there is one: a row more, once, costs less.
    if (this.#last > this.#hardState.commit) this.#openConf = this.#hardState.commit + 1;
    this.#lastConf = this.#openConf === 0 ? 0 : this.#last;
    this.#left = this.#findLeft();
    invariant(this.#applied.index <= this.#last, `group ${group}: applied beyond the log`);
    invariant(this.#applied.index >= this.#truncated.index, `group ${group}: compacted beyond applied`);
  }

  #rows(low: number, high: number): Range {
    return { family: "raft", start: entryRow(this.#group, low), end: entryRow(this.#group, high) };
  }

  #findLast(): Entry | undefined {
    const behind = this.#rows(this.#truncated.index + 1, Number.MAX_SAFE_INTEGER);
    const { rows } = this.#engine.scan(behind, { limit: 1, reverse: true });
    const [key, value] = rows;
    return key === undefined || value === undefined ? undefined : readEntry(indexOfEntryRow(key), value);
  }

  #findLeft(): { from: number; readonly to: number } | undefined {
    const before = this.#rows(0, this.#truncated.index + 1);
    const [first] = this.#engine.scan(before, { limit: 1 }).rows;
    const [last] = this.#engine.scan(before, { limit: 1, reverse: true }).rows;
    if (first === undefined || last === undefined) return undefined;
    return { from: indexOfEntryRow(first), to: indexOfEntryRow(last) };
  }

  initialState(): { hardState: HardState; conf: ConfState } {
    return { hardState: this.#hardState, conf: this.#applied.conf };
  }

  get applied(): Applied {
    return this.#applied;
  }

  /** The state machine's rows up to here are in the batch that carries `appliedRow`. */
  setApplied(applied: Applied): void {
    this.#applied = applied;
  }

  /** Bytes of log rows, roughly. */
  get bytes(): number {
    // Not at the opening: a node opens thousands of groups, most of which sleep.
    this.#bytes ??= this.#engine.approximateSize(this.#rows(0, Number.MAX_SAFE_INTEGER)).bytes;
    return this.#bytes;
  }

  firstIndex(): number {
    return this.#truncated.index + 1;
  }

  lastIndex(): number {
    return this.#last;
  }

  term(index: number): number | undefined {
    if (index === this.#last) return this.#lastTerm;
    if (index === this.#truncated.index) return this.#truncated.term;
    if (index < this.#truncated.index || index > this.#last) return undefined;
    const cached = this.#cache[index - this.#cacheFirst()];
    if (cached !== undefined) return cached.term;
    const value = this.#engine.get("raft", entryRow(this.#group, index));
    invariant(value !== undefined, `group ${this.#group}: entry ${index} is missing`);
    return readEntry(index, value).term;
  }

  entries(low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
    if (low <= this.#truncated.index) return undefined;
    const first = this.#cacheFirst();
    const source =
      low >= first ? this.#cache.slice(low - first, high - first) : this.#read(low, high, maxBytes);
    return withinBytes(source, maxBytes);
  }

  #read(low: number, high: number, maxBytes: number): Entry[] {
    const { rows } = this.#engine.scan(this.#rows(low, high), { limit: high - low, maxBytes: maxBytes + 1 });
    const entries: Entry[] = [];
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const index = indexOfEntryRow(rows[i] ?? new Uint8Array(0));
      invariant(index === low + i / 2, `group ${this.#group}: entry ${low + i / 2} is missing`);
      entries.push(readEntry(index, rows[i + 1] ?? new Uint8Array(0)));
    }
    return entries;
  }

  /** The state as applied now: the host opens its cursors in the same turn (R4). */
  snapshot(): SnapshotMeta | undefined {
    const { index, term, conf } = this.#applied;
    return index === 0 ? undefined : { index, term, conf };
  }

  #cacheFirst(): number {
    return this.#last + 1 - this.#cache.length;
  }

  setHardState(batch: Batch, state: HardState): void {
    const { term, vote } = this.#hardState;
    this.#hardState = state;
    // A commit index alone is not worth a row: it may go back over a restart, and never goes below the
    // applied index, which is kept with the state (R38). One that passes a membership change is (R10).
    const passesConf = this.#openConf !== 0 && state.commit >= this.#openConf;
    if (state.term === term && state.vote === vote && !passesConf) return;
    if (passesConf) this.#openConf = state.commit < this.#lastConf ? state.commit + 1 : 0;
    batch.put("raft", hardStateRow(this.#group), hardStateValue(state));
  }

  /** Replaces everything from the first entry's index on; what it cuts off goes in the same batch (R3). */
  append(batch: Batch, entries: readonly Entry[]): void {
    const first = entries[0];
    const last = entries[entries.length - 1];
    if (first === undefined || last === undefined) return;
    invariant(first.index > this.#truncated.index, `group ${this.#group}: append into the compacted log`);
    invariant(first.index <= this.#last + 1, `group ${this.#group}: append leaves a gap`);
    for (let index = last.index + 1; index <= this.#last; index++) {
      batch.delete("raft", entryRow(this.#group, index));
    }
    for (const entry of entries) {
      if (entry.kind === "conf") {
        if (this.#openConf === 0) this.#openConf = entry.index;
        this.#lastConf = entry.index;
      }
      const value = entryValue(entry);
      if (this.#bytes !== undefined) this.#bytes += value.length + 17;
      batch.put("raft", entryRow(this.#group, entry.index), value);
    }
    this.#extendCache(first.index, entries);
    this.#last = last.index;
    this.#lastTerm = last.term;
  }

  #extendCache(firstIndex: number, entries: readonly Entry[]): void {
    const keep = firstIndex - this.#cacheFirst();
    if (keep < 0) this.dropCache();
    else while (this.#cache.length > keep) this.#cacheBytes -= cachedBytes(this.#cache.pop());
    for (const entry of entries) {
      this.#cache.push(entry);
      this.#cacheBytes += cachedBytes(entry);
    }
    if (this.#cacheBytes > cacheBytesMax) this.#trimCache();
  }

  /** Drops the older half: amortised, so that no append pays for shifting one by one. */
  #trimCache(): void {
    this.#keepCacheFrom(this.#cacheFirst() + (this.#cache.length >> 1));
  }

  #keepCacheFrom(index: number): void {
    const drop = index - this.#cacheFirst();
    if (drop <= 0) return;
    this.#cache = this.#cache.slice(drop);
    this.#cacheBytes = this.#cache.reduce((sum, entry) => sum + cachedBytes(entry), 0);
  }

  /** An idle group keeps nothing in memory but where its log begins and ends. */
  dropCache(): void {
    this.#cache = [];
    this.#cacheBytes = 0;
  }

  /** Forgets up to `index`, at most `rowsMax` rows at a time (R13). @returns the new first index − 1 */
  compact(batch: Batch, index: number, rowsMax: number): number {
    const to = Math.min(index, this.#truncated.index + rowsMax);
    invariant(to <= this.#applied.index, `group ${this.#group}: compaction beyond applied`);
    if (to <= this.#truncated.index) return this.#truncated.index;
    const term = this.term(to);
    invariant(term !== undefined, `group ${this.#group}: compaction beyond the log`);
    const from = this.#truncated.index;
    for (let at = from + 1; at <= to; at++) batch.delete("raft", entryRow(this.#group, at));
    this.#bytes = this.bytes - (this.bytes * (to - from)) / (this.#last - from);
    this.#truncated = { index: to, term };
    batch.put("raft", truncatedRow(this.#group), truncatedValue(this.#truncated));
    this.#keepCacheFrom(to + 1);
    return to;
  }

  /** Whether rows are left that `sweep` has to take away. */
  get needsSweep(): boolean {
    return this.#left !== undefined;
  }

  /** Takes away up to `rowsMax` rows that a snapshot jumped over; nobody reads them. */
  sweep(batch: Batch, rowsMax: number): void {
    const left = this.#left;
    if (left === undefined) return;
    const end = Math.min(left.from + rowsMax, left.to + 1);
    for (; left.from < end; left.from++) batch.delete("raft", entryRow(this.#group, left.from));
    if (left.from > left.to) this.#left = undefined;
  }

  /**
   * The whole log gives way to a snapshot; its state machine rows follow behind a durable mark (R4). Rows
   * behind the snapshot's index go with it, or they would pass for its continuation (R3); those before it are
   * out of sight and go later, in slices (R13).
   */
  reset(batch: Batch, meta: SnapshotMeta): void {
    for (let at = meta.index + 1; at <= this.#last; at++) batch.delete("raft", entryRow(this.#group, at));
    const from = this.#left?.from ?? this.#truncated.index + 1;
    const to = Math.min(this.#last, meta.index);
    this.#left = from <= to ? { from, to } : undefined;
    this.#truncated = { index: meta.index, term: meta.term };
    batch.put("raft", truncatedRow(this.#group), truncatedValue(this.#truncated));
    this.#last = meta.index;
    this.#lastTerm = meta.term;
    this.#applied = { index: meta.index, term: meta.term, conf: meta.conf };
    this.#bytes = 0;
    this.dropCache();
  }
}

function withinBytes(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  let bytes = 0;
  for (const [i, entry] of entries.entries()) {
    bytes += entryBytes(entry);
    if (i > 0 && bytes > maxBytes) return entries.slice(0, i);
  }
  return entries;
}

/** What an entry costs in memory, roughly. */
function cachedBytes(entry: Entry | undefined): number {
  return entry === undefined ? 0 : entry.data.length + 64;
}

/** Writes the fixed first state of a replica made by order or by split (R5). */
export function writeFirstState(
  batch: Batch,
  group: GroupId,
  first: { readonly index: number; readonly term: number; readonly conf: ConfState },
): void {
  batch.put("raft", hardStateRow(group), hardStateValue({ term: first.term, vote: 0, commit: first.index }));
  writeTruncated(batch, group, first);
}

/** The log of a replica that is there already begins behind `first` from now on: it had none (R5). */
export function writeTruncated(batch: Pick<Batch, "put">, group: GroupId, first: Truncated): void {
  batch.put("raft", truncatedRow(group), truncatedValue(first));
}
