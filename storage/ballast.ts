import { open, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "#runtime";

const fileName = "ballast";
const defaultBytes = 64 * 2 ** 20;
const chunkBytes = 2 ** 20;
/** The ballast must stay small beside what is free, or it would bring about what it is for. */
const freeTimesMin = 16;

export interface BallastOptions {
  readonly logger: Logger;
  /** Size of the file; 64 MiB by default. */
  readonly bytes?: number;
}

/** - `present`: was there already. - `skipped`: the disk has too little free for it. */
export type BallastOutcome = "created" | "present" | "skipped";

/**
 * Keeps a file of real blocks in the data directory (R36): when the disk is full beyond what the engine
 * needs to delete anything, removing it gives that room back.
 * @throws the file system's error where the disk cannot be written
 */
export async function createBallast(dir: string, options: BallastOptions): Promise<BallastOutcome> {
  const { logger, bytes = defaultBytes } = options;
  const path = join(dir, fileName);
  if ((await sizeOf(path)) >= bytes) return "present";
  const { bavail, bsize } = await statfs(dir);
  if (bavail * bsize < bytes * freeTimesMin) {
    logger.warn({ path, bytes, freeBytes: bavail * bsize }, "too little free space to keep a ballast file");
    return "skipped";
  }
  await writeBlocks(`${path}.new`, bytes);
  await rename(`${path}.new`, path);
  return "created";
}

/** Removes the ballast; the bytes that frees, 0 where there was none. */
export async function releaseBallast(dir: string): Promise<number> {
  const path = join(dir, fileName);
  const bytes = await sizeOf(path);
  await rm(path, { force: true });
  return bytes;
}

/** Writes every block, as a hole in a sparse file would free nothing; synced, or the blocks may not exist yet. */
async function writeBlocks(path: string, bytes: number): Promise<void> {
  const file = await open(path, "w");
  try {
    const chunk = Buffer.alloc(Math.min(chunkBytes, bytes), 0xa5);
    for (let at = 0; at < bytes; at += chunk.length)
      await file.write(chunk, 0, Math.min(chunk.length, bytes - at));
    await file.sync();
  } finally {
    await file.close();
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}
