import { expect, it } from "vitest";
import { Violation } from "./checks/violation.ts";
import { planRun } from "./plan.ts";
import { describeFailure } from "./report.ts";

it("a failure says what broke, what went on before, and how to see it again", () => {
  const text = describeFailure({
    plan: planRun(77),
    violation: new Violation("one leader per term", "group 3 term 5: replicas 1 and 2"),
    operations: 0,
    answered: 0,
    faults: {},
    elections: 0,
    statesCompared: 0,
    virtualMs: 1234.5,
    events: 0,
    timeline: ["  1000.000 FAULT n1 is paused"],
    trace: undefined,
  });
  expect(text).toMatch(/^seed 77 FAILED at 1234.5 ms: one leader per term: group 3 term 5/);
  expect(text).toContain("FAULT n1 is paused");
  expect(text).toContain("replay: npm run sim -- --seeds 1 --from 77");
});
