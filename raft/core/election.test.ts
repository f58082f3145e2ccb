import { describe, expect, it } from "vitest";
import { Cluster } from "./testing/cluster.ts";

const L = 200;
/** R17 switched on: leases of 200 ms, ticks of 50 ms. */
const leased = { leaseMs: L, preVote: true, checkQuorum: true };
const afterLease = L + L / 10;

describe("pre-vote (thesis 9.6)", () => {
  it("a replica that was cut off does not disturb the leader when it is back", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { preVote: true } });
    cluster.elect(1);
    cluster.isolate(3);
    cluster.tick(3, 50);
    cluster.settle();
    expect(cluster.core(3)).toMatchObject({ role: "preCandidate", term: 1 });
    cluster.propose(1, "x");
    cluster.settle();
    cluster.lose();
    cluster.tick(3, 10);
    cluster.settle();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1)).toMatchObject({ role: "leader", term: 1 });
    expect(cluster.core(3)).toMatchObject({ role: "follower", term: 1, leader: 1 });
  });

  it("neither asker nor asked changes term or vote", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { preVote: true } });
    cluster.campaign(1);
    cluster.process(1);
    expect(cluster.sentOf("preVote").map(({ term }) => term)).toEqual([1, 1]);
    cluster.deliver(2);
    cluster.process(2);
    expect(cluster.core(2).status()).toMatchObject({ term: 0, vote: 0 });
    expect(cluster.core(1).status()).toMatchObject({ term: 0, vote: 0 });
  });

  it("only a quorum of pre-votes starts the election", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { preVote: true } });
    cluster.lose(({ kind }) => kind === "preVote");
    cluster.campaign(1);
    cluster.settle();
    expect(cluster.core(1)).toMatchObject({ role: "preCandidate", term: 0 });
    cluster.receive(1, { kind: "preVoteResponse", from: 2, term: 1 });
    expect(cluster.core(1)).toMatchObject({ role: "candidate", term: 1 });
  });

  it("a candidate with a longer log but an older term and one with the opposite still elect a leader", () => {
    const cluster = new Cluster({ voters: [1, 2], config: { preVote: true } });
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, "x");
    cluster.settle();
    // 2 has moved on to a later term, as one without pre-vote would have.
    cluster.receive(2, { kind: "appendResponse", from: 1, term: 5, index: 0 });
    cluster.settle();
    cluster.lose();
    cluster.tick(2, 10);
    cluster.settle();
    cluster.tick(1, 10);
    cluster.settle();
    cluster.tick(1, 10);
    cluster.settle();
    expect(cluster.leader()?.id).toBe(1);
    expect(cluster.texts(2)).toEqual(["x"]);
  });

  it("a replica stuck in a later term makes the leader move on rather than stay stuck", () => {
    for (const config of [{ preVote: true }, { checkQuorum: true }, { leaseMs: L }]) {
      const cluster = new Cluster({ voters: [1, 2, 3], config });
      cluster.elect(1);
      cluster.receive(3, { kind: "appendResponse", from: 1, term: 9, index: 0 });
      cluster.settle();
      cluster.tick(1);
      cluster.settle();
      expect(cluster.core(1).term).toBe(9);
    }
  });
});

