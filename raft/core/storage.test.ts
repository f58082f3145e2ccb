import { describe, expect, it } from "vitest";
import { Core } from "./core.ts";
import { MemoryLog } from "./memory-log.ts";
import { Cluster, confOf, plainConfig } from "./testing/cluster.ts";
import type { AppendAck, CoreConfig, Entry, Message, Ready } from "./types.ts";

const none = new Uint8Array(0);

function entry(index: number, term: number): Entry {
  return { index, term, kind: "normal", data: none };
}

function coreOf(voters: readonly number[], config: Partial<CoreConfig> = {}): { core: Core; log: MemoryLog } {
  const log = new MemoryLog({ conf: confOf(voters) });
  return { core: new Core({ ...plainConfig, id: 1, storage: log, ...config }), log };
}

function receive(core: Core, message: Omit<Message, "to">): void {
  core.step({ kind: "message", message: { ...message, to: core.id }, nowMs: 0 });
}

function append(
  core: Core,
  term: number,
  previous: number,
  previousTerm: number,
  entries: readonly Entry[],
  commit = 0,
  from = 2,
): void {
  receive(core, { kind: "append", from, term, index: previous, logTerm: previousTerm, entries, commit });
}

/** Does what a Ready asks, synchronously. */
function finish(core: Core, log: MemoryLog, ready: Ready): void {
  log.save(ready);
  core.advance(ready);
}

describe("R2: what leaves before the write, what after", () => {
  it("a campaign's votes, and all else of a term not yet durable, wait for the write", () => {
    const { core, log } = coreOf([1, 2, 3]);
    core.step({ kind: "campaign", nowMs: 0 });
    const ready = core.takeReady();
    expect(ready.sendNow).toEqual([]);
    expect(ready.sendAfterSync.map(({ kind }) => kind)).toEqual(["vote", "vote"]);
    expect(ready).toMatchObject({ mustSync: true, hardState: { term: 1, vote: 1 } });
    finish(core, log, ready);
    expect(core.role).toBe("candidate");
  });

  it("a vote that is given waits; one that is refused waits, too", () => {
    const { core } = coreOf([1, 2, 3]);
    receive(core, { kind: "vote", from: 2, term: 1, index: 0, logTerm: 0 });
    receive(core, { kind: "vote", from: 3, term: 1, index: 0, logTerm: 0 });
    const ready = core.takeReady();
    expect(ready.sendNow).toEqual([]);
    expect(ready.sendAfterSync.map(({ to, reject }) => [to, reject === true])).toEqual([
      [2, false],
      [3, true],
    ]);
  });

  it("a leader's appends leave at once, before its own write; a follower's acknowledgement after", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.propose(1, "x");
    const leading = cluster.core(1).takeReady();
    expect(leading.sendNow.map(({ kind }) => kind)).toEqual(["append", "append"]);
    expect(leading).toMatchObject({ sendAfterSync: [], mustSync: true, append: [{ index: 2 }] });
    cluster.finish(1, leading);
    cluster.deliver(2);
    const following = cluster.core(2).takeReady();
    expect(following.sendNow).toEqual([]);
    expect(following.sendAfterSync.map(({ kind }) => kind)).toEqual(["appendResponse"]);
  });

  it("heartbeats and their answers leave at once when the term is durable, else after the write", () => {
    const { core, log } = coreOf([1, 2, 3]);
    const heartbeat = { kind: "heartbeat", from: 2, term: 1, commit: 0 } as const;
    receive(core, heartbeat);
    const first = core.takeReady();
    expect([first.sendNow.length, first.sendAfterSync.length]).toEqual([0, 1]);
    finish(core, log, first);
    receive(core, heartbeat);
    const second = core.takeReady();
    expect([second.sendNow.length, second.sendAfterSync.length]).toEqual([1, 0]);
    expect(second.mustSync).toBe(false);
  });

  it.each([[1], [1, 2, 3]])(
    "a leader counts itself only once its append is durable: voters %j",
    (...voters) => {
      const cluster = new Cluster({ voters });
      cluster.elect(1);
      cluster.propose(1, "x");
      const leader = cluster.core(1);
      const { commit } = leader;
      const ready = leader.takeReady();
      for (const from of voters.slice(1, 2)) {
        cluster.receive(1, { kind: "appendResponse", from, term: 1, index: ready.append.at(-1)?.index ?? 0 });
      }
      expect(leader.commit).toBe(commit);
      cluster.finish(1, ready);
      expect(leader.commit).toBe(commit + 1);
    },
  );

  it("a lone voter does not even elect itself before its vote is durable", () => {
    const { core, log } = coreOf([1]);
    core.step({ kind: "campaign", nowMs: 0 });
    expect(core.role).toBe("candidate");
    finish(core, log, core.takeReady());
    expect(core.role).toBe("leader");
  });

  it("what may be applied before the write stands at or below stableIndex", () => {
    const { core, log } = coreOf([1, 2, 3]);
    append(core, 1, 0, 0, [entry(1, 1), entry(2, 1)], 1);
    const first = core.takeReady();
    expect(first.stableIndex).toBe(0);
    expect(first.committed.map(({ index }) => index)).toEqual([1]);
    finish(core, log, first);
    append(core, 1, 2, 1, [entry(3, 1)], 3);
    const second = core.takeReady();
    expect(second.stableIndex).toBe(2);
    expect(second.committed.map(({ index }) => index)).toEqual([2, 3]);
    finish(core, log, second);
    expect(core.applied).toBe(3);
    // Replacing a suffix takes it back.
    append(core, 1, 3, 1, [entry(4, 1), entry(5, 1)]);
    finish(core, log, core.takeReady());
    append(core, 2, 4, 1, [entry(5, 2)], 0, 3);
    expect(core.takeReady().stableIndex).toBe(4);
  });
});

