import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Range } from "#storage";
import { anyOverlap, overlap, subtract } from "./ranges.ts";

const range = fc
  .record({
    family: fc.constantFrom("data", "meta"),
    start: fc.nat(9),
    length: fc.option(fc.integer({ min: 1, max: 9 })),
  })
  .map(({ family, start, length }): Range => {
    const open = { family, start: new Uint8Array([start]) } as const;
    return length === null ? open : { ...open, end: new Uint8Array([start + length]) };
  });

const holds = (r: Range, family: string, key: number): boolean =>
  r.family === family && (r.start[0] ?? 0) <= key && (r.end === undefined || key < (r.end[0] ?? 0));

describe("ranges", () => {
  it("less others hold exactly the keys that the others do not (R34)", () => {
    fc.assert(
      fc.property(range, fc.array(range, { maxLength: 4 }), (from, others) => {
        const left = subtract(from, others);
        for (let key = 0; key < 25; key++) {
          const want =
            holds(from, from.family, key) && !others.some((other) => holds(other, from.family, key));
          expect(left.filter((part) => holds(part, from.family, key))).toHaveLength(want ? 1 : 0);
        }
      }),
    );
  });

  it("overlap where they share a key", () => {
    fc.assert(
      fc.property(range, range, (a, b) => {
        const shared = Array.from({ length: 25 }, (_, key) => key).some(
          (key) => holds(a, a.family, key) && holds(b, a.family, key),
        );
        expect(overlap(a, b)).toBe(shared);
        expect(anyOverlap([a], [b])).toBe(shared);
      }),
    );
  });
});
