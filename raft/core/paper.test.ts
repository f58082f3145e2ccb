import { describe, expect, it } from "vitest";
import { Core } from "./core.ts";
import { MemoryLog } from "./memory-log.ts";
import { Cluster, confOf, plainConfig } from "./testing/cluster.ts";
import type { Entry, HardState, Message } from "./types.ts";

const none = new Uint8Array(0);

/** A log whose entries have these terms, from index 1 on. */
function entriesOf(terms: readonly number[]): Entry[] {
  return terms.map((term, at) => ({ index: at + 1, term, kind: "normal", data: none }));
}

/** Replica 1 of 1, 2, 3 with such a log and hard state. */
function replica(
  terms: readonly number[],
  hardState: Partial<HardState> = {},
): { core: Core; log: MemoryLog } {
  const log = new MemoryLog({ conf: confOf([1, 2, 3]) });
  log.append(entriesOf(terms));
  log.setHardState({ term: terms.at(-1) ?? 0, vote: 0, commit: 0, ...hardState });
  return { core: new Core({ ...plainConfig, id: 1, storage: log }), log };
}

function receive(core: Core, message: Omit<Message, "to">): void {
  core.step({ kind: "message", message: { ...message, to: core.id }, nowMs: 0 });
}

/** What the core sends once its duties are done. */
function flush(core: Core, log: MemoryLog): readonly Message[] {
  const sent: Message[] = [];
  while (core.hasReady()) {
    const ready = core.takeReady();
    log.save(ready);
    sent.push(...ready.sendNow, ...ready.sendAfterSync);
    core.advance(ready);
  }
  return sent;
}

function termsOf(log: MemoryLog): (number | undefined)[] {
  return Array.from({ length: log.lastIndex() }, (_, at) => log.term(at + 1));
}

describe("figure 2, RequestVote, receiver", () => {
  const upToDate = { index: 3, logTerm: 2 };
  it.each([
    {
      name: "5.1: a candidate of an older term is not answered",
      state: { term: 3 },
      ask: { term: 2, ...upToDate },
      want: undefined,
    },
    { name: "5.2: a first vote is given", state: { term: 2 }, ask: { term: 3, ...upToDate }, want: true },
    { name: "5.2: in the same term, too", state: { term: 3 }, ask: { term: 3, ...upToDate }, want: true },
    {
      name: "5.2: not a second one to another",
      state: { term: 3, vote: 3 },
      ask: { term: 3, ...upToDate },
      want: false,
    },
    {
      name: "5.2: the same vote again",
      state: { term: 3, vote: 2 },
      ask: { term: 3, ...upToDate },
      want: true,
    },
    {
      name: "5.2: a new term, a new vote",
      state: { term: 3, vote: 3 },
      ask: { term: 4, ...upToDate },
      want: true,
    },
    {
      name: "5.4.1: not with an older last term",
      state: { term: 2 },
      ask: { term: 3, index: 9, logTerm: 1 },
      want: false,
    },
    {
      name: "5.4.1: not with a shorter log of the same last term",
      state: { term: 2 },
      ask: { term: 3, index: 2, logTerm: 2 },
      want: false,
    },
    {
      name: "5.4.1: with a longer log",
      state: { term: 2 },
      ask: { term: 3, index: 4, logTerm: 2 },
      want: true,
    },
    {
      name: "5.4.1: with a shorter log of a later last term",
      state: { term: 2 },
      ask: { term: 4, index: 1, logTerm: 3 },
      want: true,
    },
  ])("$name", ({ state, ask, want }) => {
    const { core, log } = replica([1, 1, 2], state);
    receive(core, { kind: "vote", from: 2, ...ask });
    const answer = flush(core, log).find(({ kind }) => kind === "voteResponse");
    expect(answer === undefined ? undefined : answer.reject !== true).toBe(want);
    expect(log.initialState().hardState.vote).toBe(
      want === true ? 2 : core.term === state.term ? (state.vote ?? 0) : 0,
    );
  });
});

