import { describe, expect, it } from "vitest";
import { dataKey, type GroupId, type NodeId, type ShardDescriptor, type SplitCommand } from "#proto";
import type { MemberChange } from "#raft/core";
import type { SplitOutcome } from "./split.ts";
import { dataRange, dedupRange } from "./state-rows.ts";
import { confChange, testKeyspace } from "./testing/cluster.ts";
import { Scene } from "./testing/scene.ts";

const none = new Uint8Array(0);
const parent: GroupId = 1;
const child: GroupId = 2;

/** Three nodes with one shard, "a" and "n" written; a fourth is free. */
class SplitScene extends Scene {
  constructor(seed = 1, compactLogBytes = 1_000_000) {
    super(seed, compactLogBytes);
    this.cluster.create(parent, [1, 2, 3], none, none);
    this.cluster.until("a leader", () => this.cluster.leaderOf(parent) !== undefined);
    this.lead(parent, 1);
    for (const key of ["a", "b", "n", "o"]) expect(this.put(parent, key, key).kind).toBe("put");
    this.cluster.run(300);
  }

  order(): SplitCommand {
    const { epoch, replicas } = this.shard(parent);
    const made = replicas.map((r) => ({ parent: r.replicaId, child: this.cluster.newReplica() }));
    return {
      expected: epoch,
      partition: "range",
      boundaries: [Buffer.from("m")],
      children: [{ id: child, replicas: made }],
    };
  }

  split(): SplitOutcome {
    let outcome: SplitOutcome | undefined;
    this.cluster.node(1).service.split(parent, this.order(), (done) => {
      outcome = done;
    });
    this.cluster.until("the split", () => outcome !== undefined);
    return outcome!;
  }

  /** Another replica in place of the one on `from`: learner, joint change, leave, as placement orders it. */
  move(group: GroupId, from: NodeId, to: NodeId): void {
    const replicaId = this.addLearner(group, to);
    const leaver = this.shard(group).replicas.find((r) => r.nodeId === from)?.replicaId ?? 0;
    const changes: MemberChange[] = [
      { kind: "voter", id: replicaId },
      { kind: "remove", id: leaver },
    ];
    this.change(group, changes, true, []);
    this.change(group, [], false, undefined);
  }

  addLearner(group: GroupId, nodeId: NodeId): number {
    const replicaId = this.cluster.newReplica();
    this.change(group, [{ kind: "learner", id: replicaId }], false, [{ replicaId, nodeId, role: "learner" }]);
    return replicaId;
  }

  change(
    group: GroupId,
    changes: readonly MemberChange[],
    joint: boolean,
    added: ShardDescriptor["replicas"] | undefined,
  ): void {
    const { cluster } = this;
    let done = false;
    cluster.until("a membership change", () => {
      const leader = cluster.leaderOf(group);
      if (done || leader === undefined) return done;
      const expectedConfVersion = this.shard(group).epoch.confVersion;
      const change =
        added === undefined
          ? ({ transition: "auto", changes: [], context: none } as const)
          : confChange(changes, joint, { expectedConfVersion, replicas: added });
      cluster.node(leader).host.proposeConfChange(group, change, ({ kind }) => {
        done ||= kind === "applied";
      });
      cluster.run(50);
      return done;
    });
  }

  /** Rows of users' keys on `node`. */
  rows(node: NodeId, ...keys: string[]): boolean[] {
    const { engine } = this.cluster.node(node);
    return keys.map((key) => engine.get("data", dataKey(testKeyspace, Buffer.from(key))) !== undefined);
  }

  expectAgreement(): void {
    for (const group of [parent, child]) {
      const hashes = this.shard(group).replicas.map(({ nodeId }) =>
        this.cluster.machine(nodeId, group)?.stateHash(),
      );
      expect(new Set(hashes).size, `shard ${group}`).toBe(1);
      expect(hashes[0]).toBeDefined();
    }
  }

  /** Cuts node 3 off from node 1, which leads the parent; node 2 is still heard. The child is led by 2. */
  splitBehindNode3(): void {
    this.cluster.network.partition(["n1"], ["n3"]);
    expect(this.split().kind).toBe("split");
    this.cluster.until("the child's leader", () => this.cluster.leaderOf(child) !== undefined);
    this.lead(child, 2);
    this.cluster.until(
      "node 3 is told of the child",
      () => this.cluster.node(3).host.view(child) !== undefined,
    );
    expect(this.cluster.machine(3, parent)?.descriptor?.end).toEqual(none);
    expect(this.cluster.machine(3, child)?.descriptor).toBeUndefined();
  }

