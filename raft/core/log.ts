import { invariant } from "#runtime";
import { type Entry, entryBytes, type LogReader, type SnapshotMeta } from "./types.ts";

/** Stable entries kept in memory besides: those not applied yet, up to so many bytes. */
const TAIL_BYTES = 1 << 20;

const noEntries: readonly Entry[] = [];

/**
 * The log as the algorithm sees it: what the host has stored, continued by a tail in memory. The tail holds
 * what is not yet stable, and of the stable entries those not yet applied, so that the usual way of an entry
 * (propose, send, commit, apply) never reads the store.
 *
 *     stored …… | tail[0] = base …… | unstableFrom …… | inProgressTo …… last
 *                 stable, unapplied   being written     not handed out
 */
export class RaftLog {
  readonly #storage: LogReader;
  readonly #maxApplyingBytes: number;
  #base: number;
  #baseTerm: number;
  #tail: Entry[] = [];
  #tailBytes = 0;
  #unstableFrom: number;
  #inProgressTo: number;
  #snapshot: SnapshotMeta | undefined;
  #snapshotInProgress = false;
  #last: number;
  #committed: number;
  #applying: number;
  #applied: number;
  #applyingBytes = 0;
  #applyingPaused = false;

  constructor(storage: LogReader, maxApplyingBytes: number) {
    this.#storage = storage;
    this.#maxApplyingBytes = maxApplyingBytes;
    this.#last = storage.lastIndex();
    this.#base = this.#last + 1;
    this.#unstableFrom = this.#base;
    this.#inProgressTo = this.#base;
    const compacted = storage.firstIndex() - 1;
    this.#committed = compacted;
    this.#applying = compacted;
    this.#applied = compacted;
    this.#baseTerm = storage.term(this.#last) ?? 0;
  }

  get last(): number {
    return this.#last;
  }

  get committed(): number {
    return this.#committed;
  }

  get applied(): number {
    return this.#applied;
  }

  /** Last index that is durable here, as far as the core has been told. */
  get stable(): number {
    return this.#unstableFrom - 1;
  }

  firstIndex(): number {
    return this.#snapshot ? this.#snapshot.index + 1 : this.#storage.firstIndex();
  }

