import { describe, expect, it } from "vitest";
import {
  decodeRegisterRequest,
  defaultSettings,
  encodeRegisterReply,
  placementMethods,
  type RegisterReply,
  type VersionedSettings,
} from "#proto";
import { seededRandom, silentLogger } from "#runtime";
import { Bench, type SentCall } from "./fixture.ts";
import { Registration } from "./registration.ts";

function start(): { bench: Bench; registration: Registration; settings: VersionedSettings[] } {
  const bench = new Bench();
  const settings: VersionedSettings[] = [];
  const { clock, rpc, cache } = bench;
  const registration = new Registration({
    clock,
    rpc,
    cache,
    random: seededRandom(2),
    logger: silentLogger,
    onSettings: (given) => settings.push(given),
  });
  registration.start();
  return { bench, registration, settings };
}

function calls(bench: Bench): SentCall[] {
  return bench.rpc.of(placementMethods.register);
}

function answer(call: SentCall | undefined, reply: RegisterReply): void {
  call?.reply(encodeRegisterReply(reply));
}

describe("a stateless router's registration", () => {
  it("tells placement's leader which routes it has, again and again", () => {
    const { bench } = start();
    bench.rpc.onCall = (call) => bench.clock.soon(() => answer(call, { kind: "ok" }));
    answer(calls(bench)[0], { kind: "ok" });
    bench.clock.advance(10_000);
    expect(new Set(calls(bench).map((call) => call.node))).toEqual(new Set([1]));
    expect(calls(bench).length).toBeGreaterThan(3);
    expect(calls(bench).length).toBeLessThan(12);
    const { routes } = decodeRegisterRequest(calls(bench)[0]!.body);
    expect(routes).toEqual({ term: 1, sequence: 1 });
  });

  it("takes settings once per version and tells which it has", () => {
    const { bench, settings } = start();
    const given = { version: 9, values: defaultSettings };
    answer(calls(bench)[0], { kind: "ok", settings: given });
    bench.clock.advance(4_000);
    answer(calls(bench)[1], { kind: "ok", settings: given });
    expect(settings).toEqual([given]);
    expect(decodeRegisterRequest(calls(bench)[1]!.body).settingsVersion).toBe(9);
  });

  it("follows a hint soon, and passes over a leader that is gone", () => {
    const { bench } = start();
    answer(calls(bench)[0], { kind: "not_leader", leader: 3 });
    bench.clock.advance(400);
    expect(calls(bench)[1]?.node).toBe(3);
    for (let i = 0; i < 6; i++) {
      calls(bench).at(-1)?.fail("unreachable", true);
      bench.clock.advance(400);
    }
    expect(new Set(calls(bench).map((call) => call.node))).toEqual(new Set([1, 2, 3]));
  });

  it("survives a malformed answer, and ends", () => {
    const { bench, registration } = start();
    calls(bench)[0]?.reply(Uint8Array.of(0xc1));
    bench.clock.advance(400);
    expect(calls(bench).length).toBe(2);
    registration.close();
    bench.cache.close();
    bench.clock.advance(20_000);
    expect(calls(bench).length).toBe(2);
    expect(bench.clock.pending).toBe(0);
  });
});
