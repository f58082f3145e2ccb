import { type Cancel, type Clock, invariant } from "#runtime";
import type { Batch, Engine, Family, Range, RangeCursor, Rows, ScanOptions } from "./engine.ts";
import { StorageError } from "./errors.ts";
import { keyText } from "./key-text.ts";
import type { MemoryDisk, Row, Undo } from "./memory-disk.ts";
import { OpBatch, opBatchOf } from "./op-batch.ts";
import type { SortedMap, SortedView } from "./sorted-map.ts";

export interface MemoryOptions {
  /** Needed where the disk's `syncDelayMs` is ever above 0. */
  readonly clock?: Clock;
}

/** Opens a simulated disk. @throws StorageError `locked` while another engine has it open */
export function openMemory(disk: MemoryDisk, options: MemoryOptions = {}): Engine {
  return new MemoryEngine(disk, options.clock);
}

/** A write whose `done` has not run. */
interface Pending {
  readonly sync: boolean;
  readonly done: (error?: Error) => void;
  /** Order number of the batch; a sync makes everything up to it durable. */
  readonly upTo: number;
  /** When its sync completes; of no meaning where `sync` is false. */
  readonly atMs: number;
}

/** The in-memory engine: fast, and as forgetful as a disk without syncs (see MemoryDisk). */
class MemoryEngine implements Engine {
  readonly #disk: MemoryDisk;
  readonly #clock: Clock | undefined;
  #state: "open" | "failed" | "closed" = "open";
  /** Outstanding writes, oldest first; callbacks run in this order. */
  readonly #pending: Pending[] = [];
  #timer: Cancel | undefined;
  #accepted = 0;
  #durable = 0;
  #syncs = 0;

