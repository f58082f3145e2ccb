import { describe, expect, it } from "vitest";
import { Inflights } from "./inflights.ts";
import { Progress } from "./progress.ts";
import { Cluster, confOf } from "./testing/cluster.ts";
import { entryBytes, type ProgressStatus } from "./types.ts";

function progressOf(cluster: Cluster, id: number): ProgressStatus {
  const progress = cluster.core(1).status().progress.get(id);
  expect(progress).toBeDefined();
  return progress as ProgressStatus;
}

/** Appends with entries to `to` that are on their way. */
function appendsTo(cluster: Cluster, to: number): number {
  return cluster.pool.filter(
    ({ kind, to: of, entries }) => kind === "append" && of === to && (entries?.length ?? 0) > 0,
  ).length;
}

describe("the window of appends on their way", () => {
  it.each([
    { name: "by count", limit: 3, bytes: 0, sizes: [1, 1, 1], full: true },
    { name: "by count, room left", limit: 4, bytes: 0, sizes: [1, 1, 1], full: false },
    { name: "by bytes", limit: 9, bytes: 30, sizes: [10, 10, 10], full: true },
    { name: "by bytes, room left", limit: 9, bytes: 31, sizes: [10, 10, 10], full: false },
    { name: "one larger than all", limit: 9, bytes: 5, sizes: [100], full: true },
  ])("is full $name: $full", ({ limit, bytes, sizes, full }) => {
    const window = new Inflights(limit, bytes);
    for (const [at, size] of sizes.entries()) window.add(at + 1, size);
    expect(window.full).toBe(full);
  });

  it("an acknowledgement frees all up to its index; a full window takes no more", () => {
    const window = new Inflights(3, 0);
    for (const index of [2, 5, 9]) window.add(index, 1);
    expect(() => window.add(10, 1)).toThrow("full window");
    window.freeThrough(1);
    expect(window.count).toBe(3);
    window.freeThrough(5);
    expect(window.count).toBe(1);
    window.freeThrough(99);
    expect(window.count).toBe(0);
  });
});

describe("progress of a follower", () => {
  it.each([
    {
      name: "replicating, stale",
      state: "Replicate",
      match: 5,
      next: 10,
      rejected: 5,
      hint: 5,
      want: false,
      after: 10,
    },
    {
      name: "replicating: back to the match",
      state: "Replicate",
      match: 5,
      next: 10,
      rejected: 9,
      hint: 8,
      want: true,
      after: 6,
    },
    {
      name: "probing, not the probe's",
      state: "Probe",
      match: 0,
      next: 10,
      rejected: 7,
      hint: 5,
      want: false,
      after: 10,
    },
    {
      name: "probing: to the hint",
      state: "Probe",
      match: 0,
      next: 10,
      rejected: 9,
      hint: 2,
      want: true,
      after: 3,
    },
    {
      name: "probing: at most one back",
      state: "Probe",
      match: 0,
      next: 10,
      rejected: 9,
      hint: 99,
      want: true,
      after: 9,
    },
    {
      name: "probing: never into the match",
      state: "Probe",
      match: 4,
      next: 6,
      rejected: 5,
      hint: 0,
      want: true,
      after: 5,
    },
  ] as const)("a rejection, $name", ({ state, match, next, rejected, hint, want, after }) => {
    const progress = new Progress(2, next, false, 8, 0);
    progress.match = match;
    progress.state = state;
    expect(progress.rejectedAt(rejected, hint)).toBe(want);
    expect(progress.next).toBe(after);
  });

  it("a snapshot that was sent is probed behind; one that failed is not", () => {
    for (const [pending, next] of [
      [20, 21],
      [0, 6],
    ] as const) {
      const progress = new Progress(2, 10, false, 8, 0);
      progress.match = 5;
      progress.becomeSnapshot(20);
      expect(progress.paused).toBe(true);
      progress.pendingSnapshot = pending;
      progress.becomeProbe();
      expect(progress.next).toBe(next);
    }
  });
});

