import { expect, it } from "vitest";
import { Trace } from "./trace.ts";

it("keeps the last lines, oldest first", () => {
  const trace = new Trace(false, 3);
  for (let i = 0; i < 5; i++) trace.note(i, `line ${i}`);
  expect(trace.timeline().map((line) => line.trim())).toEqual([
    "2.000 line 2",
    "3.000 line 3",
    "4.000 line 4",
  ]);
  expect(trace.digest()).toBeUndefined();
});

it("has a digest of everything in its order, packets' bytes too", () => {
  const digests = [
    [1, 2],
    [2, 1],
    [1, 2],
  ].map((bytes) => {
    const trace = new Trace(true);
    trace.note(1, "start");
    for (const byte of bytes) trace.feed(2, "n1 subject", Uint8Array.of(byte));
    return trace.digest();
  });
  expect(digests[0]).toBe(digests[2]);
  expect(digests[0]).not.toBe(digests[1]);
  expect(digests[0]).toMatch(/^[0-9a-f]{16}$/);
});
