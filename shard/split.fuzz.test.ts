import { describe, expect, it } from "vitest";
import { SplitFuzz } from "./testing/split-fuzz.ts";

const only = process.env["SPLIT_SEED"];
const seeds = only === undefined ? Array.from({ length: 5 }, (_, i) => i + 1) : [Number(only)];

describe("shards that split while nodes crash, replicas move and clients retry (R5, R6, R22, R23, R34)", () => {
  it.each(seeds)("tile, agree, lose and double nothing: SPLIT_SEED=%i", (seed) => {
    const report = new SplitFuzz(seed).run(300);
    expect(report.splits).toBeGreaterThan(0);
  });
});