describe("sending", () => {
  it("while probing goes one append at a time; a heartbeat's answer lets the next go", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.step(1, { kind: "reportUnreachable", id: 2 });
    expect(progressOf(cluster, 2).state).toBe("Probe");
    for (const text of ["a", "b", "c"]) cluster.propose(1, text);
    cluster.process(1);
    expect(appendsTo(cluster, 2)).toBe(1);
    expect(progressOf(cluster, 2).paused).toBe(true);
    cluster.lose(({ to, kind }) => to === 2 && kind === "append");
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.texts(2)).toEqual(["a", "b", "c"]);
    expect(progressOf(cluster, 2)).toMatchObject({ state: "Replicate", match: 4, paused: false });
  });

  it("while replicating goes ahead of the acknowledgements, up to the window", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { maxInflightMessages: 4 } });
    cluster.elect(1);
    cluster.lose(({ kind, from }) => from === 2 && kind === "appendResponse");
    for (let i = 0; i < 10; i++) cluster.propose(1, `${i}`);
    cluster.process(1);
    expect(appendsTo(cluster, 2)).toBe(4);
    expect(progressOf(cluster, 2)).toMatchObject({ next: 6, paused: true });
  });

  it("a window whose messages were all lost is found out through a heartbeat", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { maxInflightMessages: 2 } });
    cluster.elect(1);
    cluster.isolate(2);
    for (let i = 0; i < 5; i++) cluster.propose(1, `${i}`);
    cluster.settle();
    cluster.lose();
    expect(progressOf(cluster, 2).paused).toBe(true);
    cluster.tick(1);
    cluster.settle();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.texts(2)).toEqual(["0", "1", "2", "3", "4"]);
  });

  it("the window is limited by bytes, too", () => {
    const cluster = new Cluster({
      voters: [1, 2, 3],
      config: { maxInflightBytes: 30, maxEntriesBytesPerMessage: 20 },
    });
    cluster.elect(1);
    for (let i = 0; i < 10; i++) cluster.propose(1, "0123456789");
    cluster.process(1);
    expect(appendsTo(cluster, 2)).toBe(3);
    cluster.settle();
    expect(cluster.texts(2)).toHaveLength(10);
  });

  it("a message carries what fits, at least one entry", () => {
    const limit = 3 * entryBytes({ index: 1, term: 1, kind: "normal", data: new Uint8Array(1) });
    const cluster = new Cluster({ voters: [1, 2], config: { maxEntriesBytesPerMessage: limit } });
    cluster.elect(1);
    cluster.isolate(2);
    for (const text of ["a", "b", "c", "d", "0123456789".repeat(20), "e"]) cluster.propose(1, text);
    cluster.settle();
    cluster.lose();
    const before = cluster.sent.length;
    cluster.tick(1);
    cluster.settle();
    const sizes = cluster.sent
      .slice(before)
      .filter(({ kind, entries }) => kind === "append" && (entries?.length ?? 0) > 0)
      .map(({ entries }) => entries?.length);
    expect(Math.max(...sizes.map((size) => size ?? 0))).toBe(3);
    expect(cluster.texts(2)).toHaveLength(6);
  });

  it("the commit index goes to who can make use of it, and no oftener than that", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.settle();
    const before = cluster.sentOf("append").length;
    cluster.propose(1, "x");
    cluster.settle();
    // One with the entry and one with the commit index for each follower.
    expect(cluster.sentOf("append").length - before).toBe(4);
    expect(cluster.core(2).commit).toBe(cluster.core(1).commit);
  });

  it("an acknowledgement of what the leader does not have is no acknowledgement", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    const leader = cluster.elect(1);
    cluster.receive(1, { kind: "appendResponse", from: 2, term: 1, index: 99 });
    expect(leader.commit).toBe(1);
    expect(progressOf(cluster, 2).match).toBe(1);
  });
});

describe("snapshots to those too far behind (section 7)", () => {
  function behind(): Cluster {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.isolate(3);
    for (let i = 0; i < 5; i++) cluster.propose(1, `${i}`);
    cluster.settle();
    const { core, log } = cluster.member(1);
    log.makeSnapshot(core.applied, core.conf);
    log.compact(core.applied - 1);
    cluster.lose();
    return cluster;
  }

  it("replication waits for the snapshot and goes on behind it", () => {
    const cluster = behind();
    cluster.lose(({ kind }) => kind === "snapshot");
    cluster.tick(1);
    cluster.settle();
    expect(progressOf(cluster, 3)).toMatchObject({ state: "Snapshot", pendingSnapshot: 6, paused: true });
    const appends = cluster.sentOf("append").length;
    cluster.propose(1, "more");
    cluster.settle();
    expect(
      cluster
        .sentOf("append")
        .slice(appends)
        .filter(({ to }) => to === 3),
    ).toEqual([]);
    const snapshot = cluster.sentOf("snapshot").at(-1);
    expect(snapshot?.snapshot).toMatchObject({ index: 6, conf: confOf([1, 2, 3]) });
    cluster.lose();
    if (snapshot !== undefined) cluster.pool.push(snapshot);
    cluster.settle();
    cluster.tick(1);
    cluster.settle();
    expect(progressOf(cluster, 3)).toMatchObject({ state: "Replicate", match: 7 });
    expect(cluster.texts(3)).toEqual(["more"]);
    expect(cluster.core(3).status()).toMatchObject({ firstIndex: 7, applied: 7 });
  });

  it.each([
    { ok: true, next: 7 },
    { ok: false, next: 1 },
  ])("reported ok $ok: probed from $next on, after a heartbeat", ({ ok, next }) => {
    const cluster = behind();
    cluster.lose(({ kind }) => kind === "snapshot");
    cluster.tick(1);
    cluster.settle();
    const { match } = progressOf(cluster, 3);
    cluster.step(1, { kind: "reportSnapshot", id: 3, ok });
    expect(progressOf(cluster, 3)).toMatchObject({
      state: "Probe",
      next: Math.max(match + 1, next),
      paused: true,
    });
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    cluster.tick(1);
    cluster.settle();
    cluster.step(1, { kind: "reportSnapshot", id: 3, ok: true });
    cluster.tick(1);
    cluster.settle();
    expect(progressOf(cluster, 3)).toMatchObject({ state: "Replicate", match: 6 });
  });

  it("one that has not been heard of gets none", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    for (let i = 0; i < 3; i++) cluster.propose(1, `${i}`);
    cluster.settle();
    for (const id of [1, 2]) {
      const { core, log } = cluster.member(id);
      log.makeSnapshot(core.applied, core.conf);
      log.compact(core.applied);
    }
    cluster.isolate(3);
    cluster.elect(2);
    cluster.propose(2, "x");
    cluster.settle();
    expect(cluster.sentOf("snapshot")).toEqual([]);
  });

  it("is not needed where the log still reaches", () => {
    const cluster = behind();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.sentOf("snapshot").filter(({ to }) => to === 2)).toEqual([]);
  });
});

