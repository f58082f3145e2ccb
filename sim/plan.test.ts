import { describe, expect, it } from "vitest";
import { planRun } from "./plan.ts";
import { faultKinds } from "./plan-faults.ts";

const plans = Array.from({ length: 400 }, (_, i) => planRun(i + 1));

describe("plans", () => {
  it("are a function of the seed", () => {
    expect(planRun(7)).toEqual(planRun(7));
    expect(planRun(7)).not.toEqual(planRun(8));
  });

  it("cover all numbers of nodes, and shards from 1 to 32", () => {
    expect(new Set(plans.map((plan) => plan.nodes))).toEqual(new Set([3, 4, 5, 6, 7]));
    const shards = plans.map((plan) => plan.shards);
    expect(Math.min(...shards)).toBe(1);
    expect(Math.max(...shards)).toBe(32);
  });

  it("have each kind of fault on in some runs and off in others, and calm runs too", () => {
    for (const kind of faultKinds) {
      const on = plans.filter((plan) => plan.faultKinds.includes(kind)).length;
      expect(on, kind).toBeGreaterThan(40);
      expect(on, kind).toBeLessThan(360);
    }
    expect(plans.some((plan) => plan.faultKinds.length === 0)).toBe(true);
  });

  it("never ask for more replicas than nodes, nor put a fault outside of its phase", () => {
    for (const plan of plans) {
      expect(plan.replicas).toBeLessThanOrEqual(plan.nodes);
      expect(plan.replicas % 2).toBe(1);
      expect(plan.timing.leaseMs).toBeLessThan(plan.timing.electionMinMs);
      for (const fault of plan.faults) expect(fault.atMs).toBeLessThan(plan.faultMs);
    }
  });
});
