import fc from "fast-check";
import { expect, it } from "vitest";
import { VirtualClock } from "./virtual-clock.ts";

it("runs timers by their time, those of one moment in the order they were set", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 60 }), (delays) => {
      const clock = new VirtualClock();
      const ran: { at: number; index: number }[] = [];
      for (const [index, delay] of delays.entries())
        clock.after(delay, () => ran.push({ at: clock.nowMs(), index }));
      clock.advance(20);
      const want = delays
        .map((at, index) => ({ at, index }))
        .sort((a, b) => a.at - b.at || a.index - b.index);
      expect(ran).toEqual(want);
      expect(clock.pending).toBe(0);
    }),
  );
});

it("runs no cancelled timer; cancelling twice or late does nothing", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(20), fc.boolean()), { maxLength: 60 }), (timers) => {
      const clock = new VirtualClock();
      const ran: number[] = [];
      const cancels = timers.map(([delay], index) => clock.after(delay, () => ran.push(index)));
      for (const [index, [, cancelled]] of timers.entries()) if (cancelled) cancels[index]?.();
      const kept = timers.flatMap(([, cancelled], index) => (cancelled ? [] : [index]));
      expect(clock.pending).toBe(kept.length);
      clock.advance(20);
      for (const cancel of cancels) cancel();
      expect(ran.toSorted((a, b) => a - b)).toEqual(kept);
    }),
  );
});

it("stands still until told, and ends an advance at its very end", () => {
  const clock = new VirtualClock(5_000_000);
  let ran = 0;
  clock.after(10, () => ran++);
  expect([clock.nowMs(), clock.wallMicros()]).toEqual([0, 5_000_000]);
  clock.advance(9.5);
  expect([ran, clock.nowMs(), clock.wallMicros()]).toEqual([0, 9.5, 5_009_500]);
  clock.advance(0.5);
  expect([ran, clock.nowMs()]).toEqual([1, 10]);
});

it("runs within one advance what its timers set, `soon` behind what is due already", () => {
  const clock = new VirtualClock();
  const ran: string[] = [];
  clock.after(1, () => {
    ran.push("first");
    clock.soon(() => ran.push("soon"));
    clock.after(1, () => ran.push("set within"));
    clock.after(100, () => ran.push("later"));
  });
  clock.after(1, () => ran.push("second"));
  clock.advance(2);
  expect(ran).toEqual(["first", "second", "soon", "set within"]);
});

it("a timer can cancel another that is due at the same moment", () => {
  const clock = new VirtualClock();
  const ran: string[] = [];
  clock.after(1, () => cancel());
  const cancel = clock.after(1, () => ran.push("cancelled"));
  clock.advance(5);
  expect(ran).toEqual([]);
});

it("steps from one timer to the next, and says when there is none", () => {
  const clock = new VirtualClock();
  const ran: number[] = [];
  for (const delay of [30, 10, -5]) clock.after(delay, () => ran.push(clock.nowMs()));
  expect([clock.step(), clock.step(), clock.step(20)]).toEqual([true, true, false]);
  expect([ran, clock.nowMs()]).toEqual([[0, 10], 10]);
  expect([clock.step(), clock.step()]).toEqual([true, false]);
});
