import { describe, expect, it } from "vitest";
import type { ConfState, ProgressStatus } from "#raft/core";
import { compactionTarget, heldBack } from "./compaction.ts";
import { judgeConfChange } from "./conf-guard.ts";
import { defaultLimits } from "./config.ts";
import type { Group } from "./group.ts";
import { campaignRank } from "./rank.ts";

function confOf(voters: number[], outgoing: number[] = [], learners: number[] = []): ConfState {
  return { voters, outgoing, learners, learnersNext: [], autoLeave: false };
}

interface Shape {
  readonly conf?: ConfState;
  readonly matches?: Readonly<Record<number, number>>;
  readonly first?: number;
  readonly applied?: number;
  readonly last?: number;
  readonly bytes?: number;
  readonly role?: "leader" | "follower";
  readonly snapshots?: readonly number[];
  readonly replica?: number;
  readonly group?: number;
}

/** The little of a group that decisions look at. */
function groupOf(shape: Shape): Group {
  const { matches = {}, last = 1000, role = "leader" } = shape;
  const progress = new Map<number, ProgressStatus>();
  for (const [id, match] of Object.entries(matches)) {
    const rest = { next: match + 1, paused: false, isLearner: false, recentActive: true, pendingSnapshot: 0 };
    progress.set(Number(id), { match, state: "Replicate", ...rest });
  }
  return {
    group: shape.group ?? 1,
    replica: shape.replica ?? 1,
    conf: shape.conf ?? confOf([1, 2, 3]),
    progress,
    core: { role, lastIndex: last },
    log: {
      bytes: shape.bytes ?? 0,
      firstIndex: () => shape.first ?? 1,
      applied: { index: shape.applied ?? last },
    },
    snapshotsOut: new Map((shape.snapshots ?? []).map((index, i) => [i, index])),
    nodeOf: (replica: number) => replica,
  } as unknown as Group;
}

describe("a membership change (R10)", () => {
  const level = { 1: 1000, 2: 1000, 3: 1000, 4: 1000, 5: 1000 };
  const cases: readonly {
    readonly name: string;
    readonly next: ConfState;
    readonly from?: ConfState;
    readonly down?: readonly number[];
    readonly matches?: Readonly<Record<number, number>>;
    readonly want: "fine" | "refused" | "transfer";
  }[] = [
    {
      name: "replaces a dead voter by a learner that is level",
      next: confOf([1, 2, 4], [1, 2, 3]),
      down: [3],
      want: "fine",
    },
    { name: "adds a learner whoever is down", next: confOf([1, 2, 3], [], [4]), down: [2, 3], want: "fine" },
    { name: "to two voters", next: confOf([1, 2]), want: "refused" },
    { name: "to four voters in a joint step", next: confOf([1, 2, 3, 4], [1, 2, 3]), want: "refused" },
    { name: "from one to three", from: confOf([1]), next: confOf([1, 2, 3], [1]), want: "fine" },
    {
      name: "to a new half without a live quorum",
      next: confOf([1, 4, 5], [1, 2, 3]),
      down: [4, 5],
      want: "refused",
    },
    {
      name: "out of an old half without a live quorum",
      next: confOf([1, 4, 5], [1, 2, 3]),
      down: [2, 3],
      want: "refused",
    },
    {
      name: "to voters that have not caught up",
      next: confOf([1, 4, 5], [1, 2, 3]),
      matches: { ...level, 4: 100, 5: 0 },
      want: "refused",
    },
    {
      name: "leaves a joint state whose new half has no live quorum",
      from: confOf([1, 4, 5], [1, 2, 3]),
      next: confOf([1, 4, 5]),
      down: [4, 5],
      want: "refused",
    },
    { name: "removes its leader among others", next: confOf([2, 3, 4], [1, 2, 3]), want: "transfer" },
    { name: "removes its leader outright", next: confOf([2]), from: confOf([1, 2, 3]), want: "transfer" },
    {
      name: "replaces a lone voter: it hands over inside",
      from: confOf([1]),
      next: confOf([2], [1]),
      want: "fine",
    },
    {
      name: "leaves the joint state under the leader it removes",
      from: confOf([2], [1]),
      next: confOf([2]),
      want: "transfer",
    },
  ];
  it.each(cases)("that $name: $want", ({ next, from, down = [], matches = level, want }) => {
    const group = groupOf({ matches, conf: from ?? confOf([1, 2, 3]) });
    expect(judgeConfChange(group, next, (id) => !down.includes(id)).kind).toBe(want);
  });

  it("that replaces a lone voter must be left by order: left by itself it would remove its leader", () => {
    const next = { ...confOf([2], [1]), autoLeave: true };
    expect(judgeConfChange(groupOf({ matches: level, conf: confOf([1]) }), next, () => true).kind).toBe(
      "transfer",
    );
  });
});

