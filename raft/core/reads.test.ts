import { describe, expect, it } from "vitest";
import { Cluster, type ClusterOptions } from "./testing/cluster.ts";

const L = 200;

function led(options: Partial<ClusterOptions> = {}): Cluster {
  const cluster = new Cluster({ voters: [1, 2, 3], ...options });
  cluster.elect(1);
  cluster.settle();
  return cluster;
}

/** Contexts that `id` has had answered. */
function answered(cluster: Cluster, id: number): string[] {
  return cluster.member(id).reads.map(({ context }) => context);
}

describe("ReadIndex (thesis 6.4)", () => {
  it("the leader answers with its commit index once a quorum has answered a heartbeat sent after the read", () => {
    const cluster = led();
    cluster.propose(1, "x");
    cluster.settle();
    expect(cluster.read(1, "r1")).toBe("ok");
    cluster.process(1);
    expect(answered(cluster, 1)).toEqual([]);
    cluster.settle();
    expect(cluster.member(1).reads).toEqual([{ context: "r1", index: 2 }]);
  });

  it("a follower asks the leader, and is answered what to wait for", () => {
    const cluster = led({ voters: [1, 2, 3, 4, 5] });
    cluster.propose(1, "x");
    cluster.settle();
    expect(cluster.read(4, "r1")).toBe("ok");
    cluster.settle();
    expect(cluster.member(4).reads).toEqual([{ context: "r1", index: cluster.core(1).commit }]);
  });

  it("a deposed leader that does not know it answers nothing", () => {
    const cluster = led();
    cluster.isolate(1);
    cluster.elect(2);
    cluster.propose(2, "x");
    cluster.settle();
    cluster.read(1, "stale");
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1).role).toBe("leader");
    expect(answered(cluster, 1)).toEqual([]);
    cluster.lose();
    cluster.tick(1);
    cluster.tick(2);
    cluster.settle();
    expect(answered(cluster, 1)).toEqual([]);
    expect(cluster.core(1).role).toBe("follower");
  });

  it("learners' answers do not count", () => {
    const cluster = led({ learners: [4] });
    cluster.isolate(2, 3);
    cluster.read(1, "r1");
    cluster.settle();
    expect(answered(cluster, 1)).toEqual([]);
  });

  it("in a joint configuration both halves must answer", () => {
    const cluster = led();
    cluster.add(4);
    cluster.add(5);
    const change = {
      transition: "explicit",
      changes: [2, 3, 4, 5].map((id) => ({ kind: id < 4 ? ("remove" as const) : ("voter" as const), id })),
      context: new Uint8Array(0),
    } as const;
    cluster.step(1, { kind: "proposeConfChange", change });
    cluster.settle();
    cluster.isolate(2, 3);
    cluster.read(1, "r1");
    cluster.settle();
    expect(answered(cluster, 1)).toEqual([]);
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    expect(answered(cluster, 1)).toEqual(["r1"]);
  });

  it("before the first commit of its term a leader postpones: it may not know what is committed", () => {
    const cluster = led();
    cluster.isolate(3);
    cluster.propose(1, "x");
    cluster.settle();
    cluster.lose(({ kind }) => kind === "append");
    cluster.elect(2);
    expect(cluster.core(2).committedInTerm).toBe(false);
    cluster.read(2, "r1");
    cluster.settle();
    expect(answered(cluster, 2)).toEqual([]);
    cluster.lose();
    cluster.tick(2);
    cluster.settle();
    cluster.settle();
    expect(cluster.member(2).reads).toEqual([{ context: "r1", index: 3 }]);
  });

  it("a lone voter, too, waits for its first commit, and then needs nobody", () => {
    const cluster = new Cluster({ voters: [1], learners: [2] });
    cluster.campaign(1);
    cluster.process(1);
    expect(cluster.core(1).role).toBe("leader");
    cluster.read(1, "early");
    expect(cluster.core(1).committedInTerm).toBe(false);
    cluster.settle();
    expect(cluster.member(1).reads).toEqual([{ context: "early", index: 1 }]);
    cluster.read(1, "late");
    expect(cluster.core(1).takeReady().readStates).toEqual([{ context: "late", index: 1 }]);
  });

  it("what a leader had postponed or under way is forgotten with its leadership", () => {
    const cluster = led();
    cluster.isolate(1);
    cluster.read(1, "r1");
    cluster.settle();
    cluster.receive(1, { kind: "append", from: 2, term: 5, index: 0, logTerm: 0, commit: 0 });
    cluster.lose();
    cluster.elect(1);
    cluster.tick(1);
    cluster.settle();
    expect(answered(cluster, 1)).toEqual([]);
  });

  it("without a leader it is refused", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    expect(cluster.read(1, "r1")).toBe("no_leader");
    cluster.campaign(1);
    expect(cluster.read(1, "r1")).toBe("no_leader");
  });
});

