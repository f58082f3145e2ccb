import { describe, expect, it } from "vitest";
import type { OperationRow } from "../state.ts";
import { modelOf, operationOf } from "./fixture.ts";
import { checkRepair } from "./upkeep.ts";

const failed = (agoMs: number, parts: Partial<OperationRow>): OperationRow =>
  operationOf({ kind: "repair", state: "failed", finishedMicros: 1e12 - agoMs * 1_000, ...parts });
const move = { from: 9, to: 4, bytes: 0 };

describe("a replica on a node that is no more", () => {
  it.each([
    { name: "is made again", operations: [], want: 1 },
    { name: "whatever became of a transfer", operations: [failed(10, { kind: "transfer_leader" })], want: 1 },
    { name: "not at once after a repair that failed", operations: [failed(1_000, { move })], want: 0 },
    { name: "soon after it", operations: [failed(6_000, { move })], want: 1 },
  ])("$name", ({ operations, want }) => {
    const model = modelOf(4, [{ id: 1, on: [1, 2, 9] }], { operations });
    for (const node of model.nodes.values())
      Object.assign(node, { heard: { diskFreeBytes: 1e12, diskTotalBytes: 1e12, replicas: new Map() } });
    expect(checkRepair(model)).toHaveLength(want);
  });

  it.each([
    { name: "that was there", seen: [11, 12, 19], want: 1 },
    { name: "that never came: the shard's birth does not wait for it", seen: [11, 12], want: 1 },
    { name: "while another first replica may still come", seen: [11], want: 0 },
  ])("$name", ({ seen, want }) => {
    const model = modelOf(4, [{ id: 1, on: [1, 2, 9] }]);
    for (const node of model.nodes.values())
      Object.assign(node, { heard: { diskFreeBytes: 1e12, diskTotalBytes: 1e12, replicas: new Map() } });
    const shard = model.shards.get(1)!;
    const birth = { descriptor: shard.descriptor, leader: 11 };
    Object.assign(shard, { birth, present: new Set(seen) });
    expect(checkRepair(model)).toHaveLength(want);
  });
});
