import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { KvOperation, Outcome, WriteResult } from "#proto";
import { seededRandom } from "#runtime";
import { answerWrite, Bench, commandOf, keyspace, type SentCall, shard, table } from "./fixture.ts";
import type { WriteOutcome } from "./outcome.ts";

const put: KvOperation = { kind: "put", value: Buffer.from("v"), contentType: "text/plain" };
const key = Buffer.from("k");

function write(bench: Bench, timeoutMs = 5_000, operation: KvOperation = put): WriteOutcome[] {
  const outcomes: WriteOutcome[] = [];
  bench.router.write({ keyspace: "default", key, operation, timeoutMs }, (o) => outcomes.push(o));
  return outcomes;
}

function failure(outcomes: WriteOutcome[]): { code: string; outcome: Outcome | undefined } | undefined {
  expect(outcomes.length).toBeLessThan(2);
  const outcome = outcomes[0];
  return outcome?.kind === "failed" ? { code: outcome.code, outcome: outcome.outcome } : undefined;
}

function nodes(calls: readonly SentCall[]): number[] {
  return calls.map((call) => call.node);
}

describe("the plain way", () => {
  it("goes to the leader with session, sequence and deadline, and its answer is the outcome", () => {
    const bench = new Bench();
    const outcomes = write(bench);
    expect(nodes(bench.writes)).toEqual([2]);
    const { attempt, version, keyspace: id } = commandOf(bench.writes[0]!);
    expect(attempt).toMatchObject({ sequence: 1, lowestUnanswered: 1 });
    expect(attempt.session).toMatch(/^[0-9a-f]{16}$/);
    expect(attempt.deadlineMicros).toBe(bench.clock.wallMicros() + 5_000_000);
    expect({ version, id }).toEqual({ version: 1, id: 1 });
    answerWrite(bench.writes[0], { kind: "put", revision: 42 });
    expect(outcomes).toEqual([{ kind: "put", revision: 42, shard: 7, servedBy: 2, attempts: 1 }]);
    bench.clock.advance(10_000);
    expect(bench.writes).toHaveLength(1);
    expect(bench.router.inFlight).toBe(0);
    expect(bench.clock.pending).toBe(0);
  });

  it("R23: the lowest unanswered number goes over all that is under way", () => {
    const bench = new Bench();
    for (let i = 0; i < 3; i++) write(bench);
    answerWrite(bench.writes[1], { kind: "put", revision: 1 });
    write(bench);
    answerWrite(bench.writes[0], { kind: "put", revision: 1 });
    write(bench);
    const seen = bench.writes.map((call) => commandOf(call).attempt);
    expect(seen.map((a) => [a.sequence, a.lowestUnanswered])).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
      [4, 1],
      [5, 3],
    ]);
  });

  it("R23: the deadline stands on the shard's clock where that is known to be ahead of ours", () => {
    const bench = new Bench();
    const aheadMicros = bench.clock.wallMicros() + 60_000_000;
    write(bench);
    answerWrite(bench.writes[0], { kind: "put", revision: 1 }, aheadMicros);
    write(bench, 1_000);
    expect(commandOf(bench.writes[1]!).attempt.deadlineMicros).toBe(aheadMicros + 1_000_000);
  });

  it("a condition that does not hold is an answer", () => {
    const bench = new Bench();
    const outcomes = write(bench, 5_000, { ...put, condition: { noneMatch: "any" } });
    answerWrite(bench.writes[0], { kind: "precondition_failed", revision: 9 });
    expect(outcomes).toMatchObject([{ kind: "precondition_failed", revision: 9 }]);
  });
});

