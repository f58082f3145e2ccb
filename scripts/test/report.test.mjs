import { expect, it } from "vitest";
import { countReport, failuresOf } from "./report.mjs";

/** @param {...string} statuses */
const file = (...statuses) => ({
  status: statuses.includes("failed") || statuses.length === 0 ? "failed" : "passed",
  assertionResults: statuses.map((status) => ({ status })),
});

it("counts tests, not files", () => {
  const report = { numPassedTests: 2, numFailedTests: 1, testResults: [file("passed", "passed", "failed")] };
  expect(countReport(report, false)).toEqual({ passed: 2, failed: 1 });
});

it("a file that could not be loaded is a failure", () => {
  const report = { numPassedTests: 1, numFailedTests: 0, testResults: [file("passed"), file()] };
  expect(countReport(report, false)).toEqual({ passed: 1, failed: 1 });
});

it("a run without a test is a failure", () => {
  expect(countReport({ numPassedTests: 0, numFailedTests: 0, testResults: [] }, true).failed).toBe(1);
});

it("a run that ended badly is a failure even when every test passed", () => {
  expect(countReport({ numPassedTests: 1, numFailedTests: 0, testResults: [file("passed")] }, false)).toEqual(
    {
      passed: 1,
      failed: 1,
    },
  );
});

it("names the checks that failed", () => {
  expect(failuresOf("lint", { passed: 0, failed: 1 })).toEqual(["lint"]);
  expect(failuresOf("unit tests", { passed: 5, failed: 2 })).toEqual(["unit tests (2)"]);
  expect(failuresOf("unit tests", { passed: 5, failed: 0 })).toEqual([]);
});
