import { describe, expect, it } from "vitest";
import { type DevWishes, defaultReplicas, type HeldData, planDev, restartDelayMs } from "./plan.ts";

const none: DevWishes = {
  nodes: undefined,
  shards: undefined,
  replicas: undefined,
  partition: undefined,
  httpPort: 7401,
  natsPort: 7422,
};
const held: HeldData = { nodes: 3, shards: 16, replicas: 3, partition: "hash" };

describe("a new cluster", () => {
  it("has three nodes, 16 shards, three replicas by default", () => {
    expect(planDev(none, undefined)).toMatchObject({
      nodes: 3,
      shards: 16,
      replicas: 3,
      partition: "hash",
      notes: [],
    });
  });

  it.each([
    [1, 1],
    [2, 1],
    [3, 3],
    [4, 3],
    [5, 3],
    [7, 3],
  ])("of %i nodes keeps %i replicas: the largest odd number up to three", (nodes, replicas) => {
    expect(defaultReplicas(nodes)).toBe(replicas);
    expect(planDev({ ...none, nodes }, undefined).replicas).toBe(replicas);
  });

  it.each([
    { name: "more replicas than nodes", wishes: { nodes: 3, replicas: 5 }, want: /--replicas 5: .* 3 nodes/ },
    { name: "a NATS port among the nodes'", wishes: { natsPort: 7403 }, want: /--nats-port 7403/ },
    { name: "ports beyond the last", wishes: { httpPort: 65_534 }, want: /--http-port 65534/ },
  ])("is refused with $name", ({ wishes, want }) => {
    expect(() => planDev({ ...none, ...wishes }, undefined)).toThrow(want);
  });
});

describe("a cluster with data", () => {
  it("carries on as it was made", () => {
    const plan = planDev({ ...none, shards: 4, partition: "range" }, held);
    expect(plan).toMatchObject({ nodes: 3, shards: 16, replicas: 3, partition: "hash" });
    expect(plan.notes).toEqual([
      expect.stringContaining("--shards 4"),
      expect.stringContaining("--partition range"),
    ]);
  });

  it("keeps all its nodes when nobody says how many", () => {
    expect(planDev(none, { ...held, nodes: 5 }).nodes).toBe(5);
  });

  it("may grow", () => {
    expect(planDev({ ...none, nodes: 5 }, held)).toMatchObject({ nodes: 5, replicas: 3 });
  });

  it("is refused with fewer nodes", () => {
    expect(() => planDev({ ...none, nodes: 2 }, held)).toThrow(/--nodes 2/);
  });
});

it("a node that keeps dying is restarted ever later, one that had lived after two seconds", () => {
  expect([1, 2, 3, 4, 5, 9].map((deaths) => restartDelayMs(100, deaths))).toEqual([
    2000, 4000, 8000, 16_000, 30_000, 30_000,
  ]);
  expect(restartDelayMs(60_000, 5)).toBe(2000);
});