  constructor(disk: MemoryDisk, clock: Clock | undefined) {
    this.#disk = disk;
    this.#clock = clock;
    disk.attach({ crashed: () => this.#die() });
  }

  get syncs(): number {
    return this.#syncs;
  }

  get(family: Family, key: Uint8Array): Uint8Array | undefined {
    return this.#rows(family).get(keyText(key))?.value;
  }

  getMany(family: Family, keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] {
    return keys.map((key) => this.get(family, key));
  }

  scan(range: Range, options: ScanOptions): Rows {
    const { limit, maxBytes = Number.POSITIVE_INFINITY, reverse = false } = options;
    const page = takeRows(this.#rows(range.family), textRange(range), reverse, limit, maxBytes);
    return { rows: page.rows, finished: page.finished };
  }

  cursor(ranges: readonly Range[]): RangeCursor {
    const views = ranges.map((range) => {
      const { start, end } = textRange(range);
      return { family: range.family, view: this.#rows(range.family).snapshot(), start, end };
    });
    return new MemoryCursor(views, () => this.#mustNotBeClosed());
  }

  batch(): Batch {
    return new OpBatch();
  }

  write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    this.#mustNotBeClosed();
    const changes = opBatchOf(batch);
    changes.use();
    if (this.#state === "failed") {
      this.#finish({ sync: false, done, upTo: 0, atMs: 0 }, stopped());
      return;
    }
    const { faults } = this.#disk;
    if (faults.failWrites || changes.bytes > this.#disk.freeBytes) {
      const why = faults.failWrites ? "input/output error" : "no space left on device";
      this.#state = "failed";
      this.#finish({ sync: false, done, upTo: 0, atMs: 0 }, new StorageError("write_failed", why));
      return;
    }
    this.#apply(changes);
    this.#accepted += 1;
    const delayMs = options.sync ? faults.syncDelayMs() : 0;
    const pending = { sync: options.sync, done, upTo: this.#accepted, atMs: this.#completionMs(delayMs) };
    if (this.#pending.length === 0 && !(delayMs > 0)) {
      this.#complete(pending);
      return;
    }
    this.#pending.push(pending);
    this.#arm();
  }

  approximateSize(range: Range): { readonly bytes: number; readonly keys: number } {
    const { start, end } = textRange(range);
    const { count, weight } = this.#rows(range.family).measure(start, end);
    return { bytes: weight, keys: count };
  }

  diskSpace(): { readonly freeBytes: number; readonly totalBytes: number } {
    return { freeBytes: this.#disk.freeBytes, totalBytes: this.#disk.totalBytes };
  }

  /** Syncs everything, runs the outstanding callbacks and gives the disk back. */
  close(): Promise<void> {
    if (this.#state === "closed") return Promise.resolve();
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift())
      this.#complete(next);
    this.#timer?.();
    if (this.#state === "open") this.#disk.sync(this.#disk.unsyncedBatches);
    this.#state = "closed";
    this.#disk.detach();
    return Promise.resolve();
  }

  #rows(family: Family): SortedMap<Row> {
    this.#mustNotBeClosed();
    return this.#disk.rows[family];
  }

  #mustNotBeClosed(): void {
    if (this.#state === "closed") throw new StorageError("closed", "the engine is closed");
  }

  #die(): void {
    this.#timer?.();
    this.#pending.length = 0;
    this.#state = "closed";
  }

  #apply(changes: OpBatch): void {
    const undo: Undo = [];
    for (let at = 0; at < changes.keys.length; at++) {
      const family = changes.families[at] as Family;
      const key = changes.keys[at] as Uint8Array;
      const value = changes.values[at];
      const text = keyText(key);
      const rows = this.#disk.rows[family];
      const old = value === undefined ? rows.delete(text) : rows.set(text, { key, value });
      undo.push({ family, text, old });
    }
    this.#disk.noteUnsynced(undo);
  }

  /** Syncs go one after the other, as a disk's queue has them. */
  #completionMs(delayMs: number): number {
    if (this.#clock === undefined) {
      invariant(!(delayMs > 0), "a disk with slow syncs needs a clock");
      return 0;
    }
    const busyUntilMs = this.#pending.at(-1)?.atMs ?? 0;
    return Math.max(this.#clock.nowMs(), busyUntilMs) + delayMs;
  }

  #arm(): void {
    const next = this.#pending[0];
    if (this.#timer !== undefined || next === undefined || this.#clock === undefined) return;
    if (next.atMs === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.after(next.atMs - this.#clock.nowMs(), () => {
      this.#timer = undefined;
      this.#completeDue();
    });
  }

  /** Completes the oldest, and those behind it that wait for nothing but it. */
  #completeDue(): void {
    const nowMs = this.#clock?.nowMs() ?? 0;
    for (let next = this.#pending[0]; next !== undefined && next.atMs <= nowMs; next = this.#pending[0]) {
      this.#pending.shift();
      this.#complete(next);
    }
    this.#arm();
  }

  #complete(pending: Pending): void {
    if (this.#state === "failed") {
      this.#finish(pending, stopped());
      return;
    }
    if (!pending.sync) {
      this.#finish(pending);
      return;
    }
    if (this.#disk.faults.failSyncs) {
      this.#state = "failed";
      this.#finish(pending, new StorageError("write_failed", "input/output error at sync"));
      return;
    }
    this.#disk.sync(pending.upTo - this.#durable);
    this.#durable = pending.upTo;
    this.#syncs += 1;
    this.#finish(pending);
  }

  #finish(pending: Pending, error?: Error): void {
    if (error === undefined) pending.done();
    else pending.done(error);
  }
}

function stopped(): StorageError {
  return new StorageError("stopped", "an earlier write failed; nothing is written any more");
}

interface TextRange {
  readonly start: string;
  readonly end: string | undefined;
}

function textRange(range: Range): TextRange {
  return { start: keyText(range.start), end: range.end && keyText(range.end) };
}

interface Page extends Rows {
  readonly rows: Uint8Array[];
  /** The last key of the page; undefined where the page is empty. */
  readonly last: string | undefined;
}

type Walkable = Pick<SortedView<Row>, "walk">;

function takeRows(from: Walkable, range: TextRange, reverse: boolean, limit: number, maxBytes: number): Page {
  const rows: Uint8Array[] = [];
  let bytes = 0;
  let last: string | undefined;
  let finished = limit > 0;
  if (limit > 0) {
    from.walk(range.start, range.end, reverse, (text, row) => {
      rows.push(row.key, row.value);
      last = text;
      bytes += row.key.length + row.value.length;
      finished = rows.length < 2 * limit && bytes < maxBytes;
      return finished;
    });
  }
  return { rows, finished, last };
}

interface RangeView extends TextRange {
  readonly family: Family;
  readonly view: SortedView<Row>;
}

class MemoryCursor implements RangeCursor {
  readonly #views: RangeView[];
  readonly #mustBeOpen: () => void;
  #closed = false;
  /** Where the first view goes on. */
  #from: string | undefined;

  constructor(views: RangeView[], mustBeOpen: () => void) {
    this.#views = views;
    this.#mustBeOpen = mustBeOpen;
  }

  next(
    limit: number,
    maxBytes: number,
  ): { readonly family: Family; readonly rows: readonly Uint8Array[] } | undefined {
    invariant(limit > 0, "a cursor is asked for at least one row");
    this.#mustBeOpen();
    if (this.#closed) throw new StorageError("closed", "the cursor is closed");
    for (let view = this.#views[0]; view !== undefined; view = this.#views[0]) {
      const range = { start: this.#from ?? view.start, end: view.end };
      const page = takeRows(view.view, range, false, limit, maxBytes);
      this.#from = page.last === undefined ? undefined : `${page.last}\0`;
      if (page.finished) {
        this.#views.shift();
        this.#from = undefined;
      }
      if (page.rows.length > 0) return { family: view.family, rows: page.rows };
    }
    return undefined;
  }

  close(): void {
    this.#closed = true;
    this.#views.length = 0;
  }
}