describe("figure 2, AppendEntries, receiver", () => {
  const append = { kind: "append", from: 2, commit: 0 } as const;

  it("1 (5.1): an append of an older term changes nothing", () => {
    const { core, log } = replica([1, 1], { term: 3 });
    receive(core, { ...append, term: 2, index: 0, logTerm: 0, entries: entriesOf([2]) });
    expect(flush(core, log)).toEqual([]);
    expect(termsOf(log)).toEqual([1, 1]);
  });

  it.each([
    { name: "2 (5.3): refused where the log is too short", terms: [1], at: [3, 2], entries: [], want: [1] },
    {
      name: "2 (5.3): refused where the term differs",
      terms: [1, 1, 1],
      at: [3, 2],
      entries: [],
      want: [1, 1, 1],
    },
    { name: "4: new entries are appended", terms: [1], at: [1, 1], entries: [2, 2], want: [1, 2, 2] },
    {
      name: "4: entries already there are left",
      terms: [1, 2, 2],
      at: [0, 0],
      entries: [1, 2],
      want: [1, 2, 2],
    },
    {
      name: "3 (5.3): a conflicting entry and all behind it go",
      terms: [1, 1, 1, 1],
      at: [1, 1],
      entries: [2],
      want: [1, 2],
    },
    {
      name: "3 (5.3): what does not conflict stays",
      terms: [1, 2, 2, 2],
      at: [1, 1],
      entries: [2, 3],
      want: [1, 2, 3],
    },
    {
      name: "an empty append leaves the log as it is",
      terms: [1, 2, 2],
      at: [1, 1],
      entries: [],
      want: [1, 2, 2],
    },
  ])("$name", ({ terms, at, entries, want }) => {
    const { core, log } = replica(terms, { term: 3 });
    const [index, logTerm] = at as [number, number];
    const sent = entries.map(
      (term, i): Entry => ({ index: index + 1 + i, term, kind: "normal", data: none }),
    );
    receive(core, { ...append, term: 3, index, logTerm, entries: sent });
    const answer = flush(core, log).find(({ kind }) => kind === "appendResponse");
    expect(termsOf(log)).toEqual(want);
    const refused = log.term(index) !== logTerm;
    expect(answer?.reject === true).toBe(refused);
    if (!refused) expect(answer?.index).toBe(index + entries.length);
  });

  it.each([
    { name: "commits up to the leader's commit", commit: 2, entries: 3, want: 2 },
    {
      name: "not beyond the last new entry, since what is behind may be another's",
      commit: 5,
      entries: 1,
      want: 2,
    },
    { name: "never goes back", commit: 0, entries: 3, want: 1 },
  ])("5 (5.3): $name", ({ commit, entries, want }) => {
    const { core } = replica([1, 1, 1, 1, 1], { term: 1, commit: 1 });
    receive(core, {
      ...append,
      term: 1,
      index: 1,
      logTerm: 1,
      commit,
      entries: entriesOf([1, 1, 1, 1]).slice(1, 1 + entries),
    });
    expect(core.commit).toBe(want);
  });
});

