import { describe, expect, it } from "vitest";
import { seededRandom, VirtualClock } from "#runtime";
import { NodeClock, type NodeClockOptions } from "./node-clock.ts";

function make(options: Partial<NodeClockOptions> = {}) {
  const world = new VirtualClock();
  const clock = new NodeClock(world, seededRandom(1), {
    driftPpm: 0,
    wallOffsetMicros: 0,
    pollMicrosMax: 0,
    ...options,
  });
  return { world, clock };
}

describe("a node's clock", () => {
  it("drifts against the world's, and its timers with it", () => {
    const { world, clock } = make({ driftPpm: 100_000 });
    const zero = clock.nowMs();
    let firedAt = -1;
    clock.after(110, () => {
      firedAt = world.nowMs();
    });
    world.advance(200);
    expect(firedAt).toBeCloseTo(100);
    expect(clock.nowMs() - zero).toBeCloseTo(220);
  });

  it("has a wall clock that jumps and a monotonic one that does not", () => {
    const { world, clock } = make({ wallOffsetMicros: 5000 });
    const monotonic = clock.nowMs();
    expect(clock.wallMicros() - world.wallMicros()).toBe(5000);
    clock.jumpWall(-1_000_000);
    expect(clock.wallMicros() - world.wallMicros()).toBe(-995_000);
    expect(clock.nowMs()).toBe(monotonic);
  });

  it("holds what falls due while paused, and runs it late and in order", () => {
    const { world, clock } = make();
    const ran: string[] = [];
    clock.after(10, () => ran.push("a"));
    clock.after(20, () => ran.push("b"));
    clock.after(200, () => ran.push("c"));
    clock.pause();
    world.advance(100);
    expect(ran).toEqual([]);
    clock.resume();
    world.advance(0);
    expect(ran).toEqual(["a", "b"]);
    world.advance(101);
    expect(ran).toEqual(["a", "b", "c"]);
  });

  it("runs nothing once killed, and counts what is left until then", () => {
    const { world, clock } = make();
    let ran = 0;
    const cancel = clock.after(10, () => ran++);
    clock.after(10, () => ran++);
    expect(clock.pending).toBe(2);
    cancel();
    expect(clock.pending).toBe(1);
    clock.kill();
    clock.after(1, () => ran++);
    world.advance(100);
    expect(ran).toBe(0);
    expect(clock.pending).toBe(0);
  });
});
