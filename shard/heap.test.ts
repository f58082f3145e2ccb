import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Heap } from "./heap.ts";

const operation = fc.oneof(
  fc.record({ kind: fc.constant("push" as const), value: fc.integer({ min: 0, max: 50 }) }),
  fc.record({ kind: fc.constant("rising" as const), value: fc.integer({ min: 0, max: 3 }) }),
  fc.constant({ kind: "pop" as const }),
);

describe("Heap", () => {
  it("gives the least first, whatever came in order and whatever did not", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 300 }), (operations) => {
        const heap = new Heap<number>((a, b) => a < b);
        let model: number[] = [];
        let last = 0;
        for (const step of operations) {
          if (step.kind === "pop") {
            expect(heap.pop()).toBe(model[0]);
            model = model.slice(1);
          } else {
            last = step.kind === "rising" ? last + step.value : step.value;
            heap.push(last);
            model = [...model, last].sort((a, b) => a - b);
          }
          expect(heap.peek()).toBe(model[0]);
          expect(heap.size).toBe(model.length);
        }
      }),
    );
  });

  it("stays in order while thousands go through it", () => {
    const heap = new Heap<number>((a, b) => a < b);
    for (let i = 0; i < 5000; i++) heap.push(i);
    for (let i = 0; i < 4000; i++) expect(heap.pop()).toBe(i);
    heap.push(10);
    expect(heap.pop()).toBe(10);
    for (let i = 4000; i < 5000; i++) expect(heap.pop()).toBe(i);
    expect(heap.pop()).toBeUndefined();
    expect(heap.size).toBe(0);
  });
});
