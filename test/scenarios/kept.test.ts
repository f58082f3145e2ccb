import { describe, expect, it } from "vitest";
import { describeFailure, type Plan, productAssembly, runSeed } from "#sim";
import { calmPlan, every } from "./calm.ts";

/**
 * What simulation once found, each as a run of its own with a few seeds: what went wrong, and when. They stay
 * for as long as the project does.
 */
interface Scenario {
  readonly name: string;
  readonly plan: Plan;
  readonly seeds: number;
}

const scenarios: readonly Scenario[] = [
  {
    name: "stateless routers that ask before there is a cluster are let in by nodes that know its members",
    plan: calmPlan({ statelessRouters: 3, faultMs: 500 }),
    seeds: 6,
  },
  {
    name: "a node that starts again without a replica of placement finds the others",
    plan: calmPlan({
      nodes: 5,
      replicas: 1,
      faultMs: 3000,
      faults: every(500, 2500, (atMs, i) => ({ kind: "crash", atMs, forMs: 200, target: { node: i } })),
    }),
    seeds: 3,
  },
  {
    name: "a router whose only known placement leader is gone for good asks other nodes",
    plan: calmPlan({
      nodes: 5,
      statelessRouters: 3,
      faultMs: 3000,
      faults: [{ kind: "wipe", atMs: 10, forMs: 1000, node: 0 }],
    }),
    seeds: 4,
  },
  {
    name: "a start on a failed disk in the middle of a snapshot's install stops, and a later one goes on (R4, R8)",
    plan: calmPlan({
      limits: { ...calmPlan().limits, compactLogBytes: 2000, compactCapBytes: 2500, sliceRows: 3 },
      valueBytesMax: 1000,
      thinkMsMax: 2,
      faults: [
        ...every(700, 3500, (atMs, i) => ({ kind: "isolate", atMs, forMs: 450, target: { node: i % 3 } })),
        ...every(700, 3500, (atMs, i) => ({
          kind: "failingDisk",
          atMs: atMs + 455,
          forMs: 150,
          target: { node: i % 3 },
          fails: "writes",
        })),
      ],
    }),
    seeds: 4,
  },
  {
    name: "a node that was replaced while it was away finds out, and lets go of what is no longer its own (R34)",
    plan: calmPlan({
      nodes: 5,
      downAfterMs: 1000,
      faultMs: 5000,
      faults: [
        { kind: "crash", atMs: 100, forMs: 4500, target: { leaderOf: 0 } },
        { kind: "crash", atMs: 200, forMs: 4500, target: { leaderOf: 1 } },
      ],
    }),
    seeds: 3,
  },
  {
    name: "power fails everywhere again and again: nothing acknowledged is lost (R2)",
    plan: calmPlan({
      syncMsMax: 4,
      faults: every(600, 3500, (atMs) => ({
        kind: "powerLoss",
        atMs,
        forMs: 100,
        target: { node: 0 },
        all: true,
        keep: "none",
      })),
    }),
    seeds: 4,
  },
  {
    name: "leaders sleep and wake: nobody reads what is out of date (R17)",
    plan: calmPlan({
      keys: 1,
      thinkMsMax: 2,
      faults: every(500, 3500, (atMs, i) => ({
        kind: "pause",
        atMs,
        forMs: 400,
        target: { leaderOf: 1 + (i % 2) },
      })),
    }),
    seeds: 4,
  },
  {
    name: "the NATS server restarts under load: calls end, with honest outcomes (R21, R24)",
    plan: calmPlan({ faults: every(400, 3500, (atMs) => ({ kind: "natsRestart", atMs, forMs: 60 })) }),
    seeds: 4,
  },
  {
    name: "many answers at once to one node wait for its window (R28)",
    plan: calmPlan({
      statelessRouters: 2,
      replicas: 1,
      shards: 6,
      keys: 60,
      valueBytesMax: 20_000,
      thinkMsMax: 2,
      mix: { ...calmPlan().mix, put: 9, delete: 0 },
      faultMs: 2000,
      limits: { ...calmPlan().limits, windowBytes: 64 * 1024 },
    }),
    seeds: 3,
  },
  {
    name: "a shard of one replica moves while power fails: who left is needed till that is known for good (R10)",
    plan: calmPlan({
      nodes: 4,
      replicas: 1,
      shards: 3,
      clients: 1,
      thinkMsMax: 100,
      faults: [
        ...every(120, 3500, (atMs, i) => ({ kind: "move", atMs, forMs: 1, shard: i, to: (i * 5 + 1) % 4 })),
        ...every(500, 3500, (atMs) => ({
          kind: "powerLoss",
          atMs: atMs + 230,
          forMs: 60,
          target: { node: 0 },
          all: true,
          keep: "none",
        })),
      ],
    }),
    seeds: 5,
  },
  {
    name: "shards split and move while nodes crash",
    plan: calmPlan({
      nodes: 5,
      keys: 24,
      shards: 1,
      faults: [
        ...every(400, 3500, (atMs, i) => ({ kind: "split", atMs, forMs: 1, shard: i, ways: 2 })),
        ...every(300, 3500, (atMs, i) => ({ kind: "move", atMs, forMs: 1, shard: i, to: i % 5 })),
        ...every(900, 3500, (atMs, i) => ({
          kind: "powerLoss",
          atMs,
          forMs: 200,
          target: { leaderOf: 1 + i },
          all: false,
          keep: "random",
        })),
      ],
    }),
    seeds: 5,
  },
];

describe.each(scenarios)("$name", ({ plan, seeds }) => {
  it.each(Array.from({ length: seeds }, (_, i) => i + 1))("seed %i", (seed) => {
    const result = runSeed(seed, { assembly: productAssembly, adjust: () => ({ ...plan, seed }) });
    expect(result.violation === undefined ? "" : describeFailure(result)).toBe("");
    expect(result.answered).toBeGreaterThan(20);
  });
});
