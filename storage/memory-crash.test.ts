import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { seededRandom, VirtualClock } from "#runtime";
import type { Engine } from "./engine.ts";
import { StorageError } from "./errors.ts";
import { openMemory } from "./memory.ts";
import { MemoryDisk } from "./memory-disk.ts";

const everything = { family: "data", start: Buffer.of() } as const;

/** Writes a batch of `changes` ("a=1" puts, "a" deletes); returns what `done` was given, in order. */
function write(
  engine: Engine,
  changes: readonly string[],
  sync: boolean,
  done: (error?: Error) => void = () => {},
): void {
  const batch = engine.batch();
  for (const change of changes) {
    const [key = "", value] = change.split("=");
    if (value === undefined) batch.delete("data", Buffer.from(key));
    else batch.put("data", Buffer.from(key), Buffer.from(value));
  }
  engine.write(batch, { sync }, done);
}

function dump(engine: Engine): string[] {
  const { rows } = engine.scan(everything, { limit: 10_000 });
  const found: string[] = [];
  for (let at = 0; at < rows.length; at += 2) found.push(`${rows[at]}=${rows[at + 1]}`);
  return found;
}

const change = fc.oneof(
  fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.nat(99)).map(([key, value]) => `${key}=${value}`),
  fc.constantFrom("a", "b", "c", "d"),
);
const batches = fc.array(fc.record({ changes: fc.array(change, { maxLength: 4 }), sync: fc.boolean() }), {
  maxLength: 12,
});

