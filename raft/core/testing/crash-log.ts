import { invariant } from "#runtime";
import {
  type ConfState,
  type Entry,
  entryBytes,
  type HardState,
  type LogReader,
  type Ready,
  type SnapshotMeta,
} from "../types.ts";

/** All that a replica has on its disk. Never changed in place. */
interface Image {
  readonly hardState: HardState;
  readonly compacted: number;
  readonly compactedTerm: number;
  readonly entries: readonly Entry[];
  /** Of the state machine: what is applied, and the configuration at that point. */
  readonly applied: number;
  readonly conf: ConfState;
}

type Write = (image: Image) => Image;

/**
 * A durable log that keeps its promises and no others: what was written and not synced may be lost in a
 * crash, from any write boundary on, in order (as a write-ahead log loses its tail).
 */
export class CrashLog implements LogReader {
  #synced: Image;
  #unsynced: Write[] = [];
  #now: Image;

  constructor(conf: ConfState, index: number, term: number) {
    this.#synced = {
      hardState: { term: 0, vote: 0, commit: index },
      compacted: index,
      compactedTerm: term,
      entries: [],
      applied: index,
      conf,
    };
    this.#now = this.#synced;
  }

  get applied(): number {
    return this.#now.applied;
  }

  /** Term, vote and log that a crash cannot take away. */
  get durable(): HardState & { readonly last: number } {
    const { hardState, compacted, entries } = this.#synced;
    return { ...hardState, last: compacted + entries.length };
  }

  get unsyncedWrites(): number {
    return this.#unsynced.length;
  }

  #write(write: Write): void {
    this.#now = write(this.#now);
    this.#unsynced.push(write);
  }

  /** One batch: all of it or nothing. */
  save({ hardState, snapshot, append }: Pick<Ready, "hardState" | "snapshot" | "append">): void {
    this.#write((image) => {
      let next = hardState === undefined ? image : { ...image, hardState };
      if (snapshot !== undefined) {
        const { index, term, conf } = snapshot;
        next = { ...next, compacted: index, compactedTerm: term, entries: [], applied: index, conf };
      }
      const first = append[0];
      if (first === undefined) return next;
      const keep = first.index - next.compacted - 1;
      invariant(keep >= 0 && keep <= next.entries.length, "the stored log has no gap");
      return { ...next, entries: [...next.entries.slice(0, keep), ...append] };
    });
  }

  apply(applied: number, conf: ConfState): void {
    this.#write((image) => ({ ...image, applied, conf }));
  }

  /** Drops entries up to `index`, which must be applied. */
  compact(index: number): void {
    this.#write((image) => {
      if (index <= image.compacted) return image;
      const term = image.entries[index - image.compacted - 1]?.term;
      if (index > image.applied || term === undefined) return image;
      return {
        ...image,
        compacted: index,
        compactedTerm: term,
        entries: image.entries.slice(index - image.compacted),
      };
    });
  }

  sync(): void {
    this.#synced = this.#now;
    this.#unsynced = [];
  }

  /** The machine fails: the first `kept` unsynced writes survive. */
  crash(kept: number): void {
    let image = this.#synced;
    for (const write of this.#unsynced.slice(0, kept)) image = write(image);
    this.#synced = image;
    this.#now = image;
    this.#unsynced = [];
  }

  /** For mutants only: a disk that lies. */
  corrupt(change: (image: HardState) => HardState): void {
    this.#now = { ...this.#now, hardState: change(this.#now.hardState) };
    this.#synced = this.#now;
  }

  initialState(): { readonly hardState: HardState; readonly conf: ConfState } {
    const { hardState, conf } = this.#now;
    return { hardState, conf };
  }

  firstIndex(): number {
    return this.#now.compacted + 1;
  }

  lastIndex(): number {
    return this.#now.compacted + this.#now.entries.length;
  }

  term(index: number): number | undefined {
    const { compacted, compactedTerm, entries } = this.#now;
    return index === compacted ? compactedTerm : entries[index - compacted - 1]?.term;
  }

  entries(low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
    const { compacted, entries } = this.#now;
    if (low <= compacted) return undefined;
    const found: Entry[] = [];
    let bytes = 0;
    for (const entry of entries.slice(low - compacted - 1, high - compacted - 1)) {
      bytes += entryBytes(entry);
      if (bytes > maxBytes && found.length > 0) break;
      found.push(entry);
    }
    return found;
  }

  snapshot(): SnapshotMeta | undefined {
    const { applied, conf } = this.#now;
    const term = this.term(applied);
    return term === undefined ? undefined : { index: applied, term, conf };
  }
}
