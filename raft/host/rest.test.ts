import { expect, it } from "vitest";
import { VirtualClock } from "#runtime";
import { restAfter } from "./rest.ts";

it.each([
  { workMs: 0, restMs: 1 },
  { workMs: 8, restMs: 24 },
])("after $workMs ms of work the next slice comes $restMs ms later (R13)", ({ workMs, restMs }) => {
  const clock = new VirtualClock();
  const startMs = clock.nowMs();
  clock.advance(workMs);
  const restsFromMs = clock.nowMs();
  let ranAtMs: number | undefined;
  restAfter(clock, startMs, () => {
    ranAtMs = clock.nowMs();
  });
  clock.advance(1_000);
  expect((ranAtMs ?? 0) - restsFromMs).toBe(restMs);
});