  /** Lets time pass; the parent is kept awake, so that its leader stays where it is. */
  busy(ms: number): void {
    for (let passedMs = 0; passedMs < ms; passedMs += 100) {
      expect(this.put(parent, "a", "busy").kind).toBe("put");
      this.cluster.run(100);
    }
  }

  heal(): void {
    this.cluster.network.heal();
    this.cluster.run(3_000);
  }
}

describe("a split on three nodes", () => {
  it("gives the child the parent's leader at once, and writes hardly notice", () => {
    const scene = new SplitScene();
    const { clock } = scene.cluster;
    expect(scene.split().kind).toBe("split");
    const beganMs = clock.nowMs();
    scene.cluster.until("the child's leader", () => scene.cluster.leaderOf(child) !== undefined);
    expect(scene.cluster.leaderOf(child)).toBe(1);
    expect(clock.nowMs() - beganMs).toBeLessThan(30);
    expect(scene.put(child, "n", "again").kind).toBe("put");
    expect(scene.put(parent, "a", "again").kind).toBe("put");
    expect(scene.put(parent, "n", "again")).toMatchObject({
      kind: "epoch_mismatch",
      current: [{ id: 1 }, { id: 2 }],
    });
    scene.cluster.run(500);
    scene.expectAgreement();
  });

  it("ordered twice happens once", () => {
    const scene = new SplitScene();
    const order = scene.order();
    const kinds: string[] = [];
    const { service } = scene.cluster.node(1);
    for (let i = 0; i < 2; i++) service.split(parent, order, ({ kind }) => kinds.push(kind));
    scene.cluster.until("both are answered", () => kinds.length === 2);
    expect(kinds).toEqual(["split", "void"]);
    service.split(parent, order, ({ kind }) => kinds.push(kind));
    expect(kinds[2]).toBe("void");
  });

  it("is refused by a node that does not lead or has no replica", () => {
    const scene = new SplitScene();
    const order = scene.order();
    const outcomes: SplitOutcome[] = [];
    for (const node of [2, 4]) scene.cluster.node(node).service.split(parent, order, (o) => outcomes.push(o));
    expect(outcomes.map((o) => o.kind)).toEqual(["refused", "refused"]);
  });

  it("a follower that was away applies it from the log, and is level in both", () => {
    const scene = new SplitScene();
    scene.cluster.network.partition(["n3"], ["n1", "n2"]);
    scene.split();
    scene.cluster.until("the child's leader", () => scene.cluster.leaderOf(child) !== undefined);
    scene.put(child, "n", "new");
    scene.heal();
    expect(scene.cluster.node(3).host.stats.snapshotsInstalled).toBe(0);
    scene.expectAgreement();
  });

  it("a follower whose log was cut meanwhile gets two snapshots, the parent's first (R5)", () => {
    const scene = new SplitScene(1, 1_000);
    scene.cluster.network.partition(["n3"], ["n1", "n2"]);
    scene.split();
    scene.cluster.until("the child's leader", () => scene.cluster.leaderOf(child) !== undefined);
    for (let i = 0; i < 40; i++) {
      expect(scene.put(parent, "a", "x".repeat(200)).kind).toBe("put");
      expect(scene.put(child, "n", "x".repeat(200)).kind).toBe("put");
    }
    scene.heal();
    expect(scene.cluster.node(3).host.stats.snapshotsInstalled).toBe(2);
    scene.expectAgreement();
  });

  it("keeps the term of a child that a leader's message had met (R5)", () => {
    const scene = new SplitScene();
    scene.splitBehindNode3();
    const term = scene.cluster.node(3).host.view(child)?.term ?? 0;
    expect(term).toBeGreaterThan(5);
    scene.cluster.network.heal();
    scene.cluster.until("node 3 applies it", () => scene.cluster.machine(3, child)?.descriptor !== undefined);
    expect(scene.cluster.node(3).host.view(child)?.term).toBeGreaterThanOrEqual(term);
    scene.cluster.run(2_000);
    expect(scene.cluster.node(3).host.stats.snapshotsInstalled).toBe(0);
    scene.expectAgreement();
  });

  it("leaves a tombstone alone: the child's rows go, the parent's stay (R5, R34)", () => {
    const scene = new SplitScene();
    scene.splitBehindNode3();
    scene.move(child, 3, 4);
    scene.cluster.node(3).host.destroy(child, () => {});
    scene.busy(1_000);
    expect(scene.rows(3, "a", "n")).toEqual([true, true]);
    scene.heal();
    expect(scene.cluster.machine(3, parent)?.descriptor?.end).toEqual(Uint8Array.of(0x6d));
    expect(scene.cluster.node(3).host.view(child)).toBeUndefined();
    expect(scene.rows(3, "a", "b", "n", "o")).toEqual([true, true, false, false]);
    scene.expectAgreement();
  });

  it("leaves a newer replica alone, which gets its snapshot once the rows left behind are gone (R5)", () => {
    const scene = new SplitScene();
    scene.splitBehindNode3();
    scene.move(child, 3, 4);
    scene.cluster.node(3).host.destroy(child, () => {});
    scene.busy(1_000);
    const learner = scene.addLearner(child, 3);
    scene.busy(1_000);
    expect(scene.cluster.node(3).host.view(child)?.replica).toBe(learner);
    expect(scene.cluster.machine(3, child)?.descriptor).toBeUndefined();
    scene.heal();
    expect(scene.cluster.node(3).host.view(child)?.replica).toBe(learner);
    expect(scene.cluster.node(3).host.stats.snapshotsInstalled).toBe(1);
    scene.expectAgreement();
  });

  it("rows left behind go over a crash too (R34)", () => {
    const scene = new SplitScene();
    scene.splitBehindNode3();
    scene.move(child, 3, 4);
    scene.cluster.node(3).host.destroy(child, () => {});
    scene.busy(1_000);
    scene.cluster.network.heal();
    const shrunk = (): boolean => (scene.cluster.machine(3, parent)?.descriptor?.end.length ?? 0) > 0;
    scene.cluster.until("node 3 applies the split", shrunk);
    scene.cluster.crash(3, "all");
    scene.cluster.boot(3);
    expect(scene.rows(3, "n", "o")).toContain(true);
    scene.cluster.run(1_000);
    expect(scene.rows(3, "a", "b", "n", "o")).toEqual([true, true, false, false]);
    const { engine } = scene.cluster.node(3);
    for (const range of [dataRange(scene.shard(child)), dedupRange(scene.shard(child))])
      expect(engine.scan(range, { limit: 9 }).rows).toEqual([]);
  });
});