describe("uncommitted proposals", () => {
  const config = { maxUncommittedBytes: 10 };

  it("are refused above the limit, and taken again once some are applied", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config });
    cluster.elect(1);
    cluster.isolate(2, 3);
    expect(cluster.propose(1, "01234")).toBe("ok");
    expect(cluster.propose(1, "56789")).toBe("ok");
    const { lastIndex } = cluster.core(1);
    expect(cluster.propose(1, "x")).toBe("uncommitted_limit");
    expect(cluster.core(1).lastIndex).toBe(lastIndex);
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.propose(1, "x")).toBe("ok");
  });

  it("one larger than the limit passes when nothing waits; empty ones always do", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config });
    cluster.elect(1);
    cluster.isolate(2, 3);
    expect(cluster.propose(1, "0123456789 and more")).toBe("ok");
    expect(cluster.propose(1, "x")).toBe("uncommitted_limit");
    expect(cluster.propose(1, "")).toBe("ok");
  });

  it("the whole of a proposal counts", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config });
    cluster.elect(1);
    cluster.isolate(2, 3);
    cluster.propose(1, "0");
    expect(cluster.propose(1, "01234", "56789")).toBe("uncommitted_limit");
    expect(cluster.propose(1, "0123", "5678")).toBe("ok");
  });

  it("a refused configuration change leaves none pending", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config });
    cluster.elect(1);
    cluster.isolate(2, 3);
    cluster.propose(1, "0123456789");
    const change = {
      transition: "auto",
      changes: [{ kind: "learner", id: 4 }],
      context: new Uint8Array(0),
    } as const;
    expect(cluster.step(1, { kind: "proposeConfChange", change })).toBe("uncommitted_limit");
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.step(1, { kind: "proposeConfChange", change })).toBe("ok");
  });
});

describe("who takes proposals", () => {
  it("a follower forwards them, or refuses when told not to; nobody without a leader", () => {
    const forwarding = new Cluster({ voters: [1, 2, 3] });
    expect(forwarding.propose(2, "x")).toBe("no_leader");
    forwarding.elect(1);
    expect(forwarding.propose(2, "x")).toBe("ok");
    forwarding.settle();
    expect(forwarding.texts(1)).toEqual(["x"]);
    const refusing = new Cluster({ voters: [1, 2, 3], config: { forwardProposals: false } });
    refusing.elect(1);
    expect(refusing.propose(2, "x")).toBe("not_leader");
    refusing.campaign(2);
    expect(refusing.propose(2, "x")).toBe("no_leader");
  });

  it("after ok the leader's last index and term are the proposal's", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    const leader = cluster.elect(1);
    cluster.propose(1, "a", "b");
    const { lastIndex, term } = leader;
    cluster.settle();
    expect(cluster.member(1).applied.at(-1)).toMatchObject({ index: lastIndex, term });
    expect(cluster.texts(1)).toEqual(["a", "b"]);
  });

  it("a proposal of nothing is none", () => {
    const cluster = new Cluster({ voters: [1] });
    cluster.elect(1);
    expect(cluster.step(1, { kind: "propose", data: [] })).toBe("ignored");
  });
});