describe("check-quorum and stickiness (thesis 6.2, 4.2.3)", () => {
  it("a leader that hears of no quorum for an election timeout steps down", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { checkQuorum: true } });
    const leader = cluster.elect(1);
    cluster.isolate(1);
    cluster.tick(1, 20);
    expect(leader).toMatchObject({ role: "follower", term: 1, leader: 0 });
  });

  it("one follower of two is enough, a learner is not", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], learners: [4], config: { checkQuorum: true } });
    const leader = cluster.elect(1);
    for (const [lost, want] of [
      [[3], "leader"],
      [[2, 3], "follower"],
    ] as const) {
      cluster.isolate(...lost);
      for (let i = 0; i < 20; i++) {
        cluster.tick(1);
        cluster.settle();
      }
      expect(leader.role).toBe(want);
    }
  });

  it("who has heard from a leader lately passes a later term's vote over in silence", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { checkQuorum: true } });
    cluster.elect(1);
    cluster.receive(2, { kind: "vote", from: 3, term: 9, index: 99, logTerm: 9 });
    expect(cluster.core(2)).toMatchObject({ term: 1, leader: 1 });
    cluster.tick(2, 10);
    cluster.receive(2, { kind: "vote", from: 3, term: 9, index: 99, logTerm: 9 });
    expect(cluster.core(2).status()).toMatchObject({ term: 9, vote: 3 });
  });

  it("after forgetting its leader it gives its vote", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { checkQuorum: true } });
    cluster.elect(1);
    expect(cluster.step(2, { kind: "forgetLeader" })).toBe("ok");
    cluster.receive(2, { kind: "vote", from: 3, term: 9, index: 99, logTerm: 9 });
    expect(cluster.core(2).status()).toMatchObject({ term: 9, vote: 3 });
  });

  it("a forgotten leader is known again at its next word; leaders and lease readers do not forget", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    expect(cluster.step(1, { kind: "forgetLeader" })).toBe("ignored");
    cluster.step(2, { kind: "forgetLeader" });
    expect(cluster.core(2)).toMatchObject({ role: "follower", term: 1, leader: 0 });
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(2).leader).toBe(1);
    const lease = new Cluster({ voters: [1, 2, 3], config: { checkQuorum: true, readOnly: "lease" } });
    lease.elect(1);
    expect(lease.step(2, { kind: "forgetLeader" })).toBe("ignored");
  });
});

describe("R17: no vote within a lease", () => {
  function withLeader(): Cluster {
    const cluster = new Cluster({ voters: [1, 2, 3], config: leased });
    cluster.elect(1);
    return cluster;
  }
  const ask = { kind: "vote", from: 3, term: 2, index: 99, logTerm: 1 } as const;

  it.each([
    { name: "right after the leader was heard", waitMs: 0, granted: false },
    { name: "when the lease has just run out, since clocks differ", waitMs: L, granted: false },
    { name: "a tenth later", waitMs: afterLease, granted: true },
  ])("$name: granted $granted, whatever was forgotten", ({ waitMs, granted }) => {
    for (const kind of ["vote", "preVote"] as const) {
      const cluster = withLeader();
      cluster.step(2, { kind: "forgetLeader" });
      cluster.nowMs += waitMs;
      cluster.receive(2, { ...ask, kind });
      cluster.process(2);
      const answers = cluster.sent.filter(
        ({ kind: of, from, term }) => of === `${kind}Response` && from === 2 && term === 2,
      );
      expect(answers).toHaveLength(granted ? 1 : 0);
    }
  });

  it("its own vote is withheld, too: no campaign within the lease", () => {
    const cluster = withLeader();
    expect(cluster.campaign(2)).toBe("ignored");
    cluster.nowMs += afterLease;
    expect(cluster.campaign(2)).toBe("ok");
  });

  it("word from the leader's node counts as contact for refusing votes, and for nothing else", () => {
    const cluster = withLeader();
    cluster.nowMs += afterLease;
    expect(cluster.step(2, { kind: "contact", nowMs: 0 })).toBe("ok");
    cluster.receive(2, ask);
    expect(cluster.core(2).term).toBe(1);
    expect(cluster.core(1).leaseHeld(cluster.nowMs)).toBe(false);
    cluster.tick(2, 10);
    expect(cluster.core(2).role).toBe("follower");
    cluster.nowMs += afterLease;
    cluster.tick(2, 10);
    expect(cluster.core(2).role).toBe("preCandidate");
  });

  it("a vote that follows the leader's TimeoutNow is exempt", () => {
    const cluster = withLeader();
    cluster.receive(2, { ...ask, transfer: true });
    expect(cluster.core(2).status()).toMatchObject({ term: 2, vote: 3 });
  });

  it("a leader whose followers are well is not deposed by a vote", () => {
    const cluster = withLeader();
    cluster.nowMs += 10 * L;
    cluster.receive(1, ask);
    expect(cluster.core(1)).toMatchObject({ role: "leader", term: 1 });
  });

  it("R20: a followed leader that asks for votes itself leads no more", () => {
    const cluster = withLeader();
    cluster.receive(2, { kind: "preVote", from: 1, term: 2, index: 9, logTerm: 1 });
    expect(cluster.core(2)).toMatchObject({ role: "follower", term: 1, leader: 0 });
  });

  it("no vote within an election timeout after the start; the durable past tells who had a leader", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { ...leased, noVoteBeforeMs: 1600 } });
    // Fresh replicas have promised nothing to anyone.
    cluster.elect(1);
    cluster.restart(2);
    cluster.nowMs = 1599;
    cluster.receive(2, ask);
    expect(cluster.campaign(2)).toBe("ignored");
    cluster.receive(2, { ...ask, term: 1 });
    expect(cluster.core(2).status()).toMatchObject({ term: 1, vote: 1 });
    cluster.nowMs = 1600;
    cluster.receive(2, ask);
    expect(cluster.core(2).status()).toMatchObject({ term: 2, vote: 3 });
  });

  it("a lone voter campaigns at once", () => {
    const cluster = new Cluster({ voters: [1], config: { ...leased, noVoteBeforeMs: 9999 } });
    cluster.elect(1);
    cluster.restart(1);
    expect(cluster.campaign(1)).toBe("ok");
    cluster.settle();
    expect(cluster.core(1).role).toBe("leader");
  });
});

