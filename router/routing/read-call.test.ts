import { describe, expect, it } from "vitest";
import type { StoredValue } from "#proto";
import { answerRead, Bench, readOf, shard } from "./fixture.ts";
import type { ReadOutcome } from "./outcome.ts";
import type { ReadSpec } from "./read-call.ts";

const key = Buffer.from("k");
const stored: StoredValue = { revision: 3, contentType: "text/plain", value: Uint8Array.of(118) };
const linearizable: ReadSpec = { consistency: "linearizable" };

function read(bench: Bench, spec: ReadSpec = linearizable, timeoutMs = 5_000): ReadOutcome[] {
  const outcomes: ReadOutcome[] = [];
  bench.router.read({ keyspace: "default", key, timeoutMs, ...spec }, (o) => outcomes.push(o));
  return outcomes;
}

describe("which replica is asked", () => {
  const led = { shard: shard(7, 0, 256), leader: 2 };
  it.each<{ name: string; self?: number; spec: ReadSpec; want: number }>([
    { name: "linearizable, a replica here: it (R18)", self: 3, spec: linearizable, want: 3 },
    { name: "linearizable, none here: the leader", spec: linearizable, want: 2 },
    { name: "leader: the leader, though one is here", self: 3, spec: { consistency: "leader" }, want: 2 },
    { name: "stale: the one here", self: 3, spec: { consistency: "stale" }, want: 3 },
  ])("$name", ({ self, spec, want }) => {
    const bench = new Bench([led], self === undefined ? {} : { self });
    const outcomes = read(bench, spec);
    expect(bench.reads.map((call) => call.node)).toEqual([want]);
    answerRead(bench.reads[0], { kind: "found", stored });
    expect(outcomes).toMatchObject([{ kind: "found", stored, shard: 7, servedBy: want, attempts: 1 }]);
  });

  it("stale: the nearest by what was measured; the others are tried again after a while", () => {
    const bench = new Bench();
    const latencyMs: Record<number, number> = { 1: 30, 2: 20, 3: 2 };
    bench.rpc.onCall = (call) =>
      void bench.clock.after(latencyMs[call.node] ?? 0, () =>
        answerRead(call, { kind: "absent", stalenessMs: 1 }),
      );
    for (let i = 0; i < 20; i++) {
      read(bench, { consistency: "stale" });
      bench.clock.advance(100);
    }
    expect(bench.reads.slice(3).map((call) => call.node)).toEqual(Array(17).fill(3));
    bench.clock.advance(11_000);
    read(bench, { consistency: "stale" });
    read(bench, { consistency: "stale" });
    expect(bench.clock.pending).toBeGreaterThan(0);
  });

  it("learners serve stale reads only", () => {
    const replicas = [{ replicaId: 9, nodeId: 9, role: "learner" as const }];
    const bench = new Bench([{ shard: shard(7, 0, 256, { replicas }) }]);
    read(bench);
    expect(bench.reads).toHaveLength(0);
    read(bench, { consistency: "stale" });
    expect(bench.reads.map((call) => call.node)).toEqual([9]);
  });
});

describe("stale reads", () => {
  it("carry their bounds, and tell how stale the answer may be", () => {
    const bench = new Bench();
    const outcomes = read(bench, { consistency: "stale", maxStalenessMs: 500, minRevision: 7 });
    expect(readOf(bench.reads[0]!)).toMatchObject({
      consistency: "stale",
      maxStalenessMs: 500,
      minRevision: 7,
    });
    answerRead(bench.reads[0], { kind: "absent", stalenessMs: 120 });
    expect(outcomes).toMatchObject([{ kind: "absent", stalenessMs: 120 }]);
  });

  it("one that no replica can serve is served as linearizable, staleness 0", () => {
    const bench = new Bench();
    const outcomes = read(bench, { consistency: "stale", minRevision: 7 });
    answerRead(bench.reads[0], { kind: "too_stale" });
    const second = readOf(bench.reads[1]!);
    expect(second).toMatchObject({ consistency: "linearizable" });
    expect(second.minRevision).toBeUndefined();
    answerRead(bench.reads[1], { kind: "found", stored });
    expect(outcomes).toMatchObject([{ kind: "found", stalenessMs: 0 }]);
  });
});

