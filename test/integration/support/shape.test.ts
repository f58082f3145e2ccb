import { beforeEach, describe, expect, it } from "vitest";
import type { ShardView } from "./admin.ts";
import { ShapeWatch } from "./shape.ts";

/** A watch that never complains proves nothing: here are looks at clusters that break the rules. */
let watch: ShapeWatch;

function shard(id: number, start: string, end: string, more: Partial<ShardView> = {}): ShardView {
  return {
    id,
    keyspace: "default",
    start,
    end,
    epoch: { version: 1, conf_version: 1 },
    replicas: [{ node: "n1", replica_id: 1, role: "voter", match_lag: 0, state: "leader" }],
    leader: "n1",
    term: 1,
    health: "healthy",
    ...more,
  };
}
const version = (v: number, conf = 1) => ({ epoch: { version: v, conf_version: conf } });

beforeEach(() => {
  watch = new ShapeWatch({ look: async () => [] });
});

describe("what shards must do", () => {
  it("a split with a raised epoch and a move with a raised one are fine", () => {
    const moved = [{ node: "n2", replica_id: 2, role: "voter", match_lag: 0, state: "leader" }];
    watch.see([shard(1, "", "")]);
    watch.see([shard(1, "", "80", version(2)), shard(2, "80", "", version(2))]);
    watch.see([shard(1, "", "80", { ...version(2, 2), replicas: moved }), shard(2, "80", "", version(2))]);
    expect(watch.wrong).toEqual([]);
    expect(watch.looks).toBe(3);
  });

  it.each([
    ["a gap", [shard(1, "", "40"), shard(2, "80", "")]],
    ["an overlap", [shard(1, "", "90"), shard(2, "80", "")]],
    ["no end", [shard(1, "", "80"), shard(2, "80", "c0")]],
    ["no beginning", [shard(1, "40", "")]],
    ["nothing behind an open end", [shard(1, "", ""), shard(2, "80", "")]],
  ])("the keyspace is not tiled: %s", (_, shards) => {
    watch.see(shards);
    expect(watch.wrong).toHaveLength(1);
  });

  it.each([
    ["an epoch that goes back", shard(1, "", "", version(4)), [shard(1, "", "", version(3))]],
    ["a conf_version that goes back", shard(1, "", "", version(4, 3)), [shard(1, "", "", version(4, 2))]],
    [
      "a range that changes under one version",
      shard(1, "", "", version(4)),
      [shard(1, "", "80", version(4)), shard(2, "80", "", version(5))],
    ],
    [
      "a child whose epoch is its parent's of before",
      shard(1, "", "", version(4)),
      [shard(1, "", "80", version(5)), shard(2, "80", "", version(4))],
    ],
    [
      "members that change under one conf_version",
      shard(1, "", "", version(4)),
      [
        shard(1, "", "", {
          ...version(4),
          replicas: [{ node: "n1", replica_id: 9, role: "voter", match_lag: 0, state: "leader" }],
        }),
      ],
    ],
  ])("%s is told", (_, before, after) => {
    watch.see([before]);
    watch.see(after);
    expect(watch.wrong).toHaveLength(1);
  });
});
