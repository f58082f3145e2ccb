import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Entry } from "#raft/core";
import { realClock, seededRandom, silentLogger } from "#runtime";
import { type Batch, type Engine, MemoryDisk, openMemory, openRocks } from "#storage";
import { LogStore, writeFirstState } from "./log-store.ts";
import { appliedRow, appliedValue } from "./rows.ts";

const group = 7;
const conf = { voters: [1], outgoing: [], learners: [], learnersNext: [], autoLeave: false };

function entry(index: number, term: number, bytes = 10): Entry {
  return { index, term, kind: index % 5 === 0 ? "conf" : "normal", data: new Uint8Array(bytes).fill(index) };
}

function run(from: number, to: number, term: number, bytes = 10): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, bytes));
}

function write(engine: Engine, fill: (batch: Batch) => void, sync = true): void {
  const batch = engine.batch();
  fill(batch);
  engine.write(batch, { sync }, (error) => {
    if (error !== undefined) throw error;
  });
}

/** A group whose log begins behind index 10. */
function first(engine: Engine): LogStore {
  write(engine, (batch) => {
    writeFirstState(batch, group, { index: 10, term: 5, conf });
    batch.put("meta", appliedRow(group), appliedValue({ index: 10, term: 5, conf }));
  });
  return new LogStore(engine, group);
}

function apply(engine: Engine, log: LogStore, index: number): void {
  const applied = { index, term: log.term(index) ?? 0, conf };
  log.setApplied(applied);
  write(engine, (batch) => batch.put("meta", appliedRow(group), appliedValue(applied)), false);
}

function shape(log: LogStore): unknown {
  const terms: unknown[] = [];
  for (let at = log.firstIndex() - 2; at <= log.lastIndex() + 1; at++) terms.push([at, log.term(at)]);
  const entries = log.entries(log.firstIndex(), log.lastIndex() + 1, Number.MAX_SAFE_INTEGER) ?? [];
  const data = entries.map(({ index, term, kind, data }) => [
    index,
    term,
    kind,
    Buffer.from(data).toString("hex"),
  ]);
  // The commit index in the hard state may be behind on disk.
  const { term, vote } = log.initialState().hardState;
  return { first: log.firstIndex(), last: log.lastIndex(), terms, data, term, vote, applied: log.applied };
}

function cases(name: string, open: () => Promise<{ engine: Engine; close: () => Promise<void> }>): void {
  describe(`over ${name}`, () => {
    let engine: Engine;
    let close: () => Promise<void>;
    let log: LogStore;
    beforeEach(async () => {
      ({ engine, close } = await open());
      log = first(engine);
    });
    afterEach(() => close());
    const reopened = (): LogStore => new LogStore(engine, group);

    it("begins at the fixed first state", () => {
      expect(log.firstIndex()).toBe(11);
      expect(log.lastIndex()).toBe(10);
      expect(log.term(10)).toBe(5);
      expect(log.term(9)).toBeUndefined();
      expect(log.term(11)).toBeUndefined();
      expect(log.initialState().hardState).toEqual({ term: 5, vote: 0, commit: 10 });
    });

    it("a conflicting suffix goes in the batch that writes its successor (R3)", () => {
      write(engine, (batch) => log.append(batch, run(11, 20, 5)));
      write(engine, (batch) => log.append(batch, run(15, 16, 6)));
      expect(log.lastIndex()).toBe(16);
      expect(log.term(17)).toBeUndefined();
      expect(shape(reopened())).toEqual(shape(log));
      expect(log.term(14)).toBe(5);
      expect(log.term(15)).toBe(6);
    });

    it("serves terms and entries across what is cached, stored and compacted", () => {
      write(engine, (batch) => log.append(batch, run(11, 30, 5, 60_000)));
      apply(engine, log, 30);
      write(engine, (batch) => log.compact(batch, 15, 1000));
      expect(log.term(14)).toBeUndefined();
      expect(log.term(15)).toBe(5);
      expect(log.entries(15, 20, 1e9)).toBeUndefined();
      for (let low = 16; low <= 30; low++) {
        expect(log.entries(low, 31, 1e9)?.map(({ index }) => index)).toEqual(
          run(low, 30, 5).map(({ index }) => index),
        );
      }
      log.dropCache();
      expect(shape(reopened())).toEqual(shape(log));
    });

    it("gives at least one entry, else as many as fit", () => {
      write(engine, (batch) => log.append(batch, run(11, 20, 5, 84)));
      for (const cached of [true, false]) {
        if (!cached) log.dropCache();
        expect(log.entries(11, 21, 1)).toHaveLength(1);
        expect(log.entries(11, 21, 100)).toHaveLength(1);
        expect(log.entries(11, 14, 1e9)).toHaveLength(3);
        const some = log.entries(11, 21, 350)?.length ?? 0;
        expect(some).toBeGreaterThanOrEqual(2);
        expect(some).toBeLessThanOrEqual(3);
      }
    });

    it("compacts no more rows at once than it is told, and never beyond applied (R13, R9)", () => {
      write(engine, (batch) => log.append(batch, run(11, 30, 5)));
      apply(engine, log, 25);
      write(engine, (batch) => expect(log.compact(batch, 20, 4)).toBe(14));
      expect(log.firstIndex()).toBe(15);
      expect(() => log.compact(engine.batch(), 26, 1000)).toThrow(/beyond applied/);
    });

    it("a snapshot's jump leaves old rows out of sight and sweeps them in slices (R13)", () => {
      write(engine, (batch) => log.append(batch, run(11, 40, 5)));
      const meta = { index: 30, term: 7, conf };
      write(engine, (batch) => {
        log.reset(batch, meta);
        batch.put("meta", appliedRow(group), appliedValue(meta));
      });
      for (const one of [log, reopened()]) {
        expect([one.firstIndex(), one.lastIndex(), one.term(30), one.term(31)]).toEqual([
          31,
          30,
          7,
          undefined,
        ]);
        expect(one.needsSweep).toBe(true);
      }
      write(engine, (batch) => log.append(batch, run(31, 33, 7)));
      const again = reopened();
      expect(shape(again)).toEqual(shape(log));
      for (let i = 0; again.needsSweep; i++) {
        write(engine, (batch) => {
          again.sweep(batch, 7);
          expect(batch.size).toBeLessThanOrEqual(7);
        });
        expect(i).toBeLessThan(4);
      }
      expect(reopened().needsSweep).toBe(false);
      expect(shape(reopened())).toEqual(shape(log));
    });

    it("a hole in the stored log is an invariant broken, not a shorter log", () => {
      write(engine, (batch) => log.append(batch, run(11, 20, 5)));
      const row = engine.scan({ family: "raft", start: new Uint8Array(0) }, { limit: 100 }).rows;
      const keys = row.filter((_, i) => i % 2 === 0 && (row[i]?.length ?? 0) === 17);
      write(engine, (batch) => batch.delete("raft", keys[4] as Uint8Array));
      expect(() => reopened().entries(11, 21, 1e9)).toThrow(/missing/);
    });
  });
}