describe("replicas that do not serve", () => {
  it("a silent one is hedged with another within half a second; the first answer wins", () => {
    const bench = new Bench();
    const outcomes = read(bench);
    bench.clock.advance(500);
    expect(bench.reads).toHaveLength(2);
    expect(bench.reads[1]?.node).not.toBe(bench.reads[0]?.node);
    answerRead(bench.reads[1], { kind: "found", stored });
    // The silent one is avoided for a while, until it is heard.
    read(bench);
    expect(bench.reads[2]?.node).not.toBe(2);
    answerRead(bench.reads[0], { kind: "absent" });
    read(bench);
    expect(bench.reads[3]?.node).toBe(2);
    expect(outcomes).toMatchObject([{ kind: "found" }]);
  });

  it("hedges are bounded when all is slow: load is not doubled", () => {
    const bench = new Bench();
    // Something is heard of each node all the time, so that none is suspect.
    const chatter = (): void => {
      for (const node of [1, 2, 3]) {
        bench.clock.after(node, () => read(bench, { consistency: "stale" }));
      }
      bench.clock.after(50, chatter);
    };
    bench.rpc.onCall = (call) => {
      if (readOf(call).consistency === "stale")
        bench.clock.soon(() => answerRead(call, { kind: "absent", stalenessMs: 0 }));
    };
    chatter();
    for (let i = 0; i < 1_000; i++) read(bench, linearizable, 2_000);
    bench.clock.advance(2_100);
    expect(bench.router.stats.hedges).toBeLessThan(1_300);
  });

  it("an unreachable one is passed over at once", () => {
    const bench = new Bench();
    const outcomes = read(bench);
    bench.reads[0]?.fail("unreachable", true);
    expect(bench.clock.nowMs()).toBe(0);
    answerRead(bench.reads[1], { kind: "absent" });
    expect(outcomes).toMatchObject([{ kind: "absent", attempts: 2 }]);
  });

  it("a new epoch heals the route and the read goes on", () => {
    const bench = new Bench();
    const outcomes = read(bench);
    const epoch = { version: 2, confVersion: 1 };
    const current = [shard(7, 0, 1, { epoch }), shard(9, 1, 256, { epoch })];
    answerRead(bench.reads[0], { kind: "epoch_mismatch", current });
    expect(readOf(bench.reads[1]!)).toMatchObject({ shard: 9, version: 2 });
    answerRead(bench.reads[1], { kind: "absent" });
    expect(outcomes).toMatchObject([{ kind: "absent", shard: 9 }]);
  });

  it.each([
    { name: "no leader anywhere", result: { kind: "not_leader" } as const, code: "unavailable" },
    { name: "no replica", result: { kind: "no_replica" } as const, code: "unavailable" },
    { name: "too busy", result: { kind: "too_busy", detail: "full" } as const, code: "too_busy" },
    { name: "no quorum answers", result: { kind: "timeout" } as const, code: "timeout" },
  ])("$name: $code, in bounded attempts", ({ result, code }) => {
    const bench = new Bench();
    bench.rpc.onCall = (call) => bench.clock.soon(() => answerRead(call, result));
    const outcomes = read(bench, linearizable, 2_000);
    bench.clock.advance(2_100);
    expect(outcomes).toMatchObject([{ kind: "failed", code }]);
    expect(bench.reads.length).toBeLessThan(80);
    expect(bench.router.inFlight).toBe(0);
  });

  it("silence everywhere is a timeout at the deadline, not before", () => {
    const bench = new Bench();
    const outcomes = read(bench, linearizable, 1_000);
    bench.clock.advance(990);
    expect(outcomes).toHaveLength(0);
    bench.clock.advance(20);
    expect(outcomes).toMatchObject([{ kind: "failed", code: "timeout" }]);
  });
});
