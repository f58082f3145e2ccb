import { describe, expect, it } from "vitest";
import type { ReplicaReport } from "#proto";
import type { GroupHost, GroupView } from "#raft/host";
import { VirtualClock } from "#runtime";
import { differs, ReplicaWatch } from "./replica-watch.ts";

const descriptor = {
  id: 1,
  keyspace: 1,
  start: new Uint8Array(0),
  end: new Uint8Array(0),
  epoch: { version: 1, confVersion: 1 },
  replicas: [
    { replicaId: 1, nodeId: 1, role: "voter" as const },
    { replicaId: 2, nodeId: 2, role: "voter" as const },
  ],
};

class FakeHost {
  readonly views = new Map<number, Partial<GroupView>>();
  looks = 0;

  groups(): readonly number[] {
    return [...this.views.keys()];
  }

  view(group: number): GroupView | undefined {
    this.looks += 1;
    const view = this.views.get(group);
    return view === undefined
      ? undefined
      : ({ group, replica: 1, term: 6, settled: true, ...view } as GroupView);
  }

  suspected(): boolean {
    return false;
  }
}

function setUp(): { host: FakeHost; clock: VirtualClock; watch: ReplicaWatch } {
  const host = new FakeHost();
  const clock = new VirtualClock();
  const shards = {
    descriptorOf: () => descriptor,
    frozenOf: () => undefined,
    suggestSplit: () => ({ kind: "blocked" as const, reason: "" }),
    statsOf: () => ({ descriptor, bytes: 1, keys: 1, writesPerSecond: 0, readsPerSecond: 0 }),
  };
  const watch = new ReplicaWatch(
    { host: () => host as unknown as GroupHost, clock, shards },
    () => descriptor,
  );
  return { host, clock, watch };
}

const follower: Partial<GroupView> = { role: "follower", leaderReplica: 2, leaderNode: 2 };
const leaderless: Partial<GroupView> = { role: "follower", leaderReplica: undefined, leaderNode: undefined };
const leading: Partial<GroupView> = {
  role: "leader",
  leaderReplica: 1,
  lastIndex: 100,
  progress: new Map([
    [
      2,
      {
        match: 90,
        next: 101,
        state: "Replicate",
        paused: false,
        isLearner: false,
        recentActive: true,
        pendingSnapshot: 0,
      },
    ],
  ]),
};

describe("what a node tells (R33)", () => {
  it("all at first, then only what changed, until it is acknowledged", () => {
    const { host, watch } = setUp();
    host.views.set(1, follower).set(2, leading);
    const full = watch.look(true);
    expect(full.replicas.map((r) => [r.group, r.state])).toEqual([
      [1, "follower"],
      [2, "leader"],
    ]);
    expect(full.replicas[1]?.lead?.peers).toEqual([
      { replicaId: 2, lag: 10, active: true, state: "Replicate" },
    ]);
    watch.acknowledged(full.replicas, full.removed, true);
    expect(watch.look(false)).toEqual({ replicas: [], removed: [] });
    host.views.set(1, leaderless);
    watch.touch(1);
    expect(watch.look(false).replicas.map((r) => r.state)).toEqual(["leaderless"]);
    expect(watch.look(false).replicas).toHaveLength(1);
    const told = watch.look(false);
    watch.acknowledged(told.replicas, told.removed, false);
    expect(watch.look(false).replicas).toEqual([]);
    host.views.delete(1);
    expect(watch.look(false).removed).toEqual([1]);
  });

  it("a leader's membership only when it stands for good, what was told before until then (R10)", () => {
    const { host, watch } = setUp();
    host.views.set(1, { ...leading, settled: false });
    const first = watch.look(true);
    expect(first.replicas.map((r) => [r.state, r.lead])).toEqual([["leader", undefined]]);
    watch.acknowledged(first.replicas, first.removed, true);
    expect(watch.look(false).replicas).toEqual([]);
    host.views.set(1, leading);
    const settled = watch.look(false);
    expect(settled.replicas[0]?.lead?.descriptor).toBe(descriptor);
    watch.acknowledged(settled.replicas, settled.removed, false);
    host.views.set(1, { ...leading, settled: false, lastIndex: 1_000 });
    expect(watch.look(false).replicas).toEqual([]);
  });

  it("does not look at followers nothing happened to, but for a sweep now and then", () => {
    const { host, clock, watch } = setUp();
    for (let group = 1; group <= 100; group++) host.views.set(group, follower);
    const full = watch.look(true);
    watch.acknowledged(full.replicas, full.removed, true);
    watch.look(false);
    host.looks = 0;
    watch.look(false);
    expect(host.looks).toBe(0);
    host.views.set(7, leaderless);
    clock.advance(6_000);
    expect(watch.look(false).replicas.map((r) => r.group)).toEqual([7]);
  });
});

const led = (parts: Partial<NonNullable<ReplicaReport["lead"]>>): ReplicaReport => ({
  group: 1,
  replicaId: 1,
  term: 6,
  state: "leader",
  confVersion: 1,
  lead: {
    descriptor,
    peers: [],
    bytes: 0,
    keys: 0,
    writesPerSecond: 0,
    readsPerSecond: 0,
    rooted: true,
    ...parts,
  },
});
const peer = (lag: number): Partial<NonNullable<ReplicaReport["lead"]>> => ({
  peers: [{ replicaId: 2, lag, active: true, state: "Replicate" }],
});

describe("worth telling", () => {
  it.each([
    { name: "nothing", a: led({}), b: led({}), want: false },
    { name: "a few bytes", a: led({ bytes: 1e6 }), b: led({ bytes: 1e6 + 100 }), want: false },
    { name: "the first bytes", a: led({}), b: led({ bytes: 5_000, keys: 1 }), want: true },
    { name: "the first key", a: led({}), b: led({ bytes: 1, keys: 1 }), want: true },
    { name: "many bytes", a: led({ bytes: 1e6 }), b: led({ bytes: 2e6 }), want: true },
    { name: "a replica has caught up", a: led(peer(120)), b: led(peer(30)), want: true },
    { name: "a little lag", a: led(peer(3)), b: led(peer(9)), want: false },
    { name: "having caught up", a: led(peer(3)), b: led(peer(0)), want: true },
    { name: "another peer", a: led({}), b: led(peer(0)), want: true },
    { name: "another term", a: led({}), b: { ...led({}), term: 7 }, want: true },
  ])("$name: $want", ({ a, b, want }) => {
    expect(differs(a, b)).toBe(want);
  });
});