describe("figure 2, rules for servers", () => {
  it.each(["follower", "preCandidate", "candidate", "leader"] as const)(
    "all (5.1): a %s that sees a later term follows in it",
    (role) => {
      const cluster = new Cluster({ voters: [1, 2, 3], config: { preVote: role === "preCandidate" } });
      if (role === "leader") cluster.elect(1);
      else if (role !== "follower") cluster.campaign(1);
      expect(cluster.core(1).role).toBe(role);
      cluster.receive(1, { kind: "append", from: 2, term: 9, index: 0, logTerm: 0, commit: 0, entries: [] });
      expect(cluster.core(1)).toMatchObject({ role: "follower", term: 9, leader: 2 });
    },
  );

  it("all (5.3): what is committed is applied, in order, once", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    for (const text of ["a", "b", "c"]) {
      cluster.propose(1, text);
      cluster.settle();
    }
    cluster.tick(1);
    cluster.settle();
    for (const id of [1, 2, 3]) {
      expect(cluster.texts(id)).toEqual(["a", "b", "c"]);
      expect(cluster.member(id).applied.map(({ index }) => index)).toEqual([1, 2, 3, 4]);
    }
  });

  it("followers (5.2): without a sign of a leader for the election timeout it campaigns", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.tick(2, plainConfig.electionTicks - 1);
    expect(cluster.core(2).role).toBe("follower");
    cluster.tick(2);
    expect(cluster.core(2)).toMatchObject({ role: "candidate", term: 1 });
  });

  it.each(["append", "heartbeat", "vote"] as const)("followers (5.2): %s puts the timeout off", (kind) => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.tick(2, plainConfig.electionTicks - 1);
    cluster.receive(2, { kind, from: 1, term: 1, index: 0, logTerm: 0, commit: 0 });
    cluster.tick(2, plainConfig.electionTicks - 1);
    expect(cluster.core(2).role).toBe("follower");
  });

  it("candidates (5.2): begin with a later term, their own vote, and a request to everyone", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.campaign(1);
    const ready = cluster.process(1);
    expect(ready?.hardState).toEqual({ term: 1, vote: 1, commit: 0 });
    expect(cluster.sentOf("vote").map(({ to }) => to)).toEqual([2, 3]);
  });

  it.each([
    { name: "one of one", voters: [1], granted: [], rejected: [], want: "leader" },
    { name: "two of three", voters: [1, 2, 3], granted: [2], rejected: [3], want: "leader" },
    { name: "one of three so far", voters: [1, 2, 3], granted: [], rejected: [2], want: "candidate" },
    { name: "one of three for good", voters: [1, 2, 3], granted: [], rejected: [2, 3], want: "follower" },
    { name: "three of five", voters: [1, 2, 3, 4, 5], granted: [2, 5], rejected: [], want: "leader" },
    {
      name: "two of five so far",
      voters: [1, 2, 3, 4, 5],
      granted: [2],
      rejected: [3, 4],
      want: "candidate",
    },
    {
      name: "two of four is not enough",
      voters: [1, 2, 3, 4],
      granted: [2],
      rejected: [3, 4],
      want: "follower",
    },
  ])("candidates (5.2): $name: $want", ({ voters, granted, rejected, want }) => {
    const cluster = new Cluster({ voters });
    cluster.campaign(1);
    cluster.process(1);
    for (const from of granted) cluster.receive(1, { kind: "voteResponse", from, term: 1 });
    for (const from of rejected) cluster.receive(1, { kind: "voteResponse", from, term: 1, reject: true });
    expect(cluster.core(1).role).toBe(want);
  });

  it("candidates (5.2): a vote counted twice counts once", () => {
    const cluster = new Cluster({ voters: [1, 2, 3, 4, 5] });
    cluster.campaign(1);
    cluster.process(1);
    for (let i = 0; i < 3; i++) cluster.receive(1, { kind: "voteResponse", from: 2, term: 1 });
    expect(cluster.core(1).role).toBe("candidate");
  });

  it.each(["append", "heartbeat", "snapshot"] as const)(
    "candidates (5.2): %s of a leader of the same term ends the candidacy",
    (kind) => {
      const cluster = new Cluster({ voters: [1, 2, 3] });
      cluster.campaign(1);
      cluster.receive(1, { kind, from: 2, term: 1, index: 0, logTerm: 0, commit: 0 });
      expect(cluster.core(1)).toMatchObject({ role: "follower", term: 1, leader: 2 });
    },
  );

  it("candidates (5.2): an election that times out is begun again in a later term", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.campaign(1);
    cluster.tick(1, plainConfig.electionTicks);
    expect(cluster.core(1)).toMatchObject({ role: "candidate", term: 2 });
  });

  it("leaders (5.2): once elected they say so to all, and again every heartbeat", () => {
    const cluster = new Cluster({ voters: [1, 2, 3], config: { heartbeatTicks: 2 } });
    cluster.elect(1);
    expect(new Set(cluster.sentOf("append").map(({ to }) => to))).toEqual(new Set([2, 3]));
    cluster.tick(1, 5);
    cluster.process(1);
    expect(cluster.sentOf("heartbeat").map(({ to }) => to)).toEqual([2, 3, 2, 3]);
  });

  it("leaders (5.3): a command is appended, sent, and committed once a majority has it", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    const leader = cluster.elect(1);
    cluster.isolate(3);
    const before = leader.commit;
    cluster.propose(1, "x");
    expect(leader.commit).toBe(before);
    cluster.settle();
    expect(leader.commit).toBe(before + 1);
    expect(cluster.texts(1)).toEqual(["x"]);
  });

  it("leaders (5.3): without a majority nothing is committed", () => {
    const cluster = new Cluster({ voters: [1, 2, 3, 4, 5] });
    const leader = cluster.elect(1);
    cluster.isolate(3, 4, 5);
    const before = leader.commit;
    cluster.propose(1, "x");
    cluster.settle();
    expect(leader.commit).toBe(before);
  });

  it.each([
    { follower: [1, 1, 1, 4, 4, 5, 5, 6, 6], name: "(a) an entry is missing" },
    { follower: [1, 1, 1, 4], name: "(b) many are missing" },
    { follower: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6], name: "(c) an extra entry" },
    { follower: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7], name: "(d) extra entries of a later term" },
    { follower: [1, 1, 1, 4, 4, 4, 4], name: "(e) extra and missing" },
    { follower: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], name: "(f) another's terms" },
  ])("leaders (5.3, figure 7): the follower's log becomes the leader's: $name", ({ follower }) => {
    const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const cluster = new Cluster({ voters: [1, 2, 3] });
    for (const [id, terms] of [
      [1, leaderTerms],
      [2, follower],
      [3, leaderTerms],
    ] as const) {
      cluster.member(id).log.append(entriesOf(terms));
      cluster.member(id).log.setHardState({ term: 7, vote: 0, commit: 0 });
      cluster.restart(id);
    }
    cluster.elect(1);
    cluster.tick(1);
    cluster.settle();
    expect(termsOf(cluster.member(2).log)).toEqual([...leaderTerms, 8]);
    expect(cluster.core(2).commit).toBe(11);
  });

  it("leaders (5.3): backtracking takes one round per term, not per entry", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    const long = Array.from({ length: 200 }, (_, at) => (at < 100 ? 1 : 3));
    const astray = Array.from({ length: 190 }, (_, at) => (at < 100 ? 1 : 2));
    for (const [id, terms] of [
      [1, long],
      [2, astray],
      [3, long],
    ] as const) {
      cluster.member(id).log.append(entriesOf(terms));
      cluster.member(id).log.setHardState({ term: 3, vote: 0, commit: 0 });
      cluster.restart(id);
    }
    cluster.elect(1);
    expect(cluster.member(2).log.lastIndex()).toBe(201);
    expect(
      cluster.sentOf("appendResponse").filter(({ reject }) => reject === true).length,
    ).toBeLessThanOrEqual(2);
  });

  it("leaders (5.4.2, figure 8): an older term's entry is not committed by counting, only by one of the own", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    for (const id of [1, 2, 3]) {
      cluster.member(id).log.append(entriesOf(id === 3 ? [1] : [1, 2]));
      cluster.member(id).log.setHardState({ term: 2, vote: 0, commit: 0 });
      cluster.restart(id);
    }
    cluster.lose(({ kind }) => kind === "append");
    const leader = cluster.elect(1);
    // Replica 2 says that it has entry 2, which with the leader is a majority.
    cluster.receive(1, { kind: "appendResponse", from: 2, term: leader.term, index: 2 });
    expect(leader.commit).toBe(0);
    cluster.receive(1, { kind: "appendResponse", from: 2, term: leader.term, index: 3 });
    expect(leader.commit).toBe(3);
  });
});