describe("leaders that change", () => {
  it("a hint is followed at once", () => {
    const bench = new Bench();
    const outcomes = write(bench);
    answerWrite(bench.writes[0], { kind: "not_leader", leader: 3 });
    expect(nodes(bench.writes)).toEqual([2, 3]);
    expect(bench.clock.nowMs()).toBe(0);
    expect(commandOf(bench.writes[1]!)).toEqual(commandOf(bench.writes[0]!));
    answerWrite(bench.writes[1], { kind: "put", revision: 1 });
    expect(outcomes).toMatchObject([{ kind: "put", attempts: 2, servedBy: 3 }]);
    write(bench);
    expect(bench.writes.at(-1)?.node).toBe(3);
  });

  it("two replicas that name each other cause no loop without pauses", () => {
    const bench = new Bench();
    const outcomes = write(bench, 2_000);
    bench.rpc.onCall = (call) =>
      bench.clock.soon(() => answerWrite(call, { kind: "not_leader", leader: call.node === 2 ? 3 : 2 }));
    answerWrite(bench.writes[0], { kind: "not_leader", leader: 3 });
    bench.clock.advance(3_000);
    expect(bench.writes.length).toBeLessThan(30);
    expect(failure(outcomes)).toEqual({ code: "unavailable", outcome: "not_applied" });
  });

  it("an unreachable leader: the others are tried within milliseconds, by one write for all", () => {
    const bench = new Bench();
    const all = Array.from({ length: 50 }, () => write(bench));
    expect(bench.writes).toHaveLength(50);
    for (const call of [...bench.writes]) call.fail("unreachable", true);
    bench.clock.advance(100);
    // One scout after another, not fifty at once.
    expect(bench.writes.length).toBeLessThan(56);
    const scout = bench.writes[50];
    expect(scout?.node).not.toBe(2);
    answerWrite(scout, { kind: "not_leader", leader: 3 });
    // What it found out wakes the others.
    const toNew = bench.writes.slice(50).filter((call) => call.node === 3 && !call.answered);
    expect(toNew.length).toBeGreaterThanOrEqual(49);
    for (const call of toNew) answerWrite(call, { kind: "put", revision: 5 });
    expect(all.flat().filter((outcome) => outcome.kind === "put")).toHaveLength(50);
  });

  it("word of a new leader from elsewhere re-sends what waits for the old one", () => {
    const bench = new Bench();
    write(bench);
    bench.clock.advance(30);
    bench.cache.setLeader(7, 1);
    expect(nodes(bench.writes)).toEqual([2, 1]);
    bench.cache.setLeader(7, 1);
    expect(bench.writes).toHaveLength(2);
  });

  it("a silent leader: another replica is asked within half a second, and the first answer counts", () => {
    const bench = new Bench();
    const outcomes = write(bench);
    bench.clock.advance(500);
    expect(bench.writes.length).toBeGreaterThan(1);
    expect(bench.writes[1]?.node).not.toBe(2);
    answerWrite(bench.writes[0], { kind: "put", revision: 8 });
    expect(outcomes).toMatchObject([{ kind: "put", revision: 8, servedBy: 2 }]);
  });

  it("a lost request is sent again to a leader that everybody names, in pauses that grow", () => {
    const bench = new Bench();
    bench.rpc.onCall = (call) => {
      if (call.node !== 2) bench.clock.soon(() => answerWrite(call, { kind: "not_leader", leader: 2 }));
    };
    const outcomes = write(bench, 10_000);
    bench.clock.advance(6_000);
    const toLeader = bench.writes.filter((call) => call.node === 2);
    expect(toLeader.length).toBeGreaterThan(1);
    expect(toLeader.length).toBeLessThan(6);
    expect(bench.writes.length).toBeLessThan(60);
    answerWrite(toLeader.at(-1), { kind: "put", revision: 3 });
    expect(outcomes).toMatchObject([{ kind: "put" }]);
  });

  it("the replica here is asked first where no leader is known", () => {
    const bench = new Bench([{ shard: shard(7, 0, 256) }], { self: 3 });
    write(bench);
    expect(nodes(bench.writes)).toEqual([3]);
  });
});

describe("shards that change", () => {
  it("heals from the descriptors of a refusal and proposes to the child in the same step", () => {
    const bench = new Bench();
    const outcomes = write(bench);
    const epoch = { version: 2, confVersion: 1 };
    const current = [shard(7, 0, 1, { epoch }), shard(9, 1, 256, { epoch })];
    answerWrite(bench.writes[0], { kind: "epoch_mismatch", current });
    const second = commandOf(bench.writes[1]!);
    expect(second.version).toBe(2);
    expect(second.attempt.sequence).toBe(1);
    expect(second.attempt.deadlineMicros).toBe(commandOf(bench.writes[0]!).attempt.deadlineMicros);
    answerWrite(bench.writes[1], { kind: "put", revision: 1 });
    expect(outcomes).toMatchObject([{ kind: "put", shard: 9 }]);
  });

  it("a replica that is behind us is asked again after a pause", () => {
    const bench = new Bench();
    write(bench);
    answerWrite(bench.writes[0], { kind: "epoch_mismatch", current: [shard(7, 0, 256)] });
    expect(bench.writes).toHaveLength(1);
    bench.clock.advance(100);
    expect(bench.writes).toHaveLength(2);
  });

  it("a replica that is gone: routes are fetched anew", () => {
    const bench = new Bench();
    write(bench);
    answerWrite(bench.writes[0], { kind: "no_replica" });
    expect(bench.cache.stats.fetches).toBe(1);
    const replicas = [4, 5, 6].map((node) => ({ replicaId: node, nodeId: node, role: "voter" as const }));
    const moved = shard(7, 0, 256, { epoch: { version: 1, confVersion: 9 }, replicas });
    bench.cache.applyTable(table(2, [{ shard: moved, leader: 5 }]));
    bench.clock.advance(100);
    expect(bench.writes[1]?.node).toBe(5);
  });

  it("without any route to the key it waits for one, then fails as not applied", () => {
    const bench = new Bench([]);
    bench.cache.applyTable(table(1, []));
    const outcomes = write(bench, 1_000);
    bench.clock.advance(1_100);
    expect(failure(outcomes)).toEqual({ code: "unavailable", outcome: "not_applied" });
    expect(bench.writes).toHaveLength(0);
  });
});

