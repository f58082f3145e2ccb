import { describe, expect, it } from "vitest";
import { goodRules, type MergeRules } from "./testing/merge-orders.ts";
import { SplitFuzz } from "./testing/split-fuzz.ts";

const only = process.env["MERGE_SEED"];
const seeds = only === undefined ? Array.from({ length: 5 }, (_, i) => i + 1) : [Number(only)];

describe("shards that split and merge while nodes crash, replicas move and clients retry (R4, R5, R6, R23, R34)", () => {
  it.each(seeds)("tile, agree, lose and double nothing: MERGE_SEED=%i", (seed) => {
    const report = new SplitFuzz(seed, undefined, goodRules).run(300);
    expect(report.splits).toBeGreaterThan(0);
  });

  // Each of these bugs is one that others have had.
  it.each<{ rule: keyof MergeRules; about: string }>([
    { rule: "waitsForAll", about: "merged before every replica has the source's log" },
    { rule: "sealsFirst", about: "the source goes on although its merge may still come" },
    { rule: "keepsSources", about: "a source is destroyed which a lagging target needs" },
  ])("show when $about", ({ rule }) => {
    const rules = { ...goodRules, [rule]: false };
    const shows = (seed: number): boolean => {
      try {
        new SplitFuzz(seed, undefined, rules).run(300);
        return false;
      } catch {
        return true;
      }
    };
    expect(Array.from({ length: 30 }, (_, i) => i + 1).some(shows)).toBe(true);
  });
});