describe("figure 13, InstallSnapshot", () => {
  const snapshot = { index: 5, term: 2, conf: confOf([1, 2, 3]) };

  it.each([
    {
      name: "behind the log: installed, the log begins after it",
      terms: [1, 1],
      commit: 1,
      want: { last: 5, commit: 5, installed: true },
    },
    {
      name: "of a log that differs there: replaces all of it",
      terms: [1, 1, 1, 1, 1, 1],
      commit: 1,
      want: { last: 5, commit: 5, installed: true },
    },
    {
      name: "6: of a log that agrees there: only commits",
      terms: [1, 1, 2, 2, 2, 2],
      commit: 1,
      want: { last: 6, commit: 5, installed: false },
    },
    {
      name: "already committed: ignored",
      terms: [1, 1, 2, 2, 2, 2],
      commit: 6,
      want: { last: 6, commit: 6, installed: false },
    },
  ])("$name", ({ terms, commit, want }) => {
    const { core, log } = replica(terms, { term: 2, commit });
    receive(core, { kind: "snapshot", from: 2, term: 2, snapshot });
    const answer = flush(core, log).find(({ kind }) => kind === "appendResponse");
    expect(core.lastIndex).toBe(want.last);
    expect(core.commit).toBe(want.commit);
    expect(log.firstIndex()).toBe(want.installed ? 6 : 1);
    expect(answer?.index).toBe(want.commit);
  });

  it("1: one of an older term changes nothing", () => {
    const { core, log } = replica([1], { term: 3 });
    receive(core, { kind: "snapshot", from: 2, term: 2, snapshot });
    expect(flush(core, log)).toEqual([]);
    expect(core.lastIndex).toBe(1);
  });

  it("one made for others is refused", () => {
    const { core } = replica([1], { term: 2 });
    receive(core, { kind: "snapshot", from: 2, term: 2, snapshot: { ...snapshot, conf: confOf([2, 3]) } });
    expect(core.lastIndex).toBe(1);
  });

  it("until it is installed the replica cannot be elected, and nothing is applied", () => {
    const { core } = replica([1], { term: 2 });
    receive(core, { kind: "snapshot", from: 2, term: 2, snapshot });
    const ready = core.takeReady();
    expect(ready.snapshot).toEqual(snapshot);
    expect(ready.mustSync).toBe(true);
    expect(ready.committed).toEqual([]);
    expect(core.step({ kind: "campaign", nowMs: 0 })).toBe("not_voter");
    core.advance(ready);
    expect(core.applied).toBe(5);
    expect(core.step({ kind: "campaign", nowMs: 0 })).toBe("ok");
  });

  it("a configuration entry handed out before the snapshot came does not touch its configuration", () => {
    const { core } = replica([1], { term: 2, commit: 1 });
    receive(core, { kind: "snapshot", from: 2, term: 2, snapshot });
    const stale = { transition: "auto", changes: [{ kind: "remove", id: 3 }], context: none } as const;
    expect(core.applyConfChange(stale)).toEqual(snapshot.conf);
  });
});

describe("section 8 (thesis 6.4): a leader's first entry is empty and of its own term", () => {
  it("and with it everything before is committed", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    for (const id of [1, 2, 3]) {
      cluster.member(id).log.append(entriesOf([1, 1]));
      cluster.member(id).log.setHardState({ term: 1, vote: 0, commit: 0 });
      cluster.restart(id);
    }
    const leader = cluster.elect(2);
    expect(leader.commit).toBe(3);
    expect(cluster.member(2).applied.at(-1)).toMatchObject({ index: 3, term: 2, data: none });
  });
});