describe("synchronous storage", () => {
  it("one Ready at a time, and only what was taken is advanced", () => {
    const { core } = coreOf([1, 2, 3]);
    core.step({ kind: "campaign", nowMs: 0 });
    const ready = core.takeReady();
    expect(() => core.takeReady()).toThrow("advanced before");
    expect(() => core.advance({ ...ready })).toThrow("what was taken");
    core.advance(ready);
    expect(() => core.advance(ready)).toThrow("what was taken");
  });

  it("inputs stepped between do not touch what was handed out", () => {
    const { core, log } = coreOf([1, 2, 3]);
    append(core, 1, 0, 0, [entry(1, 1)]);
    const ready = core.takeReady();
    const copy = structuredClone(ready);
    append(core, 1, 1, 1, [entry(2, 1)]);
    append(core, 2, 0, 0, [entry(1, 2)], 0, 3);
    core.step({ kind: "readIndex", context: "r", nowMs: 0 });
    expect(ready).toEqual(copy);
    finish(core, log, ready);
    // Under the later term the write of the replaced entry counts for nothing.
    expect(core.stableIndex).toBe(0);
    finish(core, log, core.takeReady());
    expect(core.stableIndex).toBe(1);
    expect(log.term(1)).toBe(2);
  });

  it("a commit index alone needs no sync", () => {
    const { core, log } = coreOf([1, 2, 3]);
    append(core, 1, 0, 0, [entry(1, 1)]);
    finish(core, log, core.takeReady());
    receive(core, { kind: "heartbeat", from: 2, term: 1, commit: 1 });
    expect(core.takeReady()).toMatchObject({ hardState: { commit: 1 }, mustSync: false });
  });

  it("asynchronous acknowledgements are not for it", () => {
    const { core } = coreOf([1]);
    expect(core.step({ kind: "applied", index: 5 })).toBe("ignored");
  });
});