cases("memory", () => {
  const engine = openMemory(new MemoryDisk());
  return Promise.resolve({ engine, close: () => engine.close() });
});

cases("RocksDB", async () => {
  const dir = mkdtempSync(join(tmpdir(), "kvorum-log-"));
  const engine = await openRocks(dir, { logger: silentLogger, clock: realClock() });
  return {
    engine,
    close: async () => {
      await engine.close();
      rmSync(dir, { recursive: true });
    },
  };
});

type Op =
  | { readonly op: "append"; readonly back: number; readonly count: number; readonly bytes: number }
  | { readonly op: "state" | "apply" | "compact" | "snapshot" | "sweep" | "drop"; readonly by: number };

const anyOp: fc.Arbitrary<Op> = fc.oneof(
  fc.record({
    op: fc.constant("append" as const),
    back: fc.nat(4),
    count: fc.integer({ min: 1, max: 6 }),
    bytes: fc.constantFrom(5, 5, 100, 150_000),
  }),
  fc.record({
    op: fc.constantFrom("state", "apply", "apply", "compact", "snapshot", "sweep", "drop"),
    by: fc.nat(8),
  }),
);

describe("after a crash at any write", () => {
  it("the log is one that was, no older than the last synced (R2)", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(anyOp, fc.boolean()), { maxLength: 40 }),
        fc.constantFrom("none", "random", "all"),
        fc.nat(),
        (ops, keep, seed) => {
          const disk = new MemoryDisk();
          let engine = openMemory(disk);
          const log = first(engine);
          let term = 5;
          let states = [shape(log)];
          for (const [step, sync] of ops) {
            const size = engine.batch();
            const did = perform(engine, log, size, step, term);
            if (step.op === "append") term += 1;
            if (!did || size.size === 0) continue;
            engine.write(size, { sync }, () => {});
            // What the disk knows, read afresh, is what memory says.
            expect(shape(new LogStore(engine, group))).toEqual(shape(log));
            if (sync) states = [];
            states.push(shape(log));
          }
          disk.crash(seededRandom(seed), { keep });
          engine = openMemory(disk);
          expect(states).toContainEqual(shape(new LogStore(engine, group)));
        },
      ),
      { numRuns: 150 },
    );
  });
});

/** One batch of the kind a turn would write. */
function perform(engine: Engine, log: LogStore, batch: Batch, step: Op, term: number): boolean {
  const applied = log.applied.index;
  switch (step.op) {
    case "append": {
      const from = Math.max(applied + 1, log.lastIndex() + 1 - step.back);
      log.append(batch, run(from, from + step.count - 1, term + 1, step.bytes));
      return true;
    }
    case "state":
      log.setHardState(batch, { term: term + step.by, vote: step.by, commit: applied });
      return true;
    case "apply": {
      const index = Math.min(log.lastIndex(), applied + step.by);
      const next = { index, term: log.term(index) ?? 0, conf };
      log.setApplied(next);
      batch.put("meta", appliedRow(group), appliedValue(next));
      log.setHardState(batch, { ...log.initialState().hardState, commit: index });
      return true;
    }
    case "compact":
      log.compact(batch, Math.min(applied, log.firstIndex() + step.by), 3);
      return true;
    case "snapshot": {
      const meta = { index: applied + 1 + step.by, term: term + 1, conf };
      log.reset(batch, meta);
      batch.put("meta", appliedRow(group), appliedValue(meta));
      log.setHardState(batch, { ...log.initialState().hardState, commit: meta.index });
      return true;
    }
    case "sweep":
      log.sweep(batch, 3);
      return true;
    default:
      log.dropCache();
      return engine.syncs < 0;
  }
}
