/**
 * Where a node keeps its rows: the `Engine` port, RocksDB beneath it in production, and in simulation an
 * in-memory engine that forgets what was not synced.
 * @module
 */
export { type BallastOptions, type BallastOutcome, createBallast, releaseBallast } from "./ballast.ts";
export {
  type Batch,
  type Engine,
  type Family,
  families,
  type Range,
  type RangeCursor,
  type Rows,
  type ScanOptions,
} from "./engine.ts";
export { StorageError, type StorageErrorCode } from "./errors.ts";
export { type MemoryOptions, openMemory } from "./memory.ts";
export { type CrashOptions, type CrashOutcome, type DiskFaults, MemoryDisk } from "./memory-disk.ts";
export { OverlayBatch } from "./overlay.ts";
export { openRocks, type RocksOptions } from "./rocks.ts";
