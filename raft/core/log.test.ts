import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RaftLog } from "./log.ts";
import { MemoryLog } from "./memory-log.ts";
import { confOf } from "./testing/cluster.ts";
import { type Entry, entryBytes } from "./types.ts";

const unlimited = Number.POSITIVE_INFINITY;

function entry(index: number, term: number, size = 0): Entry {
  return { index, term, kind: "normal", data: new Uint8Array(size) };
}

function logOf(terms: readonly number[], compacted = 0): { log: RaftLog; store: MemoryLog } {
  const store = new MemoryLog({ conf: confOf([1]), index: compacted, term: compacted > 0 ? 1 : 0 });
  store.append(terms.map((term, at) => entry(compacted + at + 1, term)));
  return { log: new RaftLog(store, unlimited), store };
}

/** Writes what is unwritten and acknowledges it. */
function write(log: RaftLog, store: MemoryLog): void {
  store.append(log.unwritten());
  log.acceptWrite();
  log.stableTo(log.last, log.lastTerm());
}

describe("the log", () => {
  it.each([
    {
      name: "the follower's later terms are skipped",
      terms: [1, 3, 3, 4, 4, 5, 5, 5, 6],
      from: 8,
      term: 3,
      want: { index: 3, term: 3 },
    },
    {
      name: "an entry that may match is the guess",
      terms: [1, 2, 2],
      from: 3,
      term: 2,
      want: { index: 3, term: 2 },
    },
    { name: "none may: the log's beginning", terms: [4, 4], from: 2, term: 3, want: { index: 0, term: 0 } },
  ])("guesses where logs meet (5.3): $name", ({ terms, from, term, want }) => {
    expect(logOf(terms).log.findConflictByTerm(from, term)).toEqual(want);
  });

  it("does not know terms before its beginning, but that of the entry just before", () => {
    const { log } = logOf([2, 2], 5);
    expect([4, 5, 6, 7, 8].map((index) => log.term(index))).toEqual([undefined, 1, 2, 2, undefined]);
    expect(log.findConflictByTerm(5, 0)).toEqual({ index: 4, term: 0 });
  });

  it("never replaces what is committed", () => {
    const { log } = logOf([1, 1]);
    log.commitTo(2);
    expect(() => log.append([entry(2, 2)])).toThrow("never replaced");
    expect(() => log.commitTo(3)).toThrow("not in the log");
  });

  it("hands out entries for writing once, and again when they were replaced", () => {
    const { log } = logOf([]);
    log.append([entry(1, 1), entry(2, 1)]);
    expect(log.unwritten()).toHaveLength(2);
    log.acceptWrite();
    expect(log.hasUnwritten()).toBe(false);
    log.append([entry(2, 2)]);
    expect(log.unwritten()).toEqual([entry(2, 2)]);
  });

  it("an acknowledgement of what was replaced meanwhile does not count", () => {
    const { log } = logOf([]);
    log.append([entry(1, 1), entry(2, 1)]);
    log.acceptWrite();
    log.append([entry(2, 2)]);
    log.stableTo(2, 1);
    expect(log.stable).toBe(0);
    log.stableTo(1, 1);
    expect(log.stable).toBe(1);
  });

  it("what was handed out is never changed afterwards", () => {
    const { log } = logOf([]);
    log.append([entry(1, 1)]);
    const out = log.unwritten();
    log.append([entry(2, 1)]);
    expect(out).toHaveLength(1);
  });

  it("limits what is out for applying; one entry always goes", () => {
    const store = new MemoryLog({ conf: confOf([1]) });
    const log = new RaftLog(store, entryBytes(entry(1, 1, 100)) + 1);
    log.append([entry(1, 1, 100), entry(2, 1, 100), entry(3, 1, 500)]);
    log.commitTo(3);
    const sizes: number[] = [];
    while (log.hasCommitted(true)) {
      const out = log.nextCommitted(true);
      const bytes = out.reduce((sum, it) => sum + entryBytes(it), 0);
      log.acceptApplying(out.at(-1)?.index ?? 0, bytes, true);
      sizes.push(out.length);
      expect(log.hasCommitted(true)).toBe(false);
      log.appliedTo(out.at(-1)?.index ?? 0, bytes);
    }
    expect(sizes).toEqual([1, 1, 1]);
  });

  it("the usual way of an entry does not read the store", () => {
    const store = new MemoryLog({ conf: confOf([1]) });
    let reads = 0;
    const counting: MemoryLog = Object.assign(Object.create(store) as MemoryLog, {
      entries: () => {
        reads++;
        return [];
      },
    });
    const log = new RaftLog(
      Object.assign(counting, { lastIndex: () => 0, firstIndex: () => 1, term: () => 0 }),
      unlimited,
    );
    for (let index = 1; index <= 50; index++) {
      log.append([entry(index, 1)]);
      log.entriesFrom(index, unlimited);
      log.acceptWrite();
      log.stableTo(index, 1);
      log.commitTo(index);
      expect(log.nextCommitted(true)).toHaveLength(1);
      log.acceptApplying(index, 16, true);
      log.appliedTo(index, 16);
    }
    expect(reads).toBe(0);
  });

  it("agrees with a plain array under any run of appends, writes, commits and compactions", () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant("append" as const),
        back: fc.nat(3),
        count: fc.integer({ min: 1, max: 4 }),
      }),
      fc.record({ kind: fc.constant("write" as const) }),
      fc.record({ kind: fc.constant("commit" as const), by: fc.nat(3) }),
      fc.record({ kind: fc.constant("apply" as const), by: fc.nat(3) }),
      fc.record({ kind: fc.constant("compact" as const), keep: fc.nat(3) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { log, store } = logOf([]);
        let model: Entry[] = [];
        let term = 0;
        for (const it of steps) {
          if (it.kind === "append") {
            const from = Math.max(log.committed, log.last - it.back) + 1;
            term++;
            const added = Array.from({ length: it.count }, (_, at) => entry(from + at, term, at * 10));
            log.append(added);
            model = [...model.slice(0, from - 1), ...added];
          } else if (it.kind === "write") write(log, store);
          else if (it.kind === "commit") log.commitTo(Math.min(log.last, log.committed + it.by));
          else if (it.kind === "apply") log.appliedTo(Math.min(log.committed, log.applied + it.by), 0);
          else store.compact(Math.min(log.applied, log.stable) - it.keep);
          expect(log.last).toBe(model.length);
          const first = log.firstIndex();
          for (const have of model) {
            if (have.index >= first) expect(log.term(have.index)).toBe(have.term);
          }
          expect(log.slice(first, log.last + 1, unlimited) ?? []).toEqual(model.slice(first - 1));
          for (const limit of [0, 30, 60]) checkLimited(log, model.slice(first - 1), first, limit);
        }
      }),
    );
  });
});

/** As many as fit, at least one. */
function checkLimited(log: RaftLog, model: readonly Entry[], first: number, limit: number): void {
  let bytes = 0;
  let count = 0;
  for (const it of model) {
    bytes += entryBytes(it);
    if (bytes > limit && count > 0) break;
    count++;
  }
  expect(log.entriesFrom(first, limit)).toEqual(model.slice(0, count));
}