describe("who may campaign", () => {
  it.each([
    { name: "a learner", id: 4, want: "not_voter" },
    { name: "one that is not a member", id: 9, want: "not_voter" },
    { name: "a voter", id: 2, want: "ok" },
  ])("$name: $want", ({ id, want }) => {
    const cluster = new Cluster({ voters: [1, 2, 3], learners: [4] });
    if (id === 9) cluster.add(9);
    expect(cluster.campaign(id)).toBe(want);
    cluster.tick(id, 20);
    expect(cluster.core(id).role).toBe(want === "ok" ? "candidate" : "follower");
  });

  it("a learner votes: it may be a voter already and not know it", () => {
    const cluster = new Cluster({ voters: [1], learners: [2] });
    cluster.receive(2, { kind: "vote", from: 1, term: 3, index: 5, logTerm: 2 });
    cluster.process(2);
    expect(cluster.sentOf("voteResponse")).toMatchObject([{ to: 1, term: 3 }]);
  });

  it("not one with a committed configuration change still to apply, its own configuration may be past", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.step(1, {
      kind: "proposeConfChange",
      change: { transition: "auto", changes: [{ kind: "learner", id: 4 }], context: new Uint8Array(0) },
    });
    cluster.settle();
    cluster.lose();
    cluster.tick(1);
    for (const id of [1, 2]) {
      cluster.process(id);
      cluster.deliver(2);
    }
    // Committed on 2 and not applied: its process dies in between.
    const { log } = cluster.member(2);
    cluster.member(2).applied.length = 1;
    log.setHardState({ term: 1, vote: 1, commit: 2 });
    const again = cluster.restart(2);
    expect(again).toMatchObject({ commit: 2, applied: 1 });
    expect(cluster.campaign(2)).toBe("ignored");
    cluster.process(2);
    expect(cluster.campaign(2)).toBe("ok");
  });
});

describe("a rejected vote brings the commit index", () => {
  it("so that nobody is stuck in a joint configuration which the others have left", () => {
    const cluster = new Cluster({ voters: [1, 2] });
    cluster.elect(1);
    const change = {
      transition: "explicit",
      changes: [{ kind: "learner", id: 1 }],
      context: new Uint8Array(0),
    } as const;
    cluster.step(1, { kind: "proposeConfChange", change });
    cluster.settle();
    cluster.tick(1);
    cluster.settle();
    // 2 gets the entry that leaves, but never hears that it is committed; 1 has more in its log besides.
    cluster.lose(
      ({ kind, commit, entries }) => kind !== "appendResponse" && (commit === 3 || entries?.[0]?.index === 4),
    );
    cluster.step(1, {
      kind: "proposeConfChange",
      change: { transition: "auto", changes: [], context: change.context },
    });
    cluster.propose(1, "late");
    cluster.settle();
    expect(cluster.core(1)).toMatchObject({ role: "follower", commit: 3, lastIndex: 4 });
    expect(cluster.core(2)).toMatchObject({ commit: 2, lastIndex: 3 });
    cluster.lose();
    cluster.campaign(2);
    cluster.settle();
    expect(cluster.core(2)).toMatchObject({
      role: "follower",
      commit: 3,
      conf: { voters: [2], learners: [1] },
    });
    cluster.elect(2);
    cluster.settle();
    expect(cluster.texts(1)).toEqual([]);
    expect(cluster.core(1).leader).toBe(2);
  });
});