describe("a crashed MemoryDisk", () => {
  it("holds all synced batches and a whole prefix of the others, any number of crashes over", () => {
    fc.assert(
      fc.property(fc.array(batches, { minLength: 1, maxLength: 4 }), fc.nat(), (lives, seed) => {
        const disk = new MemoryDisk();
        const random = seededRandom(seed);
        for (const life of lives) {
          let engine = openMemory(disk);
          const states = [dump(engine)];
          let synced = 0;
          for (const { changes, sync } of life) {
            write(engine, changes, sync);
            states.push(dump(engine));
            if (sync) synced = states.length - 1;
          }
          const { kept, lost } = disk.crash(random);
          expect(kept + lost).toBe(states.length - 1 - synced);
          engine = openMemory(disk);
          expect(dump(engine)).toEqual(states[synced + kept]);
          disk.crash(random, { keep: "none" });
          engine = openMemory(disk);
          expect(dump(engine), "recovered is durable").toEqual(states[synced + kept]);
          disk.crash(random);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("takes every length of the unsynced suffix, over the seeds", () => {
    const kept = new Set<number>();
    for (let seed = 0; seed < 200; seed++) {
      const disk = new MemoryDisk();
      const engine = openMemory(disk);
      for (let i = 0; i < 4; i++) write(engine, [`k${i}=1`], false);
      kept.add(disk.crash(seededRandom(seed)).kept);
    }
    expect([...kept].sort()).toEqual([0, 1, 2, 3, 4]);
  });

  it("keeps all when only the process dies, until power goes before anyone opened it", () => {
    const disk = new MemoryDisk();
    write(openMemory(disk), ["a=1"], false);
    expect(disk.crash(seededRandom(1), { keep: "all" })).toEqual({ kept: 1, lost: 0 });
    expect(disk.crash(seededRandom(1), { keep: "none" })).toEqual({ kept: 0, lost: 1 });
    expect(dump(openMemory(disk))).toEqual([]);
  });

  it("leaves the engine that had it dead: no callback, no call, no cursor", () => {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    disk.faults.syncDelayMs = () => 10;
    const engine = openMemory(disk, { clock });
    const cursor = engine.cursor([everything]);
    let called = false;
    write(engine, ["a=1"], true, () => {
      called = true;
    });
    disk.crash(seededRandom(1), { keep: "none" });
    clock.advance(1000);
    expect(called).toBe(false);
    expect(() => engine.get("data", Buffer.from("a"))).toThrow(StorageError);
    expect(() => cursor.next(1, 1)).toThrow(StorageError);
    expect(dump(openMemory(disk, { clock }))).toEqual([]);
  });
});

describe("a MemoryDisk with faults", () => {
  /** An engine on a slow disk and the log of its callbacks. */
  function slow(...delaysMs: number[]) {
    const clock = new VirtualClock();
    const disk = new MemoryDisk();
    disk.faults.syncDelayMs = () => delaysMs.shift() ?? 0;
    const engine = openMemory(disk, { clock });
    const log: string[] = [];
    const put = (name: string, sync: boolean) =>
      write(engine, [`${name}=1`], sync, (error) =>
        log.push(`${clock.nowMs()} ${name} ${StorageError.is(error) ? error.code : "durable"}`),
      );
    return { clock, disk, engine, log, put };
  }

  it("delays durability, one sync after the other, callbacks in order, reads at once", () => {
    const { clock, disk, engine, log, put } = slow(10, 5, 0);
    put("a", true);
    put("b", false);
    put("c", true);
    put("d", true);
    expect(log).toEqual([]);
    expect(dump(engine)).toEqual(["a=1", "b=1", "c=1", "d=1"]);
    expect(disk.unsyncedBatches).toBe(4);
    clock.advance(10);
    expect(log).toEqual(["10 a durable", "10 b durable"]);
    expect([disk.unsyncedBatches, engine.syncs]).toEqual([3, 1]);
    clock.advance(100);
    expect(log.slice(2)).toEqual(["15 c durable", "15 d durable"]);
    expect([disk.unsyncedBatches, engine.syncs]).toEqual([0, 3]);
  });

  it("loses a write whose sync is outstanding, keeps one whose sync is done (R2)", () => {
    const { clock, disk, put } = slow(10, 10);
    put("a", true);
    put("b", true);
    clock.advance(10);
    disk.crash(seededRandom(1), { keep: "none" });
    expect(dump(openMemory(disk))).toEqual(["a=1"]);
  });

  it("hangs with an endless sync", () => {
    const { clock, log, put } = slow(Number.POSITIVE_INFINITY);
    put("a", true);
    clock.advance(1e9);
    expect(log).toEqual([]);
  });

  it("writes from within a callback keep the order", () => {
    const { clock, engine, log, put } = slow(10, 10);
    write(engine, ["a=1"], true, () => {
      log.push("a");
      put("c", false);
    });
    put("b", false);
    clock.advance(50);
    expect(log).toEqual(["a", "10 b durable", "10 c durable"]);
  });

  it("stops for good after a failed write (R8)", () => {
    const { disk, log, put } = slow();
    put("a", true);
    disk.faults.failWrites = true;
    put("b", true);
    disk.faults.failWrites = false;
    put("c", false);
    expect(log).toEqual(["0 a durable", "0 b write_failed", "0 c stopped"]);
  });

  it("stops for good after a failed sync, those that wait too (R8)", () => {
    const { clock, disk, engine, log, put } = slow(10, 10);
    put("a", true);
    put("b", true);
    disk.faults.failSyncs = true;
    clock.advance(100);
    expect(log).toEqual(["10 a write_failed", "20 b stopped"]);
    expect(engine.syncs).toBe(0);
    disk.crash(seededRandom(1), { keep: "none" });
    disk.faults.failSyncs = false;
    expect(dump(openMemory(disk))).toEqual([]);
  });

  it("refuses what does not fit, writing nothing of it", () => {
    const disk = new MemoryDisk(100);
    const engine = openMemory(disk);
    const errors: (string | undefined)[] = [];
    const note = (error?: Error) => errors.push(StorageError.is(error) ? error.code : undefined);
    write(engine, ["a=1234567"], true, note);
    expect(engine.diskSpace()).toEqual({ freeBytes: 92, totalBytes: 100 });
    disk.faults.occupiedBytes = 90;
    expect(engine.diskSpace().freeBytes).toBe(2);
    write(engine, ["b=1", "c=1"], true, note);
    expect(errors).toEqual([undefined, "write_failed"]);
    expect(dump(engine)).toEqual(["a=1234567"]);
  });
});
