import { describe, expect, it } from "vitest";
import { type FuzzReport, HostFuzz } from "./testing/fuzz.ts";

const fixed = process.env["HOST_SEED"];
const seeds = fixed === undefined ? Array.from({ length: 12 }, (_, at) => at + 1) : [Number(fixed)];
const steps = 800;

describe("hosts with many groups under random faults", () => {
  const totals: Partial<Record<keyof FuzzReport, number>> = {};

  it.each(seeds)("lose, double and reorder nothing, and come together again: HOST_SEED=%i", (seed) => {
    const report = new HostFuzz(seed).run(steps);
    for (const [name, count] of Object.entries(report)) {
      totals[name as keyof FuzzReport] = (totals[name as keyof FuzzReport] ?? 0) + count;
    }
  });

  it.skipIf(fixed !== undefined)("have met every kind of event", () => {
    for (const [name, count] of Object.entries(totals)) expect(count, name).toBeGreaterThan(0);
  });
});
