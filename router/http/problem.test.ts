import { expect, it } from "vitest";
import { Problem } from "./problem.ts";

it("a problem takes no stack, and leaves that of faults alone", () => {
  expect(new Problem("not_found", "there is no such key").stack).not.toMatch(/\n\s*at /);
  expect(new Error("a fault").stack).toMatch(/\n\s*at /);
});
