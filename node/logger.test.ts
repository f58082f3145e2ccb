import { expect, it } from "vitest";
import { prettyLine } from "./logger.ts";

it("a line for people has the time, the level, the sentence and the fields", () => {
  const line = {
    level: "warn",
    time: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
    msg: "peer is silent",
    node: "n1",
    peers: [2, 3],
  };
  expect(prettyLine(JSON.stringify(line))).toBe("03:04:05.006 WARN  peer is silent node=n1 peers=[2,3]\n");
});

it("an error is shown with its stack", () => {
  const line = {
    level: "error",
    time: 0,
    msg: "failed",
    err: { type: "Error", message: "no", stack: "Error: no\n  at x" },
  };
  expect(prettyLine(JSON.stringify(line))).toContain("err=Error: no\n  at x");
});
