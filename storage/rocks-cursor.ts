import binding, { type Column, type Database, type Iterator } from "@nxtedition/rocksdb/binding.js";
import { invariant } from "#runtime";
import type { Family, Range, RangeCursor } from "./engine.ts";
import { StorageError } from "./errors.ts";
import { boundsOf } from "./rocks-bounds.ts";

/** Native pages at most; what a call does not want of one waits for the next call. */
const pageRowsMax = 512;
const pageBytes = 64 * 1024;

interface OpenRange {
  readonly family: Family;
  readonly iterator: Iterator;
}

interface RowsOf {
  readonly family: Family;
  readonly rows: readonly Uint8Array[];
}

/**
 * One native iterator per range. All are opened in the constructor with no write between, as writes happen
 * on this very thread: together they are one snapshot (R4). An open one keeps old files, so close it soon.
 */
export class RocksCursor implements RangeCursor {
  readonly #ranges: OpenRange[] = [];
  readonly #onClose: (cursor: RocksCursor) => void;
  #page: readonly Buffer[] = [];
  #pageAt = 0;
  /** The page is the last of the first range. */
  #pageIsLast = false;
  #closed = false;

  constructor(
    db: Database,
    columns: Readonly<Record<Family, Column>>,
    ranges: readonly Range[],
    onClose: (cursor: RocksCursor) => void,
  ) {
    this.#onClose = onClose;
    for (const range of ranges) {
      const bounds = boundsOf(range);
      if (bounds === undefined) continue;
      const iterator = binding.iterator_init(db, {
        column: columns[range.family],
        ...bounds,
        highWaterMarkBytes: pageBytes,
        fillCache: false,
        keyEncoding: "buffer",
        valueEncoding: "buffer",
      });
      this.#ranges.push({ family: range.family, iterator });
    }
  }

  next(limit: number, maxBytes: number): RowsOf | undefined {
    invariant(limit > 0, "a cursor is asked for at least one row");
    if (this.#closed) throw new StorageError("closed", "the cursor, or its engine, is closed");
    for (let range = this.#ranges[0]; range !== undefined; range = this.#ranges[0]) {
      const rows: Uint8Array[] = [];
      let bytes = 0;
      while (
        rows.length < 2 * limit &&
        bytes < maxBytes &&
        this.#fill(range.iterator, limit - rows.length / 2)
      ) {
        const key = this.#page[this.#pageAt] as Buffer;
        const value = this.#page[this.#pageAt + 1] as Buffer;
        this.#pageAt += 2;
        rows.push(key, value);
        bytes += key.length + value.length;
      }
      if (this.#pageIsLast && this.#pageAt === this.#page.length) this.#leaveRange(range);
      if (rows.length > 0) return { family: range.family, rows };
    }
    return undefined;
  }

  close(): void {
    this.#closed = true;
    for (const { iterator } of this.#ranges.splice(0)) binding.iterator_close(iterator);
    this.#page = [];
    this.#onClose(this);
  }

  /** Whether the page has a row, after reading the next page where the present one is used up. */
  #fill(iterator: Iterator, wantedRows: number): boolean {
    while (this.#pageAt === this.#page.length && !this.#pageIsLast) {
      try {
        const page = binding.iterator_nextv_sync(iterator, Math.min(wantedRows, pageRowsMax));
        this.#page = page.rows;
        this.#pageIsLast = page.finished;
      } catch (error) {
        throw new StorageError("read_failed", "a range could not be read", error);
      }
      this.#pageAt = 0;
    }
    return this.#pageAt < this.#page.length;
  }

  #leaveRange(range: OpenRange): void {
    binding.iterator_close(range.iterator);
    this.#ranges.shift();
    this.#page = [];
    this.#pageAt = 0;
    this.#pageIsLast = false;
  }
}
