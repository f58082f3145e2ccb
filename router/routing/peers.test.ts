import { describe, expect, it } from "vitest";
import { VirtualClock } from "#runtime";
import { Peers } from "./peers.ts";

describe("suspicion", () => {
  it("begins when a node is gone, ends with its answer, or by itself", () => {
    const clock = new VirtualClock();
    const peers = new Peers(clock);
    clock.advance(10);
    expect(peers.isSuspect(1)).toBe(false);
    peers.gone(1);
    expect([peers.isSuspect(1), peers.isSuspect(2)]).toEqual([true, false]);
    peers.answered(1);
    expect(peers.isSuspect(1)).toBe(false);
    peers.gone(1);
    clock.advance(1_001);
    expect(peers.isSuspect(1)).toBe(false);
  });

  it("silence counts only where nothing else was answered since", () => {
    const clock = new VirtualClock();
    const peers = new Peers(clock);
    clock.advance(100);
    peers.answered(1);
    peers.silent(1, 50);
    expect(peers.isSuspect(1)).toBe(false);
    peers.silent(1, 100);
    expect(peers.isSuspect(1)).toBe(true);
  });

  it("ends as soon as anything is heard of the node", () => {
    const clock = new VirtualClock();
    let heardMs: number | undefined;
    const peers = new Peers(clock, () => heardMs);
    clock.advance(100);
    heardMs = 100;
    peers.gone(1);
    expect(peers.isSuspect(1)).toBe(true);
    clock.advance(100);
    heardMs = 200;
    expect(peers.isSuspect(1)).toBe(false);
  });
});

it("the round trip is smoothed, and forgotten after a while", () => {
  const clock = new VirtualClock();
  const peers = new Peers(clock);
  clock.advance(1);
  peers.measured(1, 10);
  peers.measured(1, 20);
  expect(peers.roundTripMs(1)).toBe(12);
  clock.advance(10_001);
  expect(peers.roundTripMs(1)).toBe(0);
});