describe("R18: what a read may join", () => {
  it("reads before the heartbeats are handed out share them, one after does not", () => {
    const cluster = led();
    cluster.read(1, "a");
    cluster.read(1, "b");
    cluster.process(1);
    const first = cluster.sentOf("heartbeat");
    expect(first).toHaveLength(2);
    cluster.read(1, "c");
    cluster.process(1);
    const second = cluster.sentOf("heartbeat").slice(2);
    expect(second).toHaveLength(2);
    expect(second[0]?.context).not.toBe(first[0]?.context);
    // Answers to the first heartbeats say nothing about c.
    cluster.receive(1, { kind: "heartbeatResponse", from: 2, term: 1, context: first[0]?.context ?? "" });
    cluster.process(1);
    expect(answered(cluster, 1)).toEqual(["a", "b"]);
    cluster.settle();
    expect(answered(cluster, 1)).toEqual(["a", "b", "c"]);
  });

  it("a later heartbeat's answers confirm earlier reads, from different followers together", () => {
    const cluster = led({ voters: [1, 2, 3, 4, 5] });
    cluster.read(1, "a");
    cluster.process(1);
    cluster.read(1, "b");
    cluster.process(1);
    const [a, b] = [
      cluster.sentOf("heartbeat")[0]?.context ?? "",
      cluster.sentOf("heartbeat").at(-1)?.context ?? "",
    ];
    cluster.receive(1, { kind: "heartbeatResponse", from: 2, term: 1, context: a });
    cluster.receive(1, { kind: "heartbeatResponse", from: 3, term: 1, context: b });
    cluster.process(1);
    expect(answered(cluster, 1)).toEqual(["a"]);
  });

  it("the same id twice is one read", () => {
    const cluster = led();
    cluster.read(1, "a");
    expect(cluster.read(1, "a")).toBe("ignored");
    cluster.settle();
    expect(answered(cluster, 1)).toEqual(["a"]);
  });

  it("answers that name a batch never sent, or none at all, count for nothing", () => {
    const cluster = led();
    cluster.read(1, "a");
    for (const context of ["7", "-1", "x", "", "1e3", "Infinity"]) {
      cluster.receive(1, { kind: "heartbeatResponse", from: 2, term: 1, context });
    }
    cluster.process(1);
    expect(answered(cluster, 1)).toEqual([]);
  });

  it("in a group of three a follower's asking is the confirmation: no heartbeat round", () => {
    const cluster = led();
    const before = cluster.sentOf("heartbeat").length;
    cluster.read(2, "a");
    cluster.settle();
    expect(answered(cluster, 2)).toEqual(["a"]);
    expect(cluster.sentOf("heartbeat")).toHaveLength(before);
  });

  it.each([
    { name: "of an older term", voters: [1, 2, 3], from: 2, term: 1, want: true },
    { name: "of no term", voters: [1, 2, 3], from: 2, term: 0, want: true },
    { name: "of the leader's term", voters: [1, 2, 3], from: 2, term: 2, want: false },
    { name: "of a learner", voters: [1, 2, 3], from: 4, term: 2, want: true },
    { name: "in a group of five", voters: [1, 2, 3, 5, 6], from: 2, term: 2, want: true },
  ])("asking $name needs a heartbeat round: $want", ({ voters, from, term, want }) => {
    const cluster = led({ voters, learners: [4] });
    cluster.elect(2);
    cluster.elect(1);
    cluster.settle();
    // Terms 1, 2, 3: the leader's is 3.
    const before = cluster.sentOf("heartbeat").length;
    cluster.receive(1, { kind: "readIndex", from, term: term + 1, context: "a" });
    cluster.process(1);
    expect(cluster.sentOf("heartbeat").length > before).toBe(want);
    expect(cluster.sentOf("readIndexResponse")).toHaveLength(want ? 0 : 1);
  });

  it("a read does not change anybody's term, and only leaders answer", () => {
    const cluster = led();
    cluster.receive(1, { kind: "readIndex", from: 2, term: 9, context: "a" });
    expect(cluster.core(1)).toMatchObject({ role: "leader", term: 1 });
    expect(cluster.receive(3, { kind: "readIndex", from: 2, term: 1, context: "a" })).toBe("not_leader");
  });
});

