import { invariant } from "#runtime";
import {
  type ConfState,
  type Entry,
  entryBytes,
  type HardState,
  type LogReader,
  type Ready,
  type SnapshotMeta,
} from "./types.ts";

/** Where a `MemoryLog` begins. */
export interface MemoryLogStart {
  readonly conf: ConfState;
  /** Everything up to this index is behind a snapshot; 0 for an empty log. */
  readonly index?: number;
  readonly term?: number;
}

/** A durable log that is not: in memory, for tests and for trying the core. The host's own is on disk. */
export class MemoryLog implements LogReader {
  #hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #conf: ConfState;
  #snapshot: SnapshotMeta | undefined;
  /** Index and term of what is compacted. */
  #compacted: number;
  #compactedTerm: number;
  #entries: Entry[] = [];

  constructor(start: MemoryLogStart) {
    this.#conf = start.conf;
    this.#compacted = start.index ?? 0;
    this.#compactedTerm = start.term ?? 0;
    if (this.#compacted > 0) {
      this.#snapshot = { index: this.#compacted, term: this.#compactedTerm, conf: start.conf };
    }
  }

  initialState(): { readonly hardState: HardState; readonly conf: ConfState } {
    return { hardState: this.#hardState, conf: this.#conf };
  }

  firstIndex(): number {
    return this.#compacted + 1;
  }

  lastIndex(): number {
    return this.#compacted + this.#entries.length;
  }

  term(index: number): number | undefined {
    if (index === this.#compacted) return this.#compactedTerm;
    return this.#entries[index - this.#compacted - 1]?.term;
  }

  entries(low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
    if (low <= this.#compacted) return undefined;
    const start = low - this.#compacted - 1;
    let end = start;
    let bytes = 0;
    for (; end < high - this.#compacted - 1 && end < this.#entries.length; end++) {
      bytes += entryBytes(this.#entries[end] as Entry);
      if (bytes > maxBytes && end > start) break;
    }
    return this.#entries.slice(start, end);
  }

  snapshot(): SnapshotMeta | undefined {
    return this.#snapshot;
  }

  /** Stores what a Ready asks to be stored. */
  save(ready: Pick<Ready, "hardState" | "snapshot" | "append">): void {
    if (ready.hardState) this.#hardState = ready.hardState;
    if (ready.snapshot) this.install(ready.snapshot);
    this.append(ready.append);
  }

  setHardState(hardState: HardState): void {
    this.#hardState = hardState;
  }

  /** The configuration a restarted core begins with; it belongs to the applied index. */
  setConf(conf: ConfState): void {
    this.#conf = conf;
  }

  /** Replaces everything from the first of `entries` on. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    invariant(first.index > this.#compacted && first.index <= this.lastIndex() + 1, "the log has no gap");
    this.#entries.length = first.index - this.#compacted - 1;
    for (const entry of entries) this.#entries.push(entry);
  }

  /** The log becomes empty behind `snapshot`, whose data has been installed. */
  install(snapshot: SnapshotMeta): void {
    this.#snapshot = snapshot;
    this.#conf = snapshot.conf;
    this.#compacted = snapshot.index;
    this.#compactedTerm = snapshot.term;
    this.#entries = [];
  }

  /** Makes the snapshot that lagging followers get from now on. */
  makeSnapshot(index: number, conf: ConfState): SnapshotMeta {
    const term = this.term(index);
    invariant(term !== undefined, "a snapshot is made of what is in the log");
    this.#snapshot = { index, term, conf };
    return this.#snapshot;
  }

  /** Drops the entries up to `index`. */
  compact(index: number): void {
    const term = this.term(index);
    if (index <= this.#compacted) return;
    invariant(term !== undefined, "only what is in the log is compacted");
    this.#entries.splice(0, index - this.#compacted);
    this.#compacted = index;
    this.#compactedTerm = term;
  }
}