describe("asynchronous storage", () => {
  const config = { asyncStorage: true };

  function acknowledge(core: Core, log: MemoryLog, ready: Ready): void {
    log.save(ready);
    core.step({ kind: "appended", ack: ready.appendAck as AppendAck });
  }

  it("writes and applies are acknowledged apart; only durable entries are handed out for applying", () => {
    const { core, log } = coreOf([1, 2, 3], config);
    append(core, 1, 0, 0, [entry(1, 1), entry(2, 1)], 2);
    const first = core.takeReady();
    expect(first.committed).toEqual([]);
    expect(core.hasReady()).toBe(false);
    acknowledge(core, log, first);
    const second = core.takeReady();
    expect(second.committed.map(({ index }) => index)).toEqual([1, 2]);
    expect(second.appendAck).toBeUndefined();
    expect(core.applied).toBe(0);
    core.step({ kind: "applied", index: 2 });
    expect(core.applied).toBe(2);
  });

  it("several writes may be under way; a later one does not repeat an earlier", () => {
    const { core, log } = coreOf([1, 2, 3], config);
    append(core, 1, 0, 0, [entry(1, 1)]);
    const first = core.takeReady();
    append(core, 1, 1, 1, [entry(2, 1)]);
    const second = core.takeReady();
    expect(second.append.map(({ index }) => index)).toEqual([2]);
    acknowledge(core, log, first);
    expect(core.stableIndex).toBe(1);
    acknowledge(core, log, second);
    expect(core.stableIndex).toBe(2);
  });

  it("ABA: entries replaced and put back while the replacement is still being written", () => {
    const { core, log } = coreOf([1, 2, 3, 4, 5], config);
    append(core, 1, 0, 0, [entry(1, 1), entry(2, 1)], 0, 2);
    const a1 = core.takeReady();
    append(core, 2, 0, 0, [entry(1, 2), entry(2, 2)], 0, 3);
    const b = core.takeReady();
    append(core, 3, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 3)], 0, 2);
    const a2 = core.takeReady();
    // The first write is done; index 2 has term 1, as the acknowledgement says, but b will overwrite it.
    acknowledge(core, log, a1);
    expect(core.stableIndex).toBe(0);
    acknowledge(core, log, b);
    expect(core.stableIndex).toBe(0);
    expect(core.status().lastIndex).toBe(3);
    acknowledge(core, log, a2);
    expect(core.stableIndex).toBe(3);
    expect([1, 2, 3].map((index) => log.term(index))).toEqual([1, 1, 3]);
  });

  it("an acknowledgement made void by a later term is made good by that term's own write", () => {
    const { core, log } = coreOf([1, 2, 3], config);
    append(core, 1, 0, 0, [entry(1, 1)]);
    const first = core.takeReady();
    receive(core, { kind: "vote", from: 3, term: 2, index: 1, logTerm: 1 });
    const second = core.takeReady();
    expect(second.append).toEqual([]);
    acknowledge(core, log, first);
    expect(core.stableIndex).toBe(0);
    acknowledge(core, log, second);
    expect(core.stableIndex).toBe(1);
  });

  it("R2: a leader's own append and a candidate's own vote count when their writes are acknowledged", () => {
    const { core, log } = coreOf([1], config);
    core.step({ kind: "campaign", nowMs: 0 });
    const campaign = core.takeReady();
    expect(core.role).toBe("candidate");
    acknowledge(core, log, campaign);
    expect(core.role).toBe("leader");
    const elected = core.takeReady();
    expect(core.commit).toBe(0);
    acknowledge(core, log, elected);
    expect(core.commit).toBe(1);
  });

  it("R2: while a term's write is under way, messages of that term wait behind it", () => {
    const { core, log } = coreOf([1, 2, 3], config);
    receive(core, { kind: "heartbeat", from: 2, term: 1, commit: 0 });
    const first = core.takeReady();
    receive(core, { kind: "heartbeat", from: 2, term: 1, commit: 0 });
    const second = core.takeReady();
    expect(second.sendNow).toEqual([]);
    expect(second.sendAfterSync).toHaveLength(1);
    expect(second.appendAck).toBeDefined();
    acknowledge(core, log, first);
    acknowledge(core, log, second);
    receive(core, { kind: "heartbeat", from: 2, term: 1, commit: 0 });
    expect(core.takeReady().sendNow).toHaveLength(1);
  });

  it("what is out for applying is limited over all Readys together", () => {
    const { core, log } = coreOf([1, 2, 3], { ...config, maxCommittedBytesPerReady: 40 });
    append(
      core,
      1,
      0,
      0,
      [1, 2, 3, 4, 5].map((index) => entry(index, 1)),
      5,
    );
    acknowledge(core, log, core.takeReady());
    expect(core.takeReady().committed.map(({ index }) => index)).toEqual([1, 2]);
    expect(core.hasReady()).toBe(false);
    core.step({ kind: "applied", index: 2 });
    expect(core.takeReady().committed.map(({ index }) => index)).toEqual([3, 4]);
  });

  it("a snapshot counts as installed whatever the term has become", () => {
    const { core, log } = coreOf([1, 2, 3], config);
    const snapshot = { index: 9, term: 1, conf: confOf([1, 2, 3]) };
    receive(core, { kind: "snapshot", from: 2, term: 1, snapshot });
    const ready = core.takeReady();
    receive(core, { kind: "vote", from: 3, term: 2, index: 9, logTerm: 1 });
    acknowledge(core, log, ready);
    expect(core).toMatchObject({ applied: 9, commit: 9, term: 2 });
  });
});

