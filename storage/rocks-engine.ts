import binding, { type Column, type Database, type WriteBatch } from "@nxtedition/rocksdb/binding.js";
import { type Clock, invariant, type Logger } from "#runtime";
import {
  type Batch,
  type Engine,
  type Family,
  families,
  type Range,
  type RangeCursor,
  type Rows,
  type ScanOptions,
} from "./engine.ts";
import { StorageError } from "./errors.ts";
import { OpBatch, opBatchOf } from "./op-batch.ts";
import { boundsOf } from "./rocks-bounds.ts";
import { RocksCursor } from "./rocks-cursor.ts";
import type { SequenceFile } from "./sequence-file.ts";
import { SizeSamples } from "./size-samples.ts";

/**
 * A family of the adapter's own: the size of every sampled row, keyed by family and key, written in the
 * row's batch; so an opening reads these, not all rows, to know the sizes again.
 */
export const samplesFamily = "samples";

/** With fewer samples than this in a range, it is counted instead, up to this many rows. */
const samplesMin = 8;
const countedRowsMax = 256;
/** And up to this many bytes: it is read on this thread, for each shard every few seconds. */
const countedBytesMax = 1024 * 1024;
/** A native batch keeps its largest size for ever; one that grew beyond this is made anew. */
const keptBatchBytesMax = 4 * 2 ** 20;
/** The node stops vouching for itself beyond this (R8), so it is worth a line in the log. */
const slowSyncMs = 1000;
const highWaterMarkMax = 2 ** 31 - 1;

/** What `openRocks` hands over. */
export interface Opened {
  readonly db: Database;
  readonly columns: Readonly<Record<string, Column>>;
  readonly sequence: SequenceFile;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly space: () => { readonly bavail: number; readonly bsize: number; readonly blocks: number };
}

type Refs = Readonly<Record<Family, { readonly column: Column }>>;

/**
 * The durable engine. `write` runs on this thread, the sync included, and `done` before it returns: what
 * must leave the process before the sync has to be sent before the call (R16).
 */
export class RocksEngine implements Engine {
  readonly #opened: Opened;
  readonly #columns: Readonly<Record<Family, Column>>;
  readonly #refs: Refs;
  readonly #samplesRef: { readonly column: Column };
  readonly #samples: SizeSamples = new SizeSamples();
  readonly #cursors: Set<RocksCursor> = new Set();
  #native: WriteBatch = binding.batch_init();
  #state: "open" | "failed" | "closed" = "open";
  #closing: Promise<void> | undefined;
  #syncs = 0;

