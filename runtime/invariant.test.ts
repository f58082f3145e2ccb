import { expect, it } from "vitest";
import { InvariantError, invariant, unreachable } from "./invariant.ts";

it("lets what holds pass, and throws what was to hold else", () => {
  invariant(true, "never seen");
  expect(() => invariant(false, "terms only grow")).toThrow(new InvariantError("terms only grow"));
});

it("names the case nobody handled", () => {
  expect(() => unreachable({ kind: "new" } as never)).toThrow('unhandled case: {"kind":"new"}');
});
