import { describe, expect, it } from "vitest";
import { encodeConfChange } from "./conf-codec.ts";
import { Cluster, type ClusterOptions, confOf } from "./testing/cluster.ts";
import type { ConfChange, MemberChange, StepResult } from "./types.ts";

const none = new Uint8Array(0);

function change(transition: ConfChange["transition"], ...changes: readonly MemberChange[]): ConfChange {
  return { transition, changes, context: none };
}
const voter = (id: number): MemberChange => ({ kind: "voter", id });
const learner = (id: number): MemberChange => ({ kind: "learner", id });
const remove = (id: number): MemberChange => ({ kind: "remove", id });
const leave = change("auto");

function propose(cluster: Cluster, id: number, it: ConfChange): StepResult {
  return cluster.step(id, { kind: "proposeConfChange", change: it });
}

/** A cluster led by 1, with newcomers that know nothing yet. */
function led(options: ClusterOptions, ...newcomers: readonly number[]): Cluster {
  const cluster = new Cluster(options);
  for (const id of newcomers) cluster.add(id);
  cluster.elect(1);
  return cluster;
}

/** Changes, and lets everyone hear of it. */
function carryOut(cluster: Cluster, it: ConfChange, by = 1): void {
  expect(propose(cluster, by, it)).toBe("ok");
  cluster.settle();
  cluster.tick(by);
  cluster.settle();
}

describe("simple changes (thesis 4.1)", () => {
  it("a voter that is added counts from the moment the entry is applied", () => {
    const cluster = led({ voters: [1] }, 2);
    carryOut(cluster, change("auto", voter(2)));
    expect(cluster.core(1).conf).toEqual(confOf([1, 2]));
    cluster.isolate(2);
    const { commit } = cluster.core(1);
    cluster.propose(1, "x");
    cluster.settle();
    expect(cluster.core(1).commit).toBe(commit);
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.texts(2)).toEqual(["x"]);
  });

  it("a removed voter's missing answer holds nothing up any more", () => {
    const cluster = led({ voters: [1, 2] });
    cluster.propose(1, "x");
    cluster.isolate(2);
    cluster.settle();
    expect(cluster.texts(1)).toEqual([]);
    // The removal itself needs both.
    expect(propose(cluster, 1, change("auto", remove(2)))).toBe("ok");
    cluster.lose(({ kind, to }) => to === 2 && kind === "heartbeat");
    cluster.tick(1);
    cluster.receive(1, { kind: "heartbeatResponse", from: 2, term: 1 });
    cluster.settle();
    expect(cluster.core(1).conf).toEqual(confOf([1]));
    expect(cluster.texts(1)).toEqual(["x"]);
    cluster.isolate(2);
    cluster.propose(1, "y");
    cluster.settle();
    expect(cluster.texts(1)).toEqual(["x", "y"]);
  });

  it("a smaller quorum commits what was waiting", () => {
    const cluster = led({ voters: [1, 2, 3, 4] });
    cluster.isolate(3, 4);
    cluster.propose(1, "x");
    cluster.settle();
    expect(cluster.texts(1)).toEqual([]);
    cluster.core(1).applyConfChange(change("auto", remove(4)));
    cluster.settle();
    expect(cluster.texts(1)).toEqual(["x"]);
  });

  it("learners get everything and count for nothing (4.2.1)", () => {
    const cluster = led({ voters: [1, 2, 3], learners: [4] });
    cluster.isolate(2, 3);
    const { commit } = cluster.core(1);
    cluster.propose(1, "x");
    cluster.settle();
    expect(cluster.core(1).commit).toBe(commit);
    expect(cluster.core(4).lastIndex).toBe(cluster.core(1).lastIndex);
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.texts(4)).toEqual(["x"]);
  });

  it("a learner is promoted, and a voter demoted", () => {
    const cluster = led({ voters: [1, 2], learners: [3] });
    carryOut(cluster, change("auto", voter(3)));
    expect(cluster.core(3).conf).toEqual(confOf([1, 2, 3]));
    expect(cluster.core(1).status().progress.get(3)).toMatchObject({ isLearner: false, match: 2 });
    carryOut(cluster, change("auto", learner(2)));
    expect(cluster.core(1).conf).toEqual(confOf([1, 3], [2]));
  });
});

