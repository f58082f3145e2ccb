import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Command } from "../commands.ts";
import { modelOf, operationOf, type ShardWish } from "./fixture.ts";
import { coolHotShards } from "./hot.ts";
import { checkSplits } from "./splits.ts";

const three = (id: number, leader: number, rate = 0): ShardWish => {
  const on = [leader, ...[1, 2, 3].filter((node) => node !== leader)];
  return { id, on, rate };
};

function transfers(commands: readonly Command[]): [number, number][] {
  return commands.flatMap((c): [number, number][] => {
    const step = c.name === "operation.begin" ? c.steps[0] : undefined;
    return c.name === "operation.begin" && step?.kind === "transfer" ? [[c.group, step.to % 10]] : [];
  });
}

describe("hot shards", () => {
  it.each([
    { name: "all quiet: nothing", shards: [three(1, 1), three(2, 2), three(3, 3)], want: [] },
    {
      name: "one busy shard alone on its node: nowhere better",
      shards: [three(1, 1, 5_000), three(2, 2), three(3, 3)],
      want: [],
    },
    {
      name: "two busy ones on a node: one changes places with a quiet one",
      shards: [three(1, 1, 3_000), three(2, 1, 2_000), three(3, 2), three(4, 2), three(5, 3), three(6, 3)],
      want: [
        [1, 3],
        [5, 1],
      ],
    },
    {
      name: "a little more than the others is left",
      shards: [three(1, 1, 400), three(2, 1, 400), three(3, 2, 700), three(4, 3, 700)],
      want: [],
    },
  ])("$name", ({ shards, want }) => {
    expect(transfers(coolHotShards(modelOf(3, shards)))).toEqual(want);
  });

  it("over random loads it ends, and numbers of leaders stay even", () => {
    const wish = fc.record({ rate: fc.constantFrom(0, 10, 500, 2_000, 9_000) });
    fc.assert(
      fc.property(fc.array(wish, { maxLength: 18 }), (wishes) => {
        let shards = wishes.map(({ rate }, i) => three(i + 1, (i % 3) + 1, rate));
        let rounds = 0;
        for (; rounds < 100; rounds++) {
          const moves = new Map(transfers(coolHotShards(modelOf(3, shards))));
          if (moves.size === 0) break;
          shards = shards.map((s) => three(s.id, moves.get(s.id) ?? s.on[0] ?? 1, s.rate));
          const counts = [1, 2, 3].map((node) => shards.filter((s) => s.on[0] === node).length);
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        }
        expect(rounds).toBeLessThan(100);
      }),
    );
  });
});

describe("splits by themselves", () => {
  const settings = { split_bytes: 1_000_000, split_qps: 100 };
  const failed = operationOf({
    kind: "split",
    steps: [{ kind: "suggest", by: "size", ways: 2 }],
    state: "failed",
    finishedMicros: 1e12 - 1e6,
  });

  it.each([
    { name: "small and quiet", shard: { bytes: 10, rate: 1 }, operations: [], want: undefined },
    { name: "large", shard: { bytes: 2e6, rate: 1 }, operations: [], want: "size" },
    { name: "busy", shard: { bytes: 10, rate: 101 }, operations: [], want: "load" },
    {
      name: "large, but it could not be a moment ago",
      shard: { bytes: 2e6 },
      operations: [failed],
      want: undefined,
    },
    { name: "busy, but one slot only", shard: { rate: 101, slots: 1 }, operations: [], want: undefined },
  ])("$name: $want", ({ shard, operations, want }) => {
    const [command] = checkSplits(modelOf(3, [{ id: 1, on: [1, 2, 3], ...shard }], { settings, operations }));
    const step = command?.name === "operation.begin" ? command.steps[0] : undefined;
    expect(step?.kind === "suggest" ? step.by : undefined).toBe(want);
  });
});