describe("leader transfer (thesis 3.10)", () => {
  it("a target that is level is told to campaign at once, and wins without a pre-vote", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: leased });
    cluster.elect(1);
    expect(cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 })).toBe("ok");
    cluster.settle();
    expect(cluster.core(2)).toMatchObject({ role: "leader", term: 2 });
    expect(cluster.core(1)).toMatchObject({ role: "follower", leader: 2 });
    expect(cluster.sentOf("preVote").filter(({ from }) => from === 2)).toEqual([]);
    expect(
      cluster
        .sentOf("vote")
        .filter(({ from }) => from === 2)
        .every(({ transfer }) => transfer === true),
    ).toBe(true);
  });

  it("one that is behind is brought level first", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, "x");
    cluster.settle();
    cluster.lose();
    cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 });
    expect(cluster.core(1).transferTarget).toBe(2);
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(2).role).toBe("leader");
    expect(cluster.texts(2)).toEqual(["x"]);
  });

  it("meanwhile proposals are refused; after an election timeout it is given up", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.isolate(2);
    cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 });
    expect(cluster.propose(1, "x")).toBe("transferring");
    cluster.tick(1, 9);
    expect(cluster.propose(1, "x")).toBe("transferring");
    cluster.tick(1);
    expect(cluster.core(1)).toMatchObject({ role: "leader", transferTarget: 0 });
    expect(cluster.propose(1, "x")).toBe("ok");
  });

  it.each([
    { name: "to itself", to: 1, want: "ignored" },
    { name: "to a learner", to: 4, want: "not_voter" },
    { name: "to a stranger", to: 9, want: "not_voter" },
  ])("$name: $want", ({ to, want }) => {
    const cluster = new Cluster({ voters: [1, 2, 3], learners: [4] });
    cluster.elect(1);
    expect(cluster.step(1, { kind: "transferLeader", to, nowMs: 0 })).toBe(want);
    expect(cluster.propose(1, "x")).toBe("ok");
  });

  it("the same target again changes nothing, another takes its place", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.isolate(2);
    cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 });
    expect(cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 })).toBe("ignored");
    expect(cluster.step(1, { kind: "transferLeader", to: 3, nowMs: 0 })).toBe("ok");
    cluster.settle();
    expect(cluster.core(3).role).toBe("leader");
  });

  it("a later term ends it; so does the target's removal", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.isolate(2);
    cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 });
    cluster.core(1).applyConfChange({
      transition: "auto",
      changes: [{ kind: "remove", id: 2 }],
      context: new Uint8Array(0),
    });
    expect(cluster.core(1).transferTarget).toBe(0);
    cluster.receive(1, { kind: "appendResponse", from: 3, term: 7, index: 0 });
    expect(cluster.core(1)).toMatchObject({ role: "follower", transferTarget: 0 });
  });

  it("a follower passes the request on to the leader", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.step(3, { kind: "transferLeader", to: 2, nowMs: 0 });
    cluster.settle();
    expect(cluster.core(2).role).toBe("leader");
    expect(new Cluster({ voters: [1, 2] }).step(1, { kind: "transferLeader", to: 2, nowMs: 0 })).toBe(
      "no_leader",
    );
  });

  it("one that cannot be elected ignores TimeoutNow", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], learners: [4] });
    cluster.elect(1);
    cluster.receive(4, { kind: "timeoutNow", from: 1, term: 1 });
    expect(cluster.core(4).role).toBe("follower");
  });
});
