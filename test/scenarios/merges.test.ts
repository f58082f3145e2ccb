import { describe, expect, it } from "vitest";
import { type Fault, productAssembly, runSeed } from "#sim";
import { calmPlan } from "./calm.ts";

/** Neighbours merged one after the other while clients write, with what else goes wrong at those times. */
function merging(seed: number, wrong: (atMs: number, i: number) => readonly Fault[]) {
  const merges = Array.from({ length: 6 }, (_, i): Fault[] => {
    const atMs = 300 + i * 600;
    return [{ kind: "merge", atMs, forMs: 1, shard: i % 3 }, ...wrong(atMs, i)];
  });
  const faults = merges.flat().sort((a, b) => a.atMs - b.atMs);
  return runSeed(seed, {
    assembly: productAssembly,
    adjust: () => calmPlan({ seed, shards: 6, keys: 12, nodes: 4, faults }),
  });
}

describe("shards that merge under load (R5, R6, R23, R34)", () => {
  it.each<{ what: string; wrong: (atMs: number, i: number) => readonly Fault[] }>([
    { what: "nothing goes wrong", wrong: () => [] },
    {
      what: "leaders lose power in the middle",
      wrong: (atMs, i) => [
        {
          kind: "powerLoss",
          atMs: atMs + 20 + 10 * i,
          forMs: 150,
          target: { leaderOf: 1 + (i % 6) },
          all: i === 3,
          keep: i % 2 === 0 ? "none" : "random",
        },
      ],
    },
    {
      what: "nodes are cut off in the middle",
      wrong: (atMs, i) => [{ kind: "isolate", atMs: atMs + 10 * i, forMs: 250, target: { node: i % 4 } }],
    },
    {
      what: "placement's leader is cut off in the middle",
      wrong: (atMs, i) => [{ kind: "isolate", atMs: atMs + 15 * i, forMs: 400, target: { leaderOf: 0 } }],
    },
    {
      what: "one of them splits right before, and replicas move",
      wrong: (atMs, i) => [
        { kind: "split", atMs: atMs - 40, forMs: 1, shard: (i + 1) % 3, ways: 2 },
        { kind: "move", atMs: atMs + 200, forMs: 1, shard: i % 4, to: i % 4 },
      ],
    },
  ])("$what", ({ wrong }) => {
    let merged = 0;
    for (const seed of [1, 2, 3]) {
      const { violation, faults } = merging(seed, wrong);
      expect(violation).toBeUndefined();
      merged += faults["shards.merge"] ?? 0;
    }
    expect(merged).toBeGreaterThan(0);
  });
});