describe("R17: leases", () => {
  const config = { leaseMs: L, checkQuorum: true };

  it("are held for L from the time of sending, not of the answer", () => {
    const cluster = led({ config });
    const { nowMs } = cluster;
    cluster.tick(1);
    cluster.process(1);
    cluster.nowMs += 150;
    cluster.settle();
    expect(cluster.core(1).confirmedMs).toBe(nowMs);
    expect(cluster.core(1).leaseHeld(nowMs + L - 1)).toBe(true);
    expect(cluster.core(1).leaseHeld(nowMs + L)).toBe(false);
  });

  it("need a quorum's answers of the same term", () => {
    const cluster = led({ config, voters: [1, 2, 3, 4, 5] });
    cluster.isolate(3, 4, 5);
    cluster.nowMs += L;
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(false);
    cluster.isolate(4, 5);
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(true);
    cluster.lose();
    cluster.receive(1, { kind: "append", from: 2, term: 9, index: 0, logTerm: 0, commit: 0 });
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(false);
    expect(cluster.core(1).confirmedMs).toBe(Number.NEGATIVE_INFINITY);
  });

  it("learners give none; a lone voter needs none", () => {
    const cluster = led({ config, learners: [4] });
    cluster.isolate(2, 3);
    cluster.nowMs += L;
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(false);
    const alone = led({ voters: [1], config });
    expect(alone.core(1).leaseHeld(alone.nowMs + 10 * L)).toBe(true);
  });

  it("are not held before the term's first commit", () => {
    const cluster = led({ config });
    cluster.nowMs += 2 * L;
    cluster.lose(({ kind }) => kind === "append");
    cluster.elect(2);
    cluster.tick(2);
    cluster.settle();
    expect(cluster.core(2).confirmedMs).toBe(cluster.nowMs);
    expect(cluster.core(2).leaseHeld(cluster.nowMs)).toBe(false);
  });

  it("are never held again in a term in which TimeoutNow was sent, though the transfer failed", () => {
    const cluster = led({ config });
    cluster.lose(({ kind }) => kind === "timeoutNow");
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(true);
    cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 });
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(false);
    for (let i = 0; i < 20; i++) {
      cluster.tick(1);
      cluster.settle();
    }
    expect(cluster.core(1)).toMatchObject({ role: "leader", transferTarget: 0 });
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(false);
  });

  it("an answer that claims to be of the future gives none", () => {
    const cluster = led({ config });
    cluster.nowMs += L;
    for (const from of [2, 3]) {
      cluster.receive(1, { kind: "heartbeatResponse", from, term: 1, sentAtMs: cluster.nowMs + 1000 });
    }
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(false);
  });

  it("a clock that goes back lengthens nothing", () => {
    const cluster = led({ config });
    const { nowMs } = cluster;
    cluster.nowMs = nowMs - 500;
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1).leaseHeld(nowMs + L)).toBe(false);
  });

  it("a lease read is answered at once while it is held, else by a round", () => {
    const cluster = led({ config: { ...config, readOnly: "lease" } });
    cluster.read(1, "held");
    expect(cluster.process(1)?.readStates).toEqual([{ context: "held", index: 1 }]);
    cluster.nowMs += L;
    cluster.read(1, "lapsed");
    expect(cluster.process(1)?.readStates).toEqual([]);
    cluster.settle();
    expect(answered(cluster, 1)).toEqual(["held", "lapsed"]);
  });

  it("without R17 a lease read rests on check-quorum, as in etcd", () => {
    const cluster = led({ config: { checkQuorum: true, readOnly: "lease" } });
    cluster.read(1, "a");
    expect(cluster.process(1)?.readStates).toEqual([{ context: "a", index: 1 }]);
    expect(cluster.sent.every(({ sentAtMs }) => sentAtMs === undefined)).toBe(true);
  });
});
