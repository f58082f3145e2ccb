import { expect, it } from "vitest";
import { realClock } from "./clock.ts";

it("never goes back, and waits at least as long as asked", async () => {
  const clock = realClock();
  const startMs = clock.nowMs();
  await new Promise<void>((resolve) => clock.after(5, resolve));
  // Node rounds timers to whole milliseconds.
  expect(clock.nowMs() - startMs).toBeGreaterThanOrEqual(4);
});

it("tells the wall time in whole, safe microseconds, as the system does", () => {
  const micros = realClock().wallMicros();
  expect(Number.isSafeInteger(micros)).toBe(true);
  expect(Math.abs(micros / 1000 - Date.now())).toBeLessThan(1000);
});

it("runs no cancelled timer, and `soon` after the present code", async () => {
  const clock = realClock();
  const ran: string[] = [];
  const cancel = clock.after(0, () => ran.push("cancelled"));
  cancel();
  const done = new Promise<void>((resolve) => {
    clock.soon(() => {
      ran.push("soon");
      clock.after(2, resolve);
    });
  });
  ran.push("now");
  await done;
  cancel();
  expect(ran).toEqual(["now", "soon"]);
});