describe("a restart", () => {
  it.each([
    { name: "nothing at all", terms: [], hardState: { term: 0, vote: 0, commit: 0 }, applied: 0, commit: 0 },
    {
      name: "a log behind its commit index",
      terms: [1, 1, 2],
      hardState: { term: 2, vote: 3, commit: 2 },
      applied: 1,
      commit: 2,
    },
    {
      name: "a commit index behind what is applied: it is written unsynced",
      terms: [1, 1, 2],
      hardState: { term: 2, vote: 0, commit: 1 },
      applied: 3,
      commit: 3,
    },
  ])("from $name", ({ terms, hardState, applied, commit }) => {
    const log = new MemoryLog({ conf: confOf([1, 2, 3]) });
    log.append(terms.map((term, at) => entry(at + 1, term)));
    log.setHardState(hardState);
    const core = new Core({ ...plainConfig, id: 1, storage: log, applied });
    expect(core.status()).toMatchObject({
      role: "follower",
      term: hardState.term,
      vote: hardState.vote,
      commit,
      applied,
    });
    const out = core.hasReady() ? core.takeReady().committed : [];
    expect(out.map(({ index }) => index)).toEqual(
      Array.from({ length: commit - applied }, (_, at) => applied + 1 + at),
    );
  });

  it("from behind a snapshot whose commit index was not written", () => {
    const log = new MemoryLog({ conf: confOf([1, 2, 3]), index: 10, term: 3 });
    log.setHardState({ term: 3, vote: 0, commit: 2 });
    const core = new Core({ ...plainConfig, id: 1, storage: log, applied: 10 });
    expect(core).toMatchObject({ commit: 10, applied: 10, lastIndex: 10 });
    append(core, 3, 10, 3, [entry(11, 3)], 11);
    expect(core.commit).toBe(11);
  });

  it("a vote given before is kept", () => {
    const log = new MemoryLog({ conf: confOf([1, 2, 3]) });
    log.setHardState({ term: 4, vote: 2, commit: 0 });
    const core = new Core({ ...plainConfig, id: 1, storage: log });
    receive(core, { kind: "vote", from: 3, term: 4, index: 9, logTerm: 4 });
    expect(core.takeReady().sendAfterSync).toMatchObject([{ kind: "voteResponse", reject: true }]);
  });

  it("in a joint configuration it goes on from there", () => {
    const conf = { voters: [1, 2], outgoing: [1, 3], learners: [], learnersNext: [3], autoLeave: true };
    const log = new MemoryLog({ conf, index: 5, term: 1 });
    log.setHardState({ term: 1, vote: 0, commit: 5 });
    const core = new Core({ ...plainConfig, id: 1, storage: log, applied: 5 });
    expect(core.conf).toEqual(conf);
    core.step({ kind: "campaign", nowMs: 0 });
    finish(core, log, core.takeReady());
    receive(core, { kind: "voteResponse", from: 2, term: 2 });
    expect(core.role).toBe("candidate");
    receive(core, { kind: "voteResponse", from: 3, term: 2 });
    expect(core.role).toBe("leader");
  });

  it.each([
    { name: "a commit index beyond the log", hardState: { term: 1, vote: 0, commit: 3 }, applied: 0 },
    {
      name: "something applied that is not in the log",
      hardState: { term: 1, vote: 0, commit: 0 },
      applied: 3,
    },
  ])("is refused with $name", ({ hardState, applied }) => {
    const log = new MemoryLog({ conf: confOf([1]) });
    log.append([entry(1, 1)]);
    log.setHardState(hardState);
    expect(() => new Core({ ...plainConfig, id: 1, storage: log, applied })).toThrow("durable log");
  });

  it.each([
    { name: "no id", config: { id: 0 } },
    { name: "no heartbeat", config: { heartbeatTicks: 0 } },
    { name: "an election timeout not above the heartbeat", config: { electionTicks: 1 } },
    {
      name: "a window that holds no message",
      config: { maxInflightBytes: 10, maxEntriesBytesPerMessage: 20 },
    },
    { name: "lease reads without check-quorum", config: { readOnly: "lease" as const } },
  ])("is refused with $name", ({ config }) => {
    expect(() => coreOf([1], config)).toThrow();
  });
});

