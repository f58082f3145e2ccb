import { expect, it } from "vitest";
import { median, medianRatio } from "./statistics.ts";

it.each([
  { name: "of one", values: [7], want: 7 },
  { name: "of an odd number: the middle one, in whatever order", values: [9, 1, 5], want: 5 },
  { name: "of an even number: the mean of the middle two", values: [4, 1, 3, 100], want: 3.5 },
  { name: "sorts as numbers", values: [10, 9, 100], want: 10 },
  { name: "of nothing", values: [], want: Number.NaN },
])("median $name", ({ values, want }) => {
  expect(median(values)).toBe(want);
});

it("the ratio is that of pairs, so that drift of the machine cancels out", () => {
  expect(medianRatio([100, 50, 200], [50, 25, 100])).toBe(2);
  expect(medianRatio([100, 50], [])).toBeNaN();
});
