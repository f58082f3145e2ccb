import { describe, expect, it } from "vitest";
import {
  type AdminRequest,
  type AdminResponse,
  adminMethod,
  decodeAdminRequest,
  encodeAdminResponse,
} from "#proto";
import type { AdminOutcome } from "./admin-call.ts";
import { Bench, type SentCall } from "./fixture.ts";

const request = { operation: "nodes.list", parameters: { limit: 5 } };

function ask(bench: Bench, timeoutMs = 5_000, asked: AdminRequest = request): AdminOutcome[] {
  const outcomes: AdminOutcome[] = [];
  bench.router.admin(asked, timeoutMs, (outcome) => outcomes.push(outcome));
  return outcomes;
}

function answer(call: SentCall | undefined, response: AdminResponse): void {
  call?.reply(encodeAdminResponse(response));
}

describe("requests to placement", () => {
  it("go to its leader", () => {
    const bench = new Bench();
    const outcomes = ask(bench);
    const [call] = bench.rpc.of(adminMethod);
    expect(call?.node).toBe(1);
    expect(decodeAdminRequest(call!.body)).toEqual(request);
    answer(call, { kind: "ok", status: 200, body: { items: [] } });
    expect(outcomes).toEqual([{ kind: "ok", status: 200, body: { items: [] }, servedBy: 1 }]);
  });

  it("follow a hint at once, and remember it", () => {
    const bench = new Bench();
    ask(bench);
    answer(bench.rpc.of(adminMethod)[0], { kind: "not_leader", leader: 3 });
    expect(bench.rpc.of(adminMethod)[1]?.node).toBe(3);
    answer(bench.rpc.of(adminMethod)[1], { kind: "ok", status: 200, body: 1 });
    ask(bench);
    expect(bench.rpc.of(adminMethod)[2]?.node).toBe(3);
  });

  it("pass over silent members until the deadline, then say which of the two it was", () => {
    const bench = new Bench();
    const outcomes = ask(bench);
    bench.clock.advance(5_100);
    expect(new Set(bench.rpc.of(adminMethod).map((call) => call.node)).size).toBeGreaterThan(1);
    expect(outcomes).toMatchObject([{ kind: "error", code: "timeout" }]);
  });

  it("end as unavailable when nobody leads", () => {
    const bench = new Bench();
    bench.rpc.onCall = (call) => bench.clock.soon(() => answer(call, { kind: "not_leader" }));
    const outcomes = ask(bench, 2_000);
    bench.clock.advance(2_600);
    expect(outcomes).toMatchObject([{ kind: "error", code: "unavailable" }]);
    expect(bench.rpc.of(adminMethod).length).toBeLessThan(20);
    bench.clock.advance(5_000);
    expect(bench.clock.pending).toBe(0);
  });

  it("closing ends what is under way", () => {
    const bench = new Bench();
    const outcomes = ask(bench);
    bench.router.close();
    expect(outcomes).toMatchObject([{ kind: "error", code: "unavailable" }]);
  });
});

describe("changes (R24)", () => {
  const change: AdminRequest = { operation: "shards.split", parameters: { id: 7 } };
  const keyOf = (call: SentCall | undefined) => decodeAdminRequest(call!.body).parameters["idempotency_key"];

  it("are sent again after silence under one key, another one for each request", () => {
    const bench = new Bench();
    const outcomes = ask(bench, 5_000, change);
    bench.clock.advance(3_000);
    const calls = bench.rpc.of(adminMethod);
    expect(calls.length).toBeGreaterThan(1);
    expect(keyOf(calls[0])).toMatch(/^router-[0-9a-f]{32}$/);
    expect(new Set(calls.map(keyOf)).size).toBe(1);
    answer(calls.at(-1), { kind: "ok", status: 202, body: { operation: "3" } });
    expect(outcomes).toMatchObject([{ kind: "ok", status: 202 }]);
    ask(bench, 5_000, change);
    expect(keyOf(bench.rpc.of(adminMethod).at(-1))).not.toBe(keyOf(calls[0]));
  });

  it("keep the caller's own key; what only looks has none", () => {
    const bench = new Bench();
    ask(bench, 5_000, { operation: "rebalance", parameters: { idempotency_key: "mine" } });
    ask(bench, 5_000, { operation: "rebalance", parameters: { dry_run: true } });
    ask(bench, 5_000, { operation: "shards.why", parameters: { key: "k" } });
    expect(bench.rpc.of(adminMethod).map(keyOf)).toEqual(["mine", undefined, undefined]);
  });

  it("a refusal is not applied; after a silence nobody knows", () => {
    const refusal: AdminResponse = { kind: "error", code: "blocked", detail: "no" };
    const bench = new Bench();
    const refused = ask(bench, 5_000, change);
    answer(bench.rpc.of(adminMethod).at(-1), refusal);
    expect(refused).toMatchObject([{ code: "blocked", outcome: "not_applied" }]);
    const doubtful = ask(bench, 5_000, change);
    bench.clock.advance(2_200);
    answer(bench.rpc.of(adminMethod).at(-1), refusal);
    expect(doubtful).toMatchObject([{ code: "blocked", outcome: "unknown" }]);
  });

  it("a leader that could not decide is asked again, and quoted at the deadline", () => {
    const bench = new Bench();
    const undecided: AdminResponse = { kind: "error", code: "unavailable", detail: "waiting for n3" };
    bench.rpc.onCall = (call) => bench.clock.soon(() => answer(call, undecided));
    const outcomes = ask(bench, 2_000, change);
    bench.clock.advance(2_600);
    expect(bench.rpc.of(adminMethod).length).toBeGreaterThan(2);
    expect(outcomes).toMatchObject([{ code: "unavailable", detail: "waiting for n3", outcome: "unknown" }]);
  });

  it("what never left is certain", () => {
    const bench = new Bench();
    bench.rpc.onCall = (call) => bench.clock.soon(() => call.fail("unreachable", false));
    const outcomes = ask(bench, 1_000, change);
    bench.clock.advance(1_600);
    expect(outcomes).toMatchObject([{ code: "unavailable", outcome: "not_applied" }]);
  });
});
