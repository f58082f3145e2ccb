import { describe, expect, it } from "vitest";
import { goodRules } from "./testing/merge-orders.ts";
import { SplitFuzz } from "./testing/split-fuzz.ts";

const only = process.env["MERGE_SEED"];
const seeds = only === undefined ? Array.from({ length: 5 }, (_, i) => i + 1) : [Number(only)];

describe("shards that split and merge while nodes crash, replicas move and clients retry (R4, R5, R6, R23, R34)", () => {
  it.each(seeds)("tile, agree, lose and double nothing: MERGE_SEED=%i", (seed) => {
    const report = new SplitFuzz(seed, undefined, goodRules).run(300);
    expect(report.splits).toBeGreaterThan(0);
  });
});