describe("compaction (R9)", () => {
  const limits = { ...defaultLimits, compactLogBytes: 100, compactCapBytes: 1000 };
  const full = { first: 101, applied: 301, last: 310, bytes: 500 };
  const all = (): boolean => true;
  it.each([
    { name: "nothing while the log is small", shape: { ...full, bytes: 99 }, want: undefined },
    { name: "half of what is applied", shape: { ...full, matches: { 1: 310, 2: 310 } }, want: 201 },
    {
      name: "not past the slowest live follower",
      shape: { ...full, matches: { 1: 310, 2: 150 } },
      want: 150,
    },
    {
      name: "past a slow one beyond the cap",
      shape: { ...full, bytes: 1000, matches: { 1: 310, 2: 150 } },
      want: 201,
    },
    {
      name: "never past an outstanding snapshot",
      shape: { ...full, bytes: 1000, snapshots: [120] },
      want: 120,
    },
    { name: "nothing where that leaves nothing", shape: { ...full, snapshots: [90] }, want: undefined },
    {
      name: "a follower asks nobody",
      shape: { ...full, role: "follower" as const, matches: { 2: 0 } },
      want: 201,
    },
  ])("$name", ({ shape, want }) => {
    expect(compactionTarget(groupOf(shape), limits, all)).toBe(want);
  });

  it("asked for, goes as far as followers and snapshots under way let it", () => {
    const slow = groupOf({ ...full, matches: { 1: 310, 2: 150, 3: 310 } });
    expect(heldBack(slow, 301, limits, all)).toBe(150);
    expect(heldBack(slow, 301, limits, (id) => id !== 2)).toBe(301);
    const sending = groupOf({ ...full, role: "follower", snapshots: [120] });
    expect(heldBack(sending, 301, limits, all)).toBe(120);
  });

  it("does not wait for one that is gone", () => {
    const group = groupOf({ ...full, matches: { 1: 310, 2: 0, 3: 250 } });
    expect(compactionTarget(group, limits, (id) => id !== 2)).toBe(201);
  });
});

describe("the order of campaigning (R20)", () => {
  const conf = confOf([1, 2, 3, 4, 5]);
  const rankOf = (group: number, replica: number, gone: readonly number[] = [1]): number | undefined =>
    campaignRank(groupOf({ group, replica, conf }), 1, (node) => gone.includes(node));

  it("gives each live voter of a group its own place", () => {
    for (let group = 1; group <= 200; group++) {
      expect([2, 3, 4, 5].map((replica) => rankOf(group, replica)).sort()).toEqual([0, 1, 2, 3]);
      expect([3, 4, 5].map((replica) => rankOf(group, replica, [1, 2])).sort()).toEqual([0, 1, 2]);
    }
  });

  it("spreads a lost node's leaders over the others", () => {
    const firsts = new Map<number, number>();
    for (let group = 1; group <= 4000; group++) {
      for (const replica of [2, 3, 4, 5]) {
        if (rankOf(group, replica) === 0) firsts.set(replica, (firsts.get(replica) ?? 0) + 1);
      }
    }
    for (const count of firsts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(firsts.size).toBe(4);
  });

  it("has no place for who does not vote", () => {
    expect(campaignRank(groupOf({ replica: 9, conf }), 1, () => false)).toBeUndefined();
  });
});
