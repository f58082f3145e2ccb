import { describe, expect, it } from "vitest";
import type { Model, NodeModel } from "../model.ts";
import { modelOf } from "./fixture.ts";
import { planDecommission, planRebalance } from "./plans.ts";

const shards = [
  { id: 1, on: [1, 2, 3] },
  { id: 2, on: [2, 3, 4] },
];

/** All nodes up, with room on their disks. */
function roomy(nodes: number): Model {
  const model = modelOf(nodes, shards);
  for (const node of model.nodes.values())
    Object.assign(node, { heard: { diskFreeBytes: 1e12, diskTotalBytes: 1e12, replicas: new Map() } });
  return model;
}

/** As while its voters elect another leader. */
function leaderless(model: Model, id: number): Model {
  const shard = model.shards.get(id);
  if (shard === undefined) throw new Error("no such shard");
  const { leader: _leader, lead: _lead, ...rest } = shard;
  const between = { ...rest, health: "leaderless" as const };
  return { ...model, shards: new Map([...model.shards, [id, between]]) };
}

function silent(model: Model, ...ids: readonly number[]): Model {
  const nodes = new Map(model.nodes);
  for (const id of ids)
    nodes.set(id, { ...(nodes.get(id) as NodeModel), liveness: "suspect", usable: false });
  return { ...model, nodes };
}

describe("planDecommission", () => {
  it("counts with a shard between two leaders: its voters are up", () => {
    const { blockers, steps } = planDecommission(leaderless(roomy(4), 1), 1);
    expect(blockers).toEqual([]);
    expect(steps.map(({ shard, from, to }) => ({ shard, from, to }))).toEqual([{ shard: 1, from: 1, to: 4 }]);
  });

  it("is blocked by a shard most of whose voters are gone", () => {
    const { blockers } = planDecommission(silent(leaderless(roomy(5), 1), 2, 3), 1);
    expect(blockers).toMatchObject([{ shard: 1, reason: expect.stringContaining("no leader") }]);
  });
});

describe("planRebalance", () => {
  it("names a shard without leader only where it can have none", () => {
    const between = leaderless(roomy(4), 1);
    expect(planRebalance(between).blockers).toEqual([]);
    expect(planRebalance(silent(between, 2, 3)).blockers).toContainEqual(
      expect.objectContaining({ shard: 1, reason: expect.stringContaining("no leader") }),
    );
  });
});