describe("when all nodes lose power around a split", () => {
  const offsetsMs = Array.from({ length: 24 }, (_, i) => i * 0.25);
  it.each(["none", "random", "all"] as const)("either all of it or nothing is there, keeping %s", (keep) => {
    for (const offsetMs of offsetsMs) {
      const scene = new SplitScene(7 + offsetMs * 4);
      const { cluster } = scene;
      let outcome: SplitOutcome | undefined;
      cluster.node(1).service.split(parent, scene.order(), (done) => {
        outcome = done;
      });
      cluster.run(offsetMs);
      for (const id of [1, 2, 3]) cluster.crash(id, keep);
      for (const id of [1, 2, 3]) {
        cluster.boot(id);
        const shrunk = (cluster.machine(id, parent)?.descriptor?.end.length ?? 0) > 0;
        const born = cluster.machine(id, child)?.descriptor !== undefined;
        expect(born, `node ${id}, ${offsetMs} ms`).toBe(shrunk);
      }
      cluster.until("leaders", () =>
        [...cluster.descriptors().keys()].every((g) => cluster.leaderOf(g) !== undefined),
      );
      // The split may stand in the log and be committed only now: then versions change once more.
      const holder = (): GroupId => (cluster.descriptors().has(child) ? child : parent);
      cluster.until("a can be written", () => scene.put(parent, "a", "after").kind === "put");
      cluster.until("n can be written", () => scene.put(holder(), "n", "after").kind === "put");
      cluster.run(2_000);
      if (outcome?.kind === "split") expect(holder()).toBe(child);
      if (holder() === child) scene.expectAgreement();
    }
  });
});