describe("the shard's clock (R23)", () => {
  it("a refused deadline is proposed again with a new one on the shard's clock, same sequence", () => {
    const bench = new Bench();
    const outcomes = write(bench);
    const clockMicros = bench.clock.wallMicros() + 9_000_000;
    bench.clock.advance(100);
    answerWrite(bench.writes[0], { kind: "deadline" }, clockMicros);
    const [first, second] = bench.writes.map((call) => commandOf(call).attempt);
    expect(second?.deadlineMicros).toBe(clockMicros + 4_900_000);
    expect(second?.sequence).toBe(first?.sequence);
    answerWrite(bench.writes[1], { kind: "put", revision: 1 });
    expect(outcomes).toMatchObject([{ kind: "put" }]);
  });

  it("R23: attempts that may be alive never differ in their deadline", () => {
    const bench = new Bench();
    write(bench);
    bench.clock.advance(450);
    answerWrite(bench.writes[1], { kind: "not_leader", leader: 3 });
    bench.clock.advance(2_000);
    const epoch = { version: 2, confVersion: 1 };
    answerWrite(bench.writes.at(-1), { kind: "epoch_mismatch", current: [shard(7, 0, 256, { epoch })] });
    bench.clock.advance(2_000);
    expect(bench.writes.length).toBeGreaterThan(3);
    expect(new Set(bench.writes.map((call) => commandOf(call).attempt.deadlineMicros)).size).toBe(1);
  });

  it("R24: a refused deadline clears the silence of the attempts that carried it", () => {
    const bench = new Bench();
    const outcomes = write(bench, 1_000);
    const { deadlineMicros } = commandOf(bench.writes[0]!).attempt;
    bench.writes[0]?.fail("unreachable", true);
    bench.clock.advance(100);
    answerWrite(bench.writes[1], { kind: "deadline" }, deadlineMicros + 1_000_000);
    bench.rpc.onCall = (call) => call.fail("unreachable", false);
    bench.writes.at(-1)?.fail("unreachable", false);
    bench.clock.advance(1_000);
    expect(failure(outcomes)).toEqual({ code: "unavailable", outcome: "not_applied" });
  });

  it("R23, R24: one past the deadline by 10 min ends a write that may be applied: its record may be gone", () => {
    const bench = new Bench();
    const outcomes = write(bench);
    const { deadlineMicros } = commandOf(bench.writes[0]!).attempt;
    bench.writes[0]?.fail("unreachable", true);
    bench.clock.advance(100);
    const sent = bench.writes.length;
    answerWrite(bench.writes[1], { kind: "deadline" }, deadlineMicros + 600_000_000);
    bench.clock.advance(10_000);
    expect(bench.writes).toHaveLength(sent);
    expect(failure(outcomes)).toEqual({ code: "timeout", outcome: "unknown" });
  });

  it("R23: where nothing else was sent, one past the deadline by 10 min is proposed again", () => {
    const bench = new Bench();
    const outcomes = write(bench);
    const { deadlineMicros } = commandOf(bench.writes[0]!).attempt;
    answerWrite(bench.writes[0], { kind: "deadline" }, deadlineMicros + 600_000_000);
    answerWrite(bench.writes[1], { kind: "put", revision: 1 });
    expect(outcomes).toMatchObject([{ kind: "put", revision: 1 }]);
  });
});

