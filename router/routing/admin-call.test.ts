import { describe, expect, it } from "vitest";
import { type AdminResponse, adminMethod, decodeAdminRequest, encodeAdminResponse } from "#proto";
import type { AdminOutcome } from "./admin-call.ts";
import { Bench, type SentCall } from "./fixture.ts";

const request = { operation: "nodes.list", parameters: { limit: 5 } };

function ask(bench: Bench, timeoutMs = 5_000): AdminOutcome[] {
  const outcomes: AdminOutcome[] = [];
  bench.router.admin(request, timeoutMs, (outcome) => outcomes.push(outcome));
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
