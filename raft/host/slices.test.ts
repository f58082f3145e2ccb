import { expect, it } from "vitest";
import { VirtualClock } from "#runtime";
import { inSlices } from "./slices.ts";

it.each([
  { workMs: 0, restMs: 1 },
  { workMs: 8, restMs: 24 },
])(
  "after $workMs ms of work the next slice comes $restMs ms later, until nothing is left (R13)",
  ({ workMs, restMs }) => {
    const clock = new VirtualClock();
    const startMs = clock.nowMs();
    const begunMs: number[] = [];
    inSlices({ options: { clock }, guarded: (run) => run() }, () => {
      begunMs.push(clock.nowMs() - startMs);
      clock.advance(workMs);
      return begunMs.length < 3;
    });
    clock.advance(1_000);
    const roundMs = workMs + restMs;
    expect(begunMs).toEqual([0, roundMs, 2 * roundMs]);
  },
);