describe("outcomes (R24)", () => {
  it("R24: a silence stays unknown whatever is refused later", () => {
    const bench = new Bench();
    const outcomes = write(bench, 2_000);
    bench.writes[0]?.fail("unreachable", true);
    bench.rpc.onCall = (call) => bench.clock.soon(() => answerWrite(call, { kind: "not_leader" }));
    bench.clock.advance(2_100);
    expect(bench.writes.length).toBeGreaterThan(3);
    expect(failure(outcomes)).toEqual({ code: "timeout", outcome: "unknown" });
  });

  it.each<{ name: string; result: WriteResult; code: string; outcome: Outcome }>([
    {
      name: "no leader anywhere",
      result: { kind: "not_leader" },
      code: "unavailable",
      outcome: "not_applied",
    },
    { name: "no replica", result: { kind: "no_replica" }, code: "unavailable", outcome: "not_applied" },
    {
      name: "nobody may propose now",
      result: { kind: "not_now", detail: "draining" },
      code: "unavailable",
      outcome: "not_applied",
    },
    { name: "dropped each time", result: { kind: "dropped" }, code: "unavailable", outcome: "not_applied" },
    {
      name: "too busy each time",
      result: { kind: "too_busy", detail: "full" },
      code: "too_busy",
      outcome: "not_applied",
    },
    { name: "disk full", result: { kind: "storage_full" }, code: "storage_full", outcome: "not_applied" },
    {
      name: "a bad command",
      result: { kind: "bad_command", detail: "no" },
      code: "bad_request",
      outcome: "not_applied",
    },
    { name: "leadership lost", result: { kind: "unknown" }, code: "timeout", outcome: "unknown" },
  ])("$name: $code, $outcome", ({ result, code, outcome }) => {
    const bench = new Bench();
    bench.rpc.onCall = (call) => bench.clock.soon(() => answerWrite(call, result));
    const outcomes = write(bench, 2_000);
    bench.clock.advance(2_100);
    expect(failure(outcomes)).toEqual({ code, outcome });
    expect(bench.writes.length).toBeLessThan(40);
    expect(bench.router.inFlight).toBe(0);
  });

  it.each([
    { reason: "disconnected", sent: false, code: "unavailable", outcome: "not_applied" },
    { reason: "disconnected", sent: true, code: "timeout", outcome: "unknown" },
    { reason: "too_busy", sent: false, code: "too_busy", outcome: "not_applied" },
    { reason: "unreachable", sent: true, code: "timeout", outcome: "unknown" },
  ] as const)("$reason, sent: $sent: $code, $outcome", ({ reason, sent, code, outcome }) => {
    const bench = new Bench();
    bench.rpc.onCall = (call) => bench.clock.soon(() => call.fail(reason, sent));
    const outcomes = write(bench, 2_000);
    bench.clock.advance(2_100);
    expect(failure(outcomes)).toEqual({ code, outcome });
  });

  it("nothing is tried in the last moment that could only turn a no into a perhaps", () => {
    const bench = new Bench();
    bench.rpc.onCall = (call) => void bench.clock.after(45, () => answerWrite(call, { kind: "not_leader" }));
    const outcomes = write(bench, 2_000);
    bench.clock.advance(2_100);
    expect(failure(outcomes)).toEqual({ code: "unavailable", outcome: "not_applied" });
  });

  it("unanswered at the deadline is a timeout, and a late answer is not told a second time", () => {
    const bench = new Bench();
    const outcomes = write(bench, 1_000);
    bench.clock.advance(1_100);
    expect(failure(outcomes)).toEqual({ code: "timeout", outcome: "unknown" });
    const late = bench.writes.find((call) => !call.answered);
    if (late !== undefined) answerWrite(late, { kind: "put", revision: 1 });
    expect(outcomes).toHaveLength(1);
  });

  it("a malformed answer is silence", () => {
    const bench = new Bench();
    const outcomes = write(bench, 500);
    bench.writes[0]?.reply(Uint8Array.of(0xc1));
    bench.clock.advance(600);
    expect(bench.router.stats.malformed).toBe(1);
    expect(failure(outcomes)).toEqual({ code: "timeout", outcome: "unknown" });
  });

  it("closing gives what is under way the outcome that is certain now", () => {
    const bench = new Bench();
    const sent = write(bench);
    const scouting = new Bench([{ shard: shard(7, 0, 256) }]);
    scouting.rpc.onCall = (call) => call.fail("disconnected", false);
    const unsent = write(scouting);
    for (const each of [bench, scouting]) each.router.close();
    expect(failure(sent)).toEqual({ code: "timeout", outcome: "unknown" });
    expect(failure(unsent)).toEqual({ code: "unavailable", outcome: "not_applied" });
    expect(failure(write(bench))).toEqual({ code: "unavailable", outcome: "not_applied" });
  });

  it("R24: under any mixture of refusals, silences and lies about leaders, not_applied is said only if true", () => {
    const kinds = fc.constantFrom(
      "not_leader",
      "hint",
      "silent",
      "lost",
      "dropped",
      "unknown",
      "busy",
      "unsent",
      "apply_late",
      "put",
    );
    fc.assert(
      fc.property(fc.array(kinds, { minLength: 1, maxLength: 30 }), fc.nat(), (script, seed) => {
        const bench = new Bench();
        const random = seededRandom(seed);
        // Whether some attempt was, or may be, applied.
        let doubtful = false;
        let at = 0;
        bench.rpc.onCall = (call) => {
          if (call.method !== 1) return;
          const kind = script[at++ % script.length];
          const later = (run: () => void) => void bench.clock.after(random.below(400), run);
          switch (kind) {
            case "not_leader":
              return later(() => answerWrite(call, { kind: "not_leader" }));
            case "hint":
              return later(() => answerWrite(call, { kind: "not_leader", leader: 1 + random.below(3) }));
            case "dropped":
              return later(() => answerWrite(call, { kind: "dropped" }));
            case "busy":
              return later(() => answerWrite(call, { kind: "too_busy", detail: "" }));
            case "unsent":
              return void bench.clock.soon(() => call.fail("disconnected", false));
            case "put":
              doubtful = true;
              return later(() => answerWrite(call, { kind: "put", revision: 1 }));
            case "unknown":
              doubtful = true;
              return later(() => answerWrite(call, { kind: "unknown" }));
            case "lost":
              doubtful = true;
              return later(() => call.fail("unreachable", true));
            default:
              doubtful = true;
          }
        };
        const outcomes = write(bench, 2_000);
        bench.clock.advance(2_500);
        expect(outcomes).toHaveLength(1);
        const [outcome] = outcomes;
        if (outcome?.kind === "failed") {
          const open = bench.writes.some((call) => call.atMs > 1_500);
          if (doubtful) expect(outcome.outcome).toBe("unknown");
          else if (!open) expect(outcome.outcome).toBe("not_applied");
          expect(outcome.code === "timeout").toBe(outcome.outcome === "unknown");
        } else expect(doubtful).toBe(true);
        bench.clock.advance(10_000);
        expect(bench.router.inFlight).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});

describe("limits", () => {
  it("too many requests, or too many bytes, are refused as not applied; room comes back", () => {
    const bench = new Bench(undefined, { limits: { requests: 2, bytes: 10_000 } });
    const first = write(bench);
    write(bench);
    expect(failure(write(bench))).toEqual({ code: "too_busy", outcome: "not_applied" });
    answerWrite(bench.writes[0], { kind: "put", revision: 1 });
    expect(first).toHaveLength(1);
    const large: KvOperation = { ...put, value: Buffer.alloc(9_500) };
    expect(failure(write(bench, 5_000, large))).toEqual({ code: "too_busy", outcome: "not_applied" });
    answerWrite(bench.writes[1], { kind: "put", revision: 1 });
    // Alone, it may be larger than all the room there is.
    expect(write(bench, 5_000, large)).toHaveLength(0);
    expect(bench.router.inFlightBytes).toBeGreaterThan(9_500);
  });
});

describe("keyspaces", () => {
  it("until the default one exists: unavailable, not applied", () => {
    const bench = new Bench([]);
    expect(failure(write(bench))).toEqual({ code: "unavailable", outcome: "not_applied" });
    bench.cache.applyTable(table(1, [], { keyspaces: [] }));
    expect(failure(write(bench))).toEqual({ code: "unavailable", outcome: "not_applied" });
  });

  it("one made a moment ago through another node is found; one that is not there is none", () => {
    const bench = new Bench();
    bench.clock.advance(5_000);
    const outcomes: WriteOutcome[] = [];
    const ask = (name: string) =>
      bench.router.write({ keyspace: name, key, operation: put, timeoutMs: 5_000 }, (o) => outcomes.push(o));
    ask("new");
    const made = { ...keyspace, id: 2, name: "new" };
    const routes = [{ shard: shard(20, 0, 256, { keyspace: 2 }), leader: 1 }];
    bench.cache.applyTable(table(2, routes, { keyspaces: [keyspace, made] }));
    bench.rpc.sent[0]?.fail("unreachable", false);
    expect(bench.writes).toHaveLength(1);
    ask("none");
    expect(outcomes).toMatchObject([{ kind: "failed", code: "no_such_keyspace", outcome: "not_applied" }]);
  });
});