describe("messages from outside", () => {
  it.each([
    { name: "for another", message: { kind: "append", from: 2, to: 7, term: 1 } },
    { name: "from itself", message: { kind: "voteResponse", from: 1, to: 1, term: 1 } },
    { name: "of no term", message: { kind: "append", from: 2, to: 1, term: 0 } },
    { name: "that only the host may say", message: { kind: "forgetLeader", from: 2, to: 1, term: 1 } },
  ] as const)("$name are passed over", ({ message }) => {
    const { core } = coreOf([1, 2, 3]);
    expect(core.step({ kind: "message", message, nowMs: 0 })).toBe("ignored");
    expect(core.hasReady()).toBe(false);
  });

  it("entries that do not follow one another are no append", () => {
    const { core } = coreOf([1, 2, 3]);
    append(core, 1, 0, 0, [entry(1, 1), entry(3, 1)]);
    expect(core.lastIndex).toBe(0);
  });
});

describe("a quiesced group (R20)", () => {
  it("may sleep when it is level, and wakes where it was", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    expect(cluster.core(1).isLevel).toBe(true);
    expect(cluster.core(2).isLevel).toBe(false);
    cluster.propose(1, "x");
    expect(cluster.core(1).isLevel).toBe(false);
    cluster.settle();
    expect(cluster.core(1).isLevel).toBe(true);
    cluster.read(1, "r");
    expect(cluster.core(1).isLevel).toBe(false);
    cluster.settle();
    cluster.nowMs += 1_000_000;
    cluster.propose(1, "y");
    cluster.settle();
    expect(cluster.texts(3)).toEqual(["x", "y"]);
  });

  it("is not level while a follower lags or leadership is handed over", () => {
    const cluster = new Cluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "x");
    cluster.settle();
    expect(cluster.core(1)).toMatchObject({ applied: 2, isLevel: false });
    cluster.lose();
    cluster.tick(1);
    cluster.settle();
    expect(cluster.core(1).isLevel).toBe(true);
    cluster.step(1, { kind: "transferLeader", to: 3, nowMs: 0 });
    expect(cluster.core(1).isLevel).toBe(false);
  });
});
