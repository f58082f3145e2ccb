import fc from "fast-check";
import { expect, it } from "vitest";
import { VirtualClock } from "#runtime";
import { TimerWheel, WheelTimer } from "./timer-wheel.ts";

it("runs every timer once, never early and at most a tick late, whatever was set and cleared", () => {
  const action = fc.record({
    waitMs: fc.integer({ min: 0, max: 400 }),
    delayMs: fc.integer({ min: 0, max: 30_000 }),
    cleared: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const clock = new VirtualClock();
      const wheel = new TimerWheel(clock);
      const ran: { due: number; at: number }[] = [];
      let expected = 0;
      for (const { waitMs, delayMs, cleared } of actions) {
        clock.advance(waitMs);
        const due = clock.nowMs() + delayMs;
        const timer = new WheelTimer(() => ran.push({ due, at: clock.nowMs() }));
        wheel.set(timer, due);
        if (cleared) wheel.clear(timer);
        else expected += 1;
      }
      clock.advance(31_000);
      expect(ran).toHaveLength(expected);
      for (const { due, at } of ran) {
        expect(at).toBeGreaterThanOrEqual(due);
        expect(at - due).toBeLessThan(17);
      }
      expect(wheel.size).toBe(0);
      expect(clock.pending).toBe(0);
    }),
  );
});

it("a timer set again in its own run runs again; one that another clears does not", () => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock);
  let runs = 0;
  let victimRan = false;
  const victim = new WheelTimer(() => {
    victimRan = true;
  });
  const timer: WheelTimer = new WheelTimer(() => {
    runs += 1;
    wheel.clear(victim);
    if (runs < 3) wheel.set(timer, clock.nowMs() + 10);
  });
  wheel.set(timer, 5);
  wheel.set(victim, 6);
  clock.advance(1_000);
  expect({ runs, victimRan }).toEqual({ runs: 3, victimRan: false });
});

it("a clock that stood still for longer than the wheel's turn loses no timer", () => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock);
  const ran: number[] = [];
  for (let i = 0; i < 50; i++) wheel.set(new WheelTimer(() => ran.push(i)), i * 900);
  clock.advance(60_000);
  expect(ran).toEqual([...Array(50).keys()]);
});
