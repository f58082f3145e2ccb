import fc from "fast-check";
import { expect, it } from "vitest";
import { isoOf } from "./iso.ts";

it("says what Date says", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4_102_444_800_000 }), (ms) => {
      expect(isoOf(ms * 1000 + 999)).toBe(new Date(ms).toISOString());
    }),
  );
});
