import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Histogram } from "./histogram.ts";

describe("the histogram", () => {
  it("holds small values exactly", () => {
    const histogram = new Histogram();
    for (let us = 1; us <= 100; us++) histogram.record(us);
    expect([0, 0.5, 0.99, 1].map((share) => histogram.quantileUs(share))).toEqual([1, 50, 99, 100]);
  });

  it("knows no quantile of nothing", () => {
    expect(new Histogram().quantileUs(0.5)).toBeNaN();
  });

  it("is off by less than one part in 128, and never below the value", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), (us) => {
        const histogram = new Histogram();
        histogram.record(us);
        const found = histogram.quantileUs(1);
        expect(found).toBeGreaterThanOrEqual(us);
        expect(found - us).toBeLessThanOrEqual(us / 128);
      }),
    );
  });

  it("gives quantiles as sorting does, up to the buckets' width", () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1e7 }), { minLength: 1 }), share, (values, at) => {
        const histogram = new Histogram();
        for (const us of values) histogram.record(us);
        const exact = values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(at * values.length)) - 1]!;
        const found = histogram.quantileUs(at);
        expect(found).toBeGreaterThanOrEqual(exact);
        expect(found - exact).toBeLessThanOrEqual(exact / 128);
      }),
    );
  });

  it("takes what lies outside its range as the nearest it has", () => {
    const histogram = new Histogram();
    histogram.record(-5);
    histogram.record(1e12);
    expect(histogram.quantileUs(0)).toBe(0);
    expect(histogram.quantileUs(1)).toBe(2 ** 31 - 1);
  });

  it("adds up, also across processes", () => {
    const [left, right] = [new Histogram(), new Histogram()];
    left.record(10);
    right.record(1000);
    right.record(2000);
    left.add(new Histogram(right.counts));
    expect(left.total).toBe(3);
    expect(left.quantileUs(0.3)).toBe(10);
    expect(left.quantileUs(0.5)).toBe(1003);
  });
});
