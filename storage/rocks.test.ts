import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import binding from "@nxtedition/rocksdb/binding.js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Logger, silentLogger, VirtualClock } from "#runtime";
import { createBallast, releaseBallast } from "./ballast.ts";
import type { Engine } from "./engine.ts";
import { StorageError } from "./errors.ts";
import { openRocks } from "./rocks.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kvorum-rocks-"));
});
afterEach(() => rmSync(root, { recursive: true }));

function writeSynced(engine: Engine, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const batch = engine.batch();
    batch.put("raft", Buffer.from(`k${i}`), Buffer.alloc(100, i));
    engine.write(batch, { sync: true }, (error) => expect(error).toBeUndefined());
  }
}

/** A logger that keeps its warnings. */
function warnings(): { logger: Logger; seen: string[] } {
  const seen: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (_fields, message) => seen.push(message) };
  return { logger, seen };
}

describe("a truncated recovery (R7)", () => {
  /** A directory as a power loss leaves it after 100 synced writes and `waitMs`, and its WAL cut short. */
  async function damaged(waitMs: number): Promise<string> {
    const clock = new VirtualClock();
    const [live, copy] = [join(root, "live"), join(root, "copy")];
    const engine = await openRocks(live, { logger: silentLogger, clock });
    writeSynced(engine, 0, 100);
    clock.advance(waitMs);
    cpSync(live, copy, { recursive: true });
    await engine.close();
    for (const name of readdirSync(join(copy, "rocksdb")).filter((file) => file.endsWith(".log"))) {
      const wal = join(copy, "rocksdb", name);
      truncateSync(wal, Math.floor(statSync(wal).size / 2));
    }
    return copy;
  }

  it("is refused once a second passed since the synced write, each time again", async () => {
    const dir = await damaged(1000);
    for (let attempt = 0; attempt < 2; attempt++) {
      const error = await openRocks(dir, { logger: silentLogger, clock: new VirtualClock() }).catch(
        (e: unknown) => e,
      );
      expect(StorageError.is(error, "truncated_recovery")).toBe(true);
      expect(String(error)).toContain("replace the node");
    }
  });

  it("goes unnoticed within the last second: the gap ADR 1 owns up to", async () => {
    const { logger, seen } = warnings();
    const engine = await openRocks(await damaged(999), { logger, clock: new VirtualClock() });
    expect(engine.get("raft", Buffer.from("k0"))).toBeDefined();
    expect(engine.get("raft", Buffer.from("k99"))).toBeUndefined();
    expect(seen).toEqual(["no readable sequence file: a truncated recovery would go unnoticed"]);
    await engine.close();
  });

  it.each([
    { name: "missing", spoil: (path: string) => rmSync(path) },
    { name: "torn", spoil: (path: string) => truncateSync(path, statSync(path).size - 1) },
    { name: "half overwritten", spoil: (path: string) => writeFileSync(path, "100 10\n") },
  ])("only warns of a $name sequence file", async ({ spoil }) => {
    const dir = await damaged(1000);
    spoil(join(dir, "sequence"));
    const { logger, seen } = warnings();
    const engine = await openRocks(dir, { logger, clock: new VirtualClock() });
    expect(seen.length).toBe(1);
    await engine.close();
  });

  it("lets a whole recovery pass, and a fresh directory without a word", async () => {
    const { logger, seen } = warnings();
    const clock = new VirtualClock();
    let engine = await openRocks(root, { logger, clock });
    writeSynced(engine, 0, 10);
    await engine.close();
    expect(readFileSync(join(root, "sequence"), "latin1")).toMatch(/^(\d+) \1\n$/);
    engine = await openRocks(root, { logger, clock });
    expect(engine.get("raft", Buffer.from("k9"))).toBeDefined();
    await engine.close();
    expect([seen, clock.pending]).toEqual([[], 0]);
  });

  it("is also a database that vanished beside its sequence file (R1)", async () => {
    const engine = await openRocks(root, { logger: silentLogger, clock: new VirtualClock() });
    writeSynced(engine, 0, 3);
    await engine.close();
    rmSync(join(root, "rocksdb"), { recursive: true });
    const error = await openRocks(root, { logger: silentLogger, clock: new VirtualClock() }).catch(
      (e: unknown) => e,
    );
    expect(StorageError.is(error, "truncated_recovery")).toBe(true);
  });
});

it("says open_failed where the directory cannot be one", async () => {
  writeFileSync(join(root, "file"), "");
  const error = await openRocks(join(root, "file"), {
    logger: silentLogger,
    clock: new VirtualClock(),
  }).catch((e: unknown) => e);
  expect(StorageError.is(error, "open_failed")).toBe(true);
});

it("stops for good when the database refuses a write (R8)", async () => {
  const engine = await openRocks(root, { logger: silentLogger, clock: new VirtualClock() });
  const errors: (string | undefined)[] = [];
  const write = () => {
    const batch = engine.batch();
    batch.put("data", Buffer.from("k"), Buffer.from(`${errors.length}`));
    engine.write(batch, { sync: true }, (error) =>
      errors.push(StorageError.is(error) ? error.code : undefined),
    );
  };
  write();
  const spy = vi.spyOn(binding, "batch_write").mockImplementationOnce(() => {
    throw new Error("IO error: No space left on device");
  });
  write();
  write();
  expect(spy).toHaveBeenCalledTimes(1);
  spy.mockRestore();
  expect(errors).toEqual([undefined, "write_failed", "stopped"]);
  expect(engine.get("data", Buffer.from("k"))?.toString()).toBe("0");
  expect(engine.syncs).toBe(1);
  await engine.close();
});

describe("the ballast (R36)", () => {
  it("takes real blocks, is made once, and gives them back", async () => {
    const options = { logger: silentLogger, bytes: 3 * 2 ** 20 + 5 };
    expect(await createBallast(root, options)).toBe("created");
    const { size, blocks } = statSync(join(root, "ballast"));
    expect(size).toBe(options.bytes);
    expect(blocks * 512).toBeGreaterThanOrEqual(options.bytes);
    expect(await createBallast(root, options)).toBe("present");
    expect(await releaseBallast(root)).toBe(options.bytes);
    expect(await releaseBallast(root)).toBe(0);
    expect(existsSync(join(root, "ballast"))).toBe(false);
  });

  it("is skipped with a warning where little is free", async () => {
    const { logger, seen } = warnings();
    expect(await createBallast(root, { logger, bytes: 2 ** 50 })).toBe("skipped");
    expect(seen.length).toBe(1);
    expect(readdirSync(root)).toEqual([]);
  });
});
