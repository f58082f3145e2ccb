import { describe, expect, it } from "vitest";
import { decodeNodeReport, encodeNodeReport, type NodeReport, type ReplicaReport } from "#proto";
import { livenessOf } from "./liveness.ts";
import { clockOffset, clocksOff, ReportBook } from "./reports.ts";

const info = { name: "n2", http: "h:1", labels: { zone: "a" }, pid: 7, version: "1", startedAtMs: 5 };

function replica(group: number, state: ReplicaReport["state"] = "follower"): ReplicaReport {
  return { group, replicaId: group * 10, term: 6, state, confVersion: 1 };
}

function report(parts: Partial<NodeReport>): NodeReport {
  return {
    sequence: 1,
    baseTerm: 0,
    baseSequence: 0,
    wallMicros: 0,
    diskFreeBytes: 1,
    diskTotalBytes: 2,
    bytes: 3,
    fsyncP99Ms: 0.5,
    routes: { term: 0, sequence: 0 },
    settingsVersion: 0,
    absent: [],
    replicas: [],
    removed: [],
    ...parts,
  };
}

const term = 9;
const gapMs = 2_000;

describe("reports (R33)", () => {
  it("a full one, then deltas over it", () => {
    const book = new ReportBook(term);
    book.take(2, "b", report({ info, replicas: [replica(1), replica(2)] }), 0, gapMs);
    const delta = report({
      sequence: 2,
      baseTerm: term,
      baseSequence: 1,
      replicas: [replica(3)],
      removed: [1],
    });
    expect(book.take(2, "b", delta, 500, gapMs)).toEqual({ wantFull: false, changed: true });
    expect([...(book.get(2)?.replicas.keys() ?? [])].sort()).toEqual([2, 3]);
    const quiet = report({ sequence: 3, baseTerm: term, baseSequence: 2 });
    expect(book.take(2, "b", quiet, 1_000, gapMs)).toEqual({ wantFull: false, changed: false });
  });

  it.each([
    { name: "of another term", boot: "b", delta: { baseTerm: term - 1, baseSequence: 1 } },
    { name: "on a report we never had", boot: "b", delta: { baseTerm: term, baseSequence: 5 } },
    { name: "of another process", boot: "c", delta: { baseTerm: term, baseSequence: 1 } },
  ])("a delta $name asks for a full one", ({ boot, delta }) => {
    const book = new ReportBook(term);
    book.take(2, "b", report({ info, replicas: [replica(1)] }), 0, gapMs);
    const late = report({ sequence: 7, replicas: [replica(4)], ...delta });
    expect(book.take(2, boot, late, 500, gapMs)).toEqual({ wantFull: true, changed: false });
    expect(book.get(2)?.replicas.has(4)).toBe(false);
  });

  it("a report that was overtaken changes nothing", () => {
    const book = new ReportBook(term);
    book.take(2, "b", report({ sequence: 4, info, replicas: [replica(1)] }), 0, gapMs);
    book.take(2, "b", report({ sequence: 3, info }), 10, gapMs);
    expect(book.get(2)?.replicas.has(1)).toBe(true);
  });

  it("counts the time since it is there without a gap", () => {
    const book = new ReportBook(term);
    const at = (sequence: number, nowMs: number): void =>
      void book.take(2, "b", report({ sequence, info }), nowMs, gapMs);
    at(1, 100);
    at(2, 1_000);
    expect(book.get(2)?.sinceMs).toBe(100);
    at(3, 9_000);
    expect(book.get(2)?.sinceMs).toBe(9_000);
  });

  it("come through the wire whole", () => {
    const lead = {
      descriptor: {
        id: 3,
        keyspace: 1,
        start: Uint8Array.of(1),
        end: new Uint8Array(0),
        epoch: { version: 1, confVersion: 2 },
        replicas: [{ replicaId: 1, nodeId: 2, role: "voter" as const }],
      },
      peers: [{ replicaId: 2, lag: 5, active: true, state: "Probe" as const }],
      bytes: 10,
      keys: 2,
      writesPerSecond: 1.5,
      readsPerSecond: 0,
      rooted: true,
    };
    const sent = report({ info, absent: [3], removed: [8], replicas: [{ ...replica(3, "leader"), lead }] });
    const got = decodeNodeReport(encodeNodeReport(sent));
    expect(got).toEqual(sent);
  });
});

describe("clocks (R25)", () => {
  it.each([
    { name: "all together", offsets: [0, 100, -100], off: [] },
    { name: "one of three ahead", offsets: [0, 100, 900_000], off: [3] },
    { name: "two of two apart: half is enough", offsets: [0, 900_000], off: [] },
    { name: "alone", offsets: [5], off: [] },
    { name: "three of three apart", offsets: [0, 900_000, 1_800_000], off: [1, 2, 3] },
    { name: "two against two", offsets: [0, 0, 900_000, 900_000], off: [] },
    { name: "two against three", offsets: [0, 0, 0, 900_000, 900_000], off: [4, 5] },
  ])("$name", ({ offsets, off }) => {
    const map = new Map(offsets.map((offset, i) => [i + 1, offset]));
    expect([...clocksOff(map, 500)]).toEqual(off);
  });

  it("a delayed report alone makes no clock look slow", () => {
    const book = new ReportBook(term);
    book.take(2, "b", report({ info, wallMicros: 1_000_000 }), 1_000, gapMs);
    book.take(2, "b", report({ sequence: 2, info, wallMicros: 1_500_000 }), 9_000, gapMs);
    const heard = book.get(2);
    expect(heard === undefined ? undefined : clockOffset(heard)).toBe(0);
  });
});

describe("who is down (R32)", () => {
  const facts = {
    ageMs: 400_000,
    linkLost: true,
    loggedDown: false,
    witnesses: 2,
    missedBy: 2,
    suspectAfterMs: 2_000,
    downAfterMs: 300_000,
  };
  it.each([
    { name: "long silent, missed by all", change: {}, want: "down" },
    { name: "long silent, but half of the others hear it", change: { missedBy: 1 }, want: "suspect" },
    {
      name: "long silent, nobody shares a group with it",
      change: { witnesses: 0, missedBy: 0 },
      want: "down",
    },
    { name: "not silent for long", change: { ageMs: 5_000 }, want: "suspect" },
    { name: "link lost a moment ago", change: { ageMs: 100 }, want: "suspect" },
    { name: "reporting", change: { ageMs: 100, linkLost: false }, want: "up" },
    { name: "down by the log", change: { ageMs: 0, linkLost: false, loggedDown: true }, want: "down" },
  ])("$name: $want", ({ change, want }) => {
    expect(livenessOf({ ...facts, ...change })).toBe(want);
  });
});