describe("joint consensus (thesis 4.3)", () => {
  it("several members change at once, and the joint configuration is left by itself", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4, 5);
    carryOut(cluster, change("auto", voter(4), voter(5), remove(3)));
    for (const id of [1, 2, 4, 5]) expect(cluster.core(id).conf).toEqual(confOf([1, 2, 4, 5]));
  });

  it("explicitly: it stays joint until told to leave", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4);
    carryOut(cluster, change("explicit", voter(4), remove(3)));
    const joint = {
      voters: [1, 2, 4],
      outgoing: [1, 2, 3],
      learners: [],
      learnersNext: [],
      autoLeave: false,
    };
    for (const id of [1, 2, 3, 4]) expect(cluster.core(id).conf).toEqual(joint);
    carryOut(cluster, leave);
    expect(cluster.core(1).conf).toEqual(confOf([1, 2, 4]));
  });

  it.each([
    { name: "the incoming half", gone: [4, 5], commits: false },
    { name: "the outgoing half", gone: [2, 3], commits: false },
    { name: "a minority of each", gone: [3, 5], commits: true },
  ])("committing needs both halves: without $name, commits $commits", ({ gone, commits }) => {
    const cluster = led({ voters: [1, 2, 3] }, 4, 5);
    carryOut(cluster, change("explicit", voter(4), voter(5), remove(2), remove(3)));
    expect(cluster.core(1).conf).toMatchObject({ voters: [1, 4, 5], outgoing: [1, 2, 3] });
    cluster.isolate(...gone);
    const { commit } = cluster.core(1);
    cluster.propose(1, "x");
    cluster.settle();
    expect(cluster.core(1).commit > commit).toBe(commits);
  });

  it("so does being elected", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4, 5);
    carryOut(cluster, change("explicit", voter(4), voter(5), remove(2), remove(3)));
    cluster.isolate(4, 5);
    cluster.campaign(2);
    cluster.settle();
    expect(cluster.core(2).role).toBe("candidate");
    cluster.lose();
    cluster.tick(2, 10);
    cluster.settle();
    expect(cluster.core(2).role).toBe("leader");
  });

  it("a next learner votes with the outgoing half until that is left", () => {
    const cluster = led({ voters: [1, 2, 3] });
    carryOut(cluster, change("explicit", learner(3)));
    expect(cluster.core(1).conf).toMatchObject({ voters: [1, 2], outgoing: [1, 2, 3], learnersNext: [3] });
    expect(cluster.core(1).status().progress.get(3)?.isLearner).toBe(false);
    carryOut(cluster, leave);
    expect(cluster.core(1).conf).toEqual(confOf([1, 2], [3]));
    expect(cluster.core(1).status().progress.get(3)?.isLearner).toBe(true);
  });

  it("a new leader finishes what the old one began", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4);
    // 1 dies with the change sent to 2 and 3, and applied nowhere.
    propose(cluster, 1, change("implicit", voter(4)));
    cluster.process(1);
    cluster.deliver(2);
    cluster.deliver(3);
    cluster.process(2);
    cluster.process(3);
    cluster.isolate(1);
    cluster.elect(2);
    cluster.settle();
    cluster.tick(2);
    cluster.settle();
    expect(cluster.core(2).conf).toEqual(confOf([1, 2, 3, 4]));
    expect(cluster.core(4).conf).toEqual(confOf([1, 2, 3, 4]));
  });

  it("while leadership is being handed over it is not left; the next leader does it", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4);
    propose(cluster, 1, change("implicit", voter(4)));
    cluster.isolate(2);
    cluster.step(1, { kind: "transferLeader", to: 2, nowMs: 0 });
    cluster.lose(({ kind }) => kind === "timeoutNow");
    cluster.settle();
    expect(cluster.core(1).conf).toMatchObject({ autoLeave: true, outgoing: [1, 2, 3] });
    cluster.tick(1, 10);
    cluster.lose();
    cluster.propose(1, "next");
    cluster.settle();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1).conf).toEqual(confOf([1, 2, 3, 4]));
  });
});

