import { mkdirSync, statfsSync } from "node:fs";
import { join } from "node:path";
import binding, { type Column, type ColumnOptions, type Database } from "@nxtedition/rocksdb/binding.js";
import type { Clock, Logger } from "#runtime";
import { type Engine, type Family, families } from "./engine.ts";
import { StorageError } from "./errors.ts";
import { RocksEngine, samplesFamily } from "./rocks-engine.ts";
import { SequenceFile } from "./sequence-file.ts";

const mebibyte = 2 ** 20;

/**
 * Write buffers are a quarter of the budget each. RocksDB lets the WAL grow to 24 times their sum before it
 * flushes a family for its age (the binding cannot set the limit itself), so here to about 1 GiB, which
 * bounds the time of a restart.
 */
const columnOptions: Readonly<Record<Family, ColumnOptions>> = {
  // Log rows live briefly: most die in the write buffers, so compressing them buys little.
  raft: column(64, 16, false),
  data: column(64, 64, true),
  history: column(16, 16, true),
  meta: column(16, 16, true),
};

export interface RocksOptions {
  readonly logger: Logger;
  readonly clock: Clock;
}

/**
 * Opens the data directory `dir`, making it where it is missing: the database is in `dir/rocksdb`, the
 * guard against truncated recovery in `dir/sequence` (R7).
 * @throws StorageError `locked` where another engine has it open, `truncated_recovery` where the node must
 *   be replaced, `open_failed` for all else
 */
export async function openRocks(dir: string, options: RocksOptions): Promise<Engine> {
  const { logger, clock } = options;
  const path = join(dir, "rocksdb");
  makeDirectory(path);
  const db = binding.db_init(path);
  const columns = await openDatabase(db, path);
  const sequence = new SequenceFile(dir, clock, logger);
  try {
    sequence.check(binding.db_get_latest_sequence(db));
    return new RocksEngine({ db, columns, sequence, clock, logger, space: () => statfsSync(path) });
  } catch (error) {
    await closeDatabase(db);
    throw error;
  }
}

/** Closes iterators, syncs the WAL, lets the directory go. */
function closeDatabase(db: Database): Promise<void> {
  return new Promise((resolve) => binding.db_close(db, () => resolve()));
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new StorageError("open_failed", `cannot make ${path}`, error);
  }
}

function openDatabase(db: Database, path: string): Promise<Readonly<Record<string, Column>>> {
  const columns: Record<string, ColumnOptions> = {
    default: column(8, 1, false),
    [samplesFamily]: column(8, 1, false),
  };
  for (const family of families) columns[family] = columnOptions[family];
  return new Promise((resolve, reject) => {
    const options = { createIfMissing: true, walCompression: false, columns };
    binding.db_open(db, options, (error, opened) => {
      if (error === null || error === undefined) resolve(opened);
      else if (isLocked(error)) {
        reject(new StorageError("locked", `${path} is open already, here or in another process`, error));
      } else reject(new StorageError("open_failed", `${path} cannot be opened: ${error.message}`, error));
    });
  });
}

function isLocked(error: Error): boolean {
  return "code" in error && error.code === "LEVEL_LOCKED";
}

function column(memtableMebibytes: number, cacheMebibytes: number, compression: boolean): ColumnOptions {
  return {
    compaction: "level",
    memtableMemoryBudget: memtableMebibytes * mebibyte,
    cacheSize: cacheMebibytes * mebibyte,
    compression,
  };
}
