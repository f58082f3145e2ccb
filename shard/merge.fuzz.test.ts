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

  it.each<{ rule: keyof MergeRules; about: string; among: readonly number[] }>([
    {
      rule: "waitsForAll",
      about: "a shard is merged before every replica has its log",
      among: [49, 19, 27, 31, 48],
    },
    {
      rule: "waitsForTarget",
      about: "a replica of the target is born behind the merge",
      among: [1182],
    },
    { rule: "sealsFirst", about: "a source goes on although its merge may still come", among: [10, 11, 16] },
    {
      rule: "keepsSources",
      about: "a source is destroyed which a lagging target needs",
      among: [10, 13, 19],
    },
  ])("show that $about", ({ rule, among }) => {
    const rules = { ...goodRules, [rule]: false };
    const shows = (seed: number): boolean => {
      try {
        new SplitFuzz(seed, undefined, rules).run(300);
        return false;
      } catch {
        return true;
      }
    };
    expect(among.some(shows)).toBe(true);
  });
});