  lastTerm(): number {
    return this.term(this.#last) ?? 0;
  }

  /** Term of `index`; undefined when compacted away or beyond the end. */
  term(index: number): number | undefined {
    if (index >= this.#base) return this.#tail[index - this.#base]?.term;
    if (index === this.#base - 1 && this.#baseTerm > 0) return this.#baseTerm;
    if (this.#snapshot?.index === index) return this.#snapshot.term;
    if (index + 1 < this.firstIndex()) return undefined;
    return this.#storage.term(index);
  }

  matches(index: number, term: number): boolean {
    return this.term(index) === term;
  }

  /** Section 5.4.1: the log with the later last term, or at the same term the longer one. */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    const own = this.lastTerm();
    return lastTerm > own || (lastTerm === own && lastIndex >= this.#last);
  }

  /**
   * Section 5.3, receiver: appends `entries` behind (`previous`, `previousTerm`) and commits up to `commit`.
   * @returns the last index now known to agree with the sender; undefined when the logs do not meet there
   */
  maybeAppend(
    previous: number,
    previousTerm: number,
    entries: readonly Entry[],
    commit: number,
  ): number | undefined {
    if (!this.matches(previous, previousTerm)) return undefined;
    const lastNew = previous + entries.length;
    const from = this.#firstNew(entries);
    if (from >= 0) this.append(from === 0 ? entries : entries.slice(from));
    this.commitTo(Math.min(commit, lastNew));
    return lastNew;
  }

  /** Position of the first entry that is not in this log as it is; −1 when all are. */
  #firstNew(entries: readonly Entry[]): number {
    for (let at = 0; at < entries.length; at++) {
      const entry = entries[at] as Entry;
      if (!this.matches(entry.index, entry.term)) return at;
    }
    return -1;
  }

  /** Replaces everything from the first of `entries` on. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const from = first.index;
    invariant(from > this.#committed, "a committed entry is never replaced");
    invariant(from <= this.#last + 1, "the log has no gap");
    if (from <= this.#last) this.#truncate(from);
    for (const entry of entries) {
      this.#tail.push(entry);
      this.#tailBytes += entryBytes(entry);
    }
    this.#last += entries.length;
  }

  #truncate(from: number): void {
    if (from < this.#base) {
      this.#baseTerm = this.term(from - 1) ?? 0;
      this.#base = from;
      this.#tail = [];
      this.#tailBytes = 0;
    } else {
      for (let at = from - this.#base; at < this.#tail.length; at++) {
        this.#tailBytes -= entryBytes(this.#tail[at] as Entry);
      }
      this.#tail.length = from - this.#base;
    }
    this.#unstableFrom = Math.min(this.#unstableFrom, from);
    this.#inProgressTo = Math.min(this.#inProgressTo, from);
    this.#last = from - 1;
  }

  /**
   * The best guess where this log and one with `term` at `index` still agree: the largest index at or below
   * it whose term here is not above `term`. Skips a whole term per round instead of an entry.
   */
  findConflictByTerm(index: number, term: number): { readonly index: number; readonly term: number } {
    for (let at = index; at > 0; at--) {
      const own = this.term(at);
      if (own === undefined) return { index: at, term: 0 };
      if (own <= term) return { index: at, term: own };
    }
    return { index: 0, term: 0 };
  }

  commitTo(index: number): void {
    if (index <= this.#committed) return;
    invariant(index <= this.#last, "nothing is committed that is not in the log: was it lost or damaged?");
    this.#committed = index;
  }

  /** Section 5.4.2: a leader commits by counting only entries of its own term. */
  maybeCommit(index: number, term: number): boolean {
    if (index <= this.#committed || term === 0 || this.term(index) !== term) return false;
    this.commitTo(index);
    return true;
  }

  /** Entries from `low` on that fit `maxBytes`, at least one; undefined when compacted away. */
  entriesFrom(low: number, maxBytes: number): readonly Entry[] | undefined {
    if (low > this.#last) return noEntries;
    return this.slice(low, this.#last + 1, maxBytes);
  }

  /** Entries of [low, high) that fit `maxBytes`, at least one; undefined when compacted away. */
  slice(low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
    if (low >= this.#base) return this.#tailSlice(low, high, maxBytes);
    if (low < this.firstIndex()) return undefined;
    const cut = Math.min(high, this.#base);
    const stored = this.#storage.entries(low, cut, maxBytes);
    if (stored === undefined || cut === high || stored.length < cut - low) return stored;
    let bytes = 0;
    for (const entry of stored) bytes += entryBytes(entry);
    if (bytes >= maxBytes) return stored;
    const more = this.#tailSlice(cut, high, maxBytes - bytes);
    const lone = more.length === 1 ? more[0] : undefined;
    if (lone !== undefined && bytes + entryBytes(lone) > maxBytes) return stored;
    return stored.concat(more);
  }

  #tailSlice(low: number, high: number, maxBytes: number): Entry[] {
    const start = low - this.#base;
    const end = high - this.#base;
    if (this.#tailBytes <= maxBytes) return this.#tail.slice(start, end);
    let bytes = 0;
    let at = start;
    for (; at < end; at++) {
      bytes += entryBytes(this.#tail[at] as Entry);
      if (bytes > maxBytes && at > start) break;
    }
    return this.#tail.slice(start, at);
  }

  hasUnwritten(): boolean {
    return this.#inProgressTo <= this.#last;
  }

  /** Entries not yet handed out for writing. */
  unwritten(): readonly Entry[] {
    return this.hasUnwritten() ? this.#tail.slice(this.#inProgressTo - this.#base) : noEntries;
  }

  /** Whether there are entries whose write has not been acknowledged. */
  hasUnstable(): boolean {
    return this.#unstableFrom <= this.#last;
  }

  /** The snapshot to install that is not yet handed out. */
  unwrittenSnapshot(): SnapshotMeta | undefined {
    return this.#snapshotInProgress ? undefined : this.#snapshot;
  }

  /** Whether a snapshot is not yet installed. */
  hasSnapshot(): boolean {
    return this.#snapshot !== undefined;
  }

  /** Everything unwritten is now being written. */
  acceptWrite(): void {
    this.#inProgressTo = this.#last + 1;
    if (this.#snapshot) this.#snapshotInProgress = true;
  }

  /**
   * Entries up to `index` are durable, if `index` still is in `term` here. The caller attests that no write
   * under way can overwrite them.
   */
  stableTo(index: number, term: number): void {
    if (index < this.#unstableFrom || this.term(index) !== term) return;
    this.#unstableFrom = index + 1;
    this.#inProgressTo = Math.max(this.#inProgressTo, this.#unstableFrom);
    this.#trim();
  }

  snapshotInstalled(index: number): void {
    if (this.#snapshot?.index !== index) return;
    this.#snapshot = undefined;
    this.#snapshotInProgress = false;
  }

  /** The log becomes empty behind `snapshot`. */
  restore(snapshot: SnapshotMeta): void {
    this.#committed = snapshot.index;
    this.#snapshot = snapshot;
    this.#snapshotInProgress = false;
    this.#tail = [];
    this.#tailBytes = 0;
    this.#base = snapshot.index + 1;
    this.#baseTerm = snapshot.term;
    this.#unstableFrom = this.#base;
    this.#inProgressTo = this.#base;
    this.#last = snapshot.index;
  }

  /** The snapshot that a lagging follower would get. */
  snapshot(): SnapshotMeta | undefined {
    return this.#snapshot ?? this.#storage.snapshot();
  }

  #maxAppliable(withUnstable: boolean): number {
    return withUnstable ? this.#committed : Math.min(this.#committed, this.#unstableFrom - 1);
  }

  hasCommitted(withUnstable: boolean): boolean {
    if (this.#applyingPaused || this.#snapshot !== undefined) return false;
    return this.#applying < this.#maxAppliable(withUnstable);
  }

  /** Committed entries not yet handed out for applying, within the bytes that may be outstanding. */
  nextCommitted(withUnstable: boolean): readonly Entry[] {
    if (!this.hasCommitted(withUnstable)) return noEntries;
    const room = this.#maxApplyingBytes - this.#applyingBytes;
    const entries = this.slice(this.#applying + 1, this.#maxAppliable(withUnstable) + 1, room);
    invariant(entries !== undefined, "a committed entry is not compacted before it is applied");
    return entries;
  }

  /** Entries up to `index`, of `bytes` in all, are handed out for applying. */
  acceptApplying(index: number, bytes: number, withUnstable: boolean): void {
    this.#applying = index;
    this.#applyingBytes += bytes;
    // Cut short by the limit: the next entry would go over it, so wait for what is outstanding.
    this.#applyingPaused =
      this.#applyingBytes >= this.#maxApplyingBytes || index < this.#maxAppliable(withUnstable);
  }

  /** Entries up to `index` are applied, `bytes` of them since the last call. */
  appliedTo(index: number, bytes: number): void {
    invariant(index <= this.#committed && index >= this.#applied, "applied only grows, within the committed");
    this.#applied = index;
    this.#applying = Math.max(this.#applying, index);
    this.#applyingBytes = Math.max(0, this.#applyingBytes - bytes);
    this.#applyingPaused = this.#applyingBytes >= this.#maxApplyingBytes;
    this.#trim();
  }

  /** Forgets stable entries that are applied, or whose bytes are too many. */
  #trim(): void {
    const stable = this.#unstableFrom - this.#base;
    const applied = this.#applied + 1 - this.#base;
    let count = Math.min(stable, Math.max(0, applied));
    let bytes = 0;
    for (let at = 0; at < count; at++) bytes += entryBytes(this.#tail[at] as Entry);
    while (count < stable && this.#tailBytes - bytes > TAIL_BYTES) {
      bytes += entryBytes(this.#tail[count] as Entry);
      count++;
    }
    if (count <= 0) return;
    this.#baseTerm = (this.#tail[count - 1] as Entry).term;
    this.#base += count;
    this.#tailBytes -= bytes;
    if (count === this.#tail.length) this.#tail = [];
    else this.#tail.splice(0, count);
  }
}
