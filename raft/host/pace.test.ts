import fc from "fast-check";
import { expect, it } from "vitest";
import { VirtualClock } from "#runtime";
import { Pace } from "./pace.ts";

it("never lets more go than its limit, a burst and one piece, whatever arrives when", () => {
  const step = fc.record({
    piece: fc.integer({ min: 1, max: 50_000 }),
    laterMs: fc.integer({ min: 0, max: 20 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 200 }), (steps) => {
      const limit = 100_000;
      const clock = new VirtualClock();
      const startMs = clock.nowMs();
      let gone = 0;
      let at = 0;
      const goOn = (): void => {
        while (at < steps.length && pace.mayGo()) {
          const { piece, laterMs } = steps[at] ?? { piece: 0, laterMs: 0 };
          at += 1;
          pace.spend(piece);
          pace.arrived(laterMs);
          gone += piece;
          const seconds = (clock.nowMs() - startMs) / 1000;
          expect(gone - piece).toBeLessThanOrEqual(limit * (seconds + 0.02));
        }
      };
      const pace = new Pace(clock, () => limit, goOn);
      goOn();
      while (clock.step(startMs + 1e9));
      // Each no is followed by a call once a piece may go: nothing is left behind.
      expect(at).toBe(steps.length);
    }),
  );
});

it("slows down where pieces queue, down to an eighth of the limit, and comes back up to it", () => {
  const pace = new Pace(
    new VirtualClock(),
    () => 800,
    () => {},
  );
  for (let i = 0; i < 100; i++) pace.arrived(6);
  expect(pace.rate).toBe(100);
  for (let i = 0; i < 100; i++) pace.arrived(5);
  expect(pace.rate).toBe(800);
  pace.arrived(6);
  expect(pace.rate).toBeLessThan(800);
});

it("follows a limit that changes", () => {
  let limit = 800;
  const pace = new Pace(
    new VirtualClock(),
    () => limit,
    () => {},
  );
  const before = pace.rate;
  limit = 8_000;
  expect(pace.rate).toBe(10 * before);
});

it("calls nobody back once it is stopped", () => {
  const clock = new VirtualClock();
  let calls = 0;
  const pace = new Pace(
    clock,
    () => 100,
    () => calls++,
  );
  pace.spend(1_000);
  expect(pace.mayGo()).toBe(false);
  pace.stop();
  clock.advance(1e6);
  expect(calls).toBe(0);
});