describe("one change at a time", () => {
  it("a second is refused until the first is applied, and changes nothing", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4);
    expect(propose(cluster, 1, change("auto", learner(4)))).toBe("ok");
    const { lastIndex } = cluster.core(1);
    expect(propose(cluster, 1, change("auto", voter(4)))).toBe("conf_change_pending");
    expect(cluster.core(1).lastIndex).toBe(lastIndex);
    cluster.settle();
    expect(propose(cluster, 1, change("auto", voter(4)))).toBe("ok");
  });

  it("a new leader waits until all it has taken over is applied", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4);
    cluster.lose(({ kind }) => kind === "append");
    cluster.campaign(2);
    cluster.settle();
    expect(cluster.core(2).role).toBe("leader");
    // Its own log is applied up to its beginning, so a change may come; with an entry taken over it may not.
    cluster.lose();
    cluster.tick(2);
    cluster.settle();
    cluster.isolate(1, 3);
    cluster.propose(2, "taken over");
    cluster.settle();
    cluster.member(2).log.setHardState({ term: 2, vote: 2, commit: cluster.core(2).commit });
    cluster.restart(2);
    cluster.lose(({ kind }) => kind === "append");
    cluster.elect(2);
    expect(propose(cluster, 2, change("auto", learner(4)))).toBe("conf_change_pending");
    cluster.lose();
    cluster.tick(2);
    cluster.settle();
    expect(propose(cluster, 2, change("auto", learner(4)))).toBe("ok");
  });

  it.each([
    { name: "leaving what is not joint", it: leave },
    { name: "removing every voter", it: change("auto", remove(1), remove(2), remove(3)) },
    { name: "a replica without id", it: change("auto", voter(0)) },
  ])("R12, impossible: $name is refused before it is in the log", ({ it: bad }) => {
    const cluster = led({ voters: [1, 2, 3] });
    const { lastIndex } = cluster.core(1);
    expect(propose(cluster, 1, bad)).toBe("conf_change_invalid");
    expect(cluster.core(1).lastIndex).toBe(lastIndex);
  });

  it("impossible: joining what is joint", () => {
    const cluster = led({ voters: [1, 2, 3] }, 4);
    carryOut(cluster, change("explicit", voter(4)));
    expect(propose(cluster, 1, change("auto", voter(5)))).toBe("conf_change_invalid");
  });

  it("R12: a forwarded change that is no change at all is refused", () => {
    const cluster = led({ voters: [1, 2, 3] });
    const entries = [{ index: 0, term: 0, kind: "conf", data: new Uint8Array([0xc1]) }] as const;
    const message = { kind: "propose", from: 2, to: 1, term: 0, entries } as const;
    expect(cluster.step(1, { kind: "message", message, nowMs: 0 })).toBe("conf_change_invalid");
  });

  it("in etcd's way an empty entry takes the place of a bad change", () => {
    const cluster = led({ voters: [1, 2, 3], config: { invalidConfChange: "blank" } });
    expect(propose(cluster, 1, leave)).toBe("ok");
    cluster.settle();
    expect(cluster.member(1).applied.at(-1)).toMatchObject({ kind: "normal", data: none });
    expect(cluster.core(1).conf).toEqual(confOf([1, 2, 3]));
  });

  it("of two in one proposal only the first can be", () => {
    const cluster = led({ voters: [1, 2, 3], config: { invalidConfChange: "blank" } }, 4);
    const data = encodeConfChange(change("auto", learner(4)));
    const entries = [
      { index: 0, term: 0, kind: "conf", data },
      { index: 0, term: 0, kind: "conf", data },
    ] as const;
    cluster.receive(1, { kind: "propose", from: 2, term: 0, entries });
    cluster.settle();
    expect(
      cluster
        .member(1)
        .applied.slice(-2)
        .map(({ kind }) => kind),
    ).toEqual(["conf", "normal"]);
  });

  it("R6: a change that the host voids leaves the configuration, and the next may come", () => {
    const cluster = led({ voters: [1] });
    propose(cluster, 1, change("auto", learner(2)));
    const { core, log } = cluster.member(1);
    for (let ready = core.takeReady(); ; ready = core.takeReady()) {
      log.save(ready);
      core.advance(ready);
      if (!core.hasReady()) break;
    }
    expect(core.conf).toEqual(confOf([1]));
    expect(core.previewConfChange(change("auto", learner(2)))).toEqual(confOf([1], [2]));
    expect(propose(cluster, 1, change("auto", learner(3)))).toBe("ok");
  });
});

describe("removal (thesis 4.2.2)", () => {
  it("a leader that removes itself leads until the change is applied, then steps down", () => {
    const cluster = led({ voters: [1, 2, 3] });
    carryOut(cluster, change("auto", remove(1)));
    expect(cluster.core(1)).toMatchObject({ role: "follower", conf: { voters: [2, 3] } });
    expect(cluster.propose(1, "x")).toBe("no_leader");
    cluster.tick(2, 10);
    cluster.settle();
    expect(cluster.core(2).role).toBe("leader");
  });

  it("without stepDownOnRemoval it goes on leading, but proposes nothing", () => {
    const cluster = led({ voters: [1, 2, 3], config: { stepDownOnRemoval: false } });
    carryOut(cluster, change("auto", remove(1)));
    expect(cluster.core(1).role).toBe("leader");
    expect(cluster.propose(1, "x")).toBe("not_leader");
  });

  it("a leader that is demoted steps down", () => {
    const cluster = led({ voters: [1, 2, 3] });
    carryOut(cluster, change("auto", learner(1)));
    expect(cluster.core(1).role).toBe("follower");
  });

  it("it counts no longer for what comes after, also before it steps down", () => {
    const cluster = led({ voters: [1, 2], config: { stepDownOnRemoval: false } });
    carryOut(cluster, change("auto", remove(1)));
    const { match } = cluster.core(1).status().progress.get(2) ?? { match: 0 };
    expect(cluster.core(1).status().progress.has(1)).toBe(false);
    expect(cluster.core(1).commit).toBeLessThanOrEqual(match);
  });

  it("answers of one that is no member are not listened to", () => {
    const cluster = led({ voters: [1, 2, 3] });
    expect(cluster.receive(1, { kind: "appendResponse", from: 9, term: 50, index: 0 })).toBe("ignored");
    expect(cluster.core(1)).toMatchObject({ role: "leader", term: 1 });
  });

  it("a removed replica that campaigns on does not depose the leader (4.2.3)", () => {
    const cluster = led({ voters: [1, 2, 3], config: { checkQuorum: true, preVote: true } });
    propose(cluster, 1, change("auto", remove(3)));
    cluster.isolate(3);
    cluster.settle();
    cluster.lose();
    cluster.tick(3, 30);
    cluster.settle();
    expect(cluster.core(1)).toMatchObject({ role: "leader", term: 1 });
  });
});