  constructor(opened: Opened) {
    this.#opened = opened;
    const of = (name: string): Column => {
      const column = opened.columns[name];
      invariant(column !== undefined, "every family named at opening is opened");
      return column;
    };
    this.#columns = { raft: of("raft"), data: of("data"), history: of("history"), meta: of("meta") };
    const { raft, data, history, meta } = this.#columns;
    this.#refs = {
      raft: { column: raft },
      data: { column: data },
      history: { column: history },
      meta: { column: meta },
    };
    this.#samplesRef = { column: of(samplesFamily) };
    this.#loadSamples();
  }

  get syncs(): number {
    return this.#syncs;
  }

  get(family: Family, key: Uint8Array): Uint8Array | undefined {
    return this.getMany(family, [key])[0];
  }

  getMany(family: Family, keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] {
    this.#mustNotBeClosed();
    if (keys.length === 0) return [];
    try {
      return binding.db_get_many_sync(this.#opened.db, keys, this.#refs[family]);
    } catch (error) {
      throw new StorageError("read_failed", "rows could not be read", error);
    }
  }

  scan(range: Range, options: ScanOptions): Rows {
    this.#mustNotBeClosed();
    const bounds = boundsOf(range);
    const { limit, maxBytes = highWaterMarkMax, reverse = false } = options;
    if (!(limit > 0)) return { rows: [], finished: false };
    if (bounds === undefined) return { rows: [], finished: true };
    const nativeLimit = Math.min(limit, highWaterMarkMax);
    try {
      const page = binding.db_query(this.#opened.db, {
        column: this.#columns[range.family],
        ...bounds,
        limit: nativeLimit,
        reverse,
        highWaterMarkBytes: Math.min(Math.max(0, maxBytes - 1), highWaterMarkMax),
        fillCache: true,
        keyEncoding: "buffer",
        valueEncoding: "buffer",
      });
      return { rows: page.rows, finished: page.finished && page.rows.length < 2 * nativeLimit };
    } catch (error) {
      throw new StorageError("read_failed", "a range could not be read", error);
    }
  }

  cursor(ranges: readonly Range[]): RangeCursor {
    this.#mustNotBeClosed();
    const cursor = new RocksCursor(this.#opened.db, this.#columns, ranges, (closed) =>
      this.#cursors.delete(closed),
    );
    this.#cursors.add(cursor);
    return cursor;
  }

  batch(): Batch {
    return new OpBatch();
  }

  write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    this.#mustNotBeClosed();
    const changes = opBatchOf(batch);
    changes.use();
    if (this.#state === "failed") {
      done(new StorageError("stopped", "an earlier write failed; nothing is written any more"));
      return;
    }
    const error = this.#writeNow(changes, options.sync);
    if (error === undefined) done();
    else done(error);
  }

  approximateSize(range: Range): { readonly bytes: number; readonly keys: number } {
    this.#mustNotBeClosed();
    const { samples, largeBytes, ...guessed } = this.#samples.estimate(range.family, range.start, range.end);
    if (samples >= samplesMin || largeBytes >= countedBytesMax) return guessed;
    const { rows, finished } = this.scan(range, { limit: countedRowsMax, maxBytes: countedBytesMax });
    const counted = { bytes: rows.reduce((bytes, row) => bytes + row.length, 0), keys: rows.length / 2 };
    if (finished) return counted;
    return { bytes: Math.max(counted.bytes, guessed.bytes), keys: Math.max(counted.keys, guessed.keys) };
  }

  diskSpace(): { readonly freeBytes: number; readonly totalBytes: number } {
    const { bavail, bsize, blocks } = this.#opened.space();
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve, reject) => {
      // An iterator touched after its database is gone would crash the process, so they go first.
      for (const cursor of this.#cursors) cursor.close();
      this.#state = "closed";
      this.#opened.sequence.close();
      binding.db_close(this.#opened.db, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(new StorageError("write_failed", "the database did not close cleanly", error));
      });
    });
    return this.#closing;
  }

  #mustNotBeClosed(): void {
    if (this.#state === "closed") throw new StorageError("closed", "the engine is closed");
  }

  #writeNow(changes: OpBatch, sync: boolean): StorageError | undefined {
    const { db, clock, logger, sequence } = this.#opened;
    const startMs = clock.nowMs();
    try {
      this.#fill(changes);
      binding.batch_write(db, this.#native, { sync });
    } catch (error) {
      this.#state = "failed";
      logger.error({ error }, "a write failed; this node must stop");
      return new StorageError("write_failed", "a write or its sync failed", error);
    }
    if (changes.bytes > keptBatchBytesMax) this.#native = binding.batch_init();
    else binding.batch_clear(this.#native);
    if (sync) {
      this.#syncs += 1;
      sequence.synced(binding.db_get_latest_sequence(db));
    }
    const tookMs = clock.nowMs() - startMs;
    if (tookMs >= slowSyncMs) logger.warn({ tookMs, bytes: changes.bytes, sync }, "a write was very slow");
    return undefined;
  }

  #fill(changes: OpBatch): void {
    const native = this.#native;
    const { families: of, keys, values } = changes;
    for (let at = 0; at < keys.length; at++) {
      const family = of[at] as Family;
      const key = keys[at] as Uint8Array;
      const value = values[at];
      if (value === undefined) binding.batch_del(native, key, this.#refs[family]);
      else binding.batch_put(native, key, value, this.#refs[family]);
      this.#sample(family, key, value);
    }
  }

  #sample(family: Family, key: Uint8Array, value: Uint8Array | undefined): void {
    const bytes = value === undefined ? undefined : key.length + value.length;
    const change = this.#samples.change(family, key, bytes);
    if (change === "none") return;
    const sampleKey = Buffer.concat([Buffer.of(families.indexOf(family)), key]);
    if (change === "delete" || bytes === undefined) {
      binding.batch_del(this.#native, sampleKey, this.#samplesRef);
      return;
    }
    const size = Buffer.alloc(4);
    size.writeUInt32BE(bytes);
    binding.batch_put(this.#native, sampleKey, size, this.#samplesRef);
  }

  #loadSamples(): void {
    const options = { ...this.#samplesRef, keyEncoding: "buffer", valueEncoding: "buffer" } as const;
    const iterator = binding.iterator_init(this.#opened.db, options);
    try {
      for (;;) {
        const { rows, finished } = binding.iterator_nextv_sync(iterator, 1024);
        for (let at = 0; at < rows.length; at += 2) {
          const key = rows[at] as Buffer;
          const family = families[key[0] ?? -1];
          invariant(family !== undefined, "a sample names one of the families");
          this.#samples.change(family, key.subarray(1), (rows[at + 1] as Buffer).readUInt32BE());
        }
        if (finished) return;
      }
    } catch (error) {
      throw new StorageError("open_failed", "the size samples cannot be read", error);
    } finally {
      binding.iterator_close(iterator);
    }
  }
}
