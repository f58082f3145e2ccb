import { describe, expect, it } from "vitest";
import { Cluster } from "./testing/cluster.ts";

function led(): Cluster {
  const cluster = new Cluster({ voters: [1, 2, 3], config: { lazyCommit: true } });
  cluster.elect(1);
  cluster.settle();
  cluster.tick(1);
  cluster.settle();
  return cluster;
}

/** Commit indexes of the members, the leader first. */
function commits(cluster: Cluster): number[] {
  return [1, 2, 3].map((id) => cluster.core(id).commit);
}

describe("lazyCommit", () => {
  it("a new commit index waits for the next append or heartbeat", () => {
    const cluster = led();
    cluster.propose(1, "x");
    cluster.settle();
    expect(commits(cluster)).toEqual([2, 1, 1]);
    cluster.propose(1, "y");
    cluster.settle();
    expect(commits(cluster)).toEqual([3, 2, 2]);
    cluster.tick(1);
    cluster.settle();
    expect(commits(cluster)).toEqual([3, 3, 3]);
  });

  it("a follower's read is told the commit index it waits for, so that it need not wait for a heartbeat", () => {
    const cluster = led();
    cluster.propose(1, "x");
    cluster.settle();
    cluster.read(2, "r1");
    cluster.settle();
    expect(cluster.member(2).reads).toEqual([{ context: "r1", index: 2 }]);
    expect(commits(cluster)).toEqual([2, 2, 1]);
  });

  it("shareCommit tells everybody at once", () => {
    const cluster = led();
    cluster.propose(1, "x");
    cluster.settle();
    cluster.core(1).shareCommit();
    cluster.settle();
    expect(commits(cluster)).toEqual([2, 2, 2]);
  });

  it("a pending configuration change is told at once", () => {
    const cluster = led();
    const change = {
      transition: "auto",
      changes: [{ kind: "learner", id: 4 }],
      context: new Uint8Array(0),
    } as const;
    expect(cluster.core(1).step({ kind: "proposeConfChange", change })).toBe("ok");
    cluster.settle();
    expect(commits(cluster)).toEqual([2, 2, 2]);
  });
});
