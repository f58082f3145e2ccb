import { describe, expect, it } from "vitest";
import {
  dataKey,
  decodeReadResponse,
  decodeWriteResponse,
  encodeReadRequest,
  encodeWriteRequest,
  type GroupId,
  type MergeStep,
  type NodeId,
  type ReadResult,
  type ShardDescriptor,
  type WriteResult,
} from "#proto";
import { type MergeOutcome, mergedDescriptor, mergeProblem, neighbourProblem } from "./merge.ts";
import { rigDescriptor } from "./rig.ts";
import { dedupRange } from "./state-rows.ts";
import { confChange, testKeyspace } from "./testing/cluster.ts";
import { Scene } from "./testing/scene.ts";

const none = new Uint8Array(0);
const target: GroupId = 1;
const source: GroupId = 2;
const operation = 7;

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
const shard = (change: Partial<ShardDescriptor>): ShardDescriptor => ({ ...rigDescriptor, ...change });

describe("which shards may be one", () => {
  const [first] = rigDescriptor.replicas;
  it.each<{ what: string; other: Partial<ShardDescriptor>; want: RegExp | undefined }>([
    { what: "the one behind", other: { start: bytes("t"), end: none }, want: undefined },
    { what: "the one before", other: { start: none, end: bytes("a") }, want: undefined },
    { what: "one further on", other: { start: bytes("u"), end: none }, want: /not its neighbour/ },
    { what: "of another keyspace", other: { start: bytes("t"), keyspace: 2 }, want: /not its neighbour/ },
    { what: "itself", other: { id: 7, start: bytes("t") }, want: /not its neighbour/ },
    {
      what: "on other nodes",
      other: { start: bytes("t"), replicas: [{ replicaId: 1, nodeId: 9, role: "voter" }] },
      want: /same nodes/,
    },
    {
      what: "with a learner",
      other: {
        start: bytes("t"),
        replicas: rigDescriptor.replicas.map((r) => (r === first ? { ...r, role: "learner" as const } : r)),
      },
      want: /same nodes/,
    },
  ])("$what", ({ other, want }) => {
    const problem = neighbourProblem(shard({ id: 8, end: none, ...other }), rigDescriptor);
    if (want === undefined) expect(problem).toBeUndefined();
    else expect(problem).toMatch(want);
  });

  it("the one that stays has both ranges and is newer than both", () => {
    const ended = shard({ id: 8, start: bytes("t"), end: none, epoch: { version: 9, confVersion: 1 } });
    const { start, end, epoch } = mergedDescriptor(ended, rigDescriptor);
    expect([Buffer.from(start).toString(), end.length, epoch]).toEqual([
      "a",
      0,
      { version: 10, confVersion: rigDescriptor.epoch.confVersion },
    ]);
  });
});

describe("a step of a merge is void unless what it expects is so (R6)", () => {
  const { epoch } = rigDescriptor;
  const older = { ...epoch, version: epoch.version - 1 };
  const otherConf = { ...epoch, confVersion: epoch.confVersion + 1 };
  const frozen = { operation, target: 8, index: 20, term: 6, clockMicros: 5 };
  const neighbour = shard({ id: 8, start: bytes("t"), end: none });
  const freeze = (expected: typeof epoch): MergeStep => ({ kind: "freeze", operation, target: 8, expected });
  const merge = (expected: typeof epoch): MergeStep => ({
    kind: "merge",
    operation,
    expected,
    source: neighbour,
    index: 20,
    term: 6,
    clockMicros: 5,
  });
  it.each<{ what: string; step: MergeStep; isFrozen?: boolean; want: RegExp | undefined }>([
    { what: "a freeze", step: freeze(epoch), want: undefined },
    { what: "a freeze of an older version", step: freeze(older), want: /epoch/ },
    { what: "a freeze of another membership", step: freeze(otherConf), want: /epoch/ },
    { what: "a second freeze", step: freeze(epoch), isFrozen: true, want: /frozen already/ },
    { what: "a merge", step: merge(epoch), want: undefined },
    { what: "a merge into an older version", step: merge(older), want: /epoch/ },
    { what: "a merge into another membership", step: merge(otherConf), want: /epoch/ },
    { what: "a merge into what is to be merged itself", step: merge(epoch), isFrozen: true, want: /frozen/ },
    { what: "a seal", step: { kind: "seal", operation, version: epoch.version }, want: undefined },
    { what: "a seal of what has moved on", step: { kind: "seal", operation, version: 1 }, want: /version/ },
    {
      what: "a thaw",
      step: { kind: "thaw", operation, version: epoch.version },
      isFrozen: true,
      want: undefined,
    },
    {
      what: "a thaw by another operation",
      step: { kind: "thaw", operation: 8, version: 99 },
      isFrozen: true,
      want: /frozen by/,
    },
    {
      what: "a thaw before the freeze has come",
      step: { kind: "thaw", operation, version: epoch.version },
      want: undefined,
    },
    { what: "a thaw of what has moved on", step: { kind: "thaw", operation, version: 1 }, want: /version/ },
  ])("$what", ({ step, isFrozen, want }) => {
    const problem = mergeProblem(step, rigDescriptor, isFrozen === true ? frozen : undefined);
    if (want === undefined) expect(problem).toBeUndefined();
    else expect(problem).toMatch(want);
  });
});

/** Nodes 1 to 3 with two neighbours, [.., m) and [m, ..), written to. */
class MergeScene extends Scene {
  merge: Extract<MergeStep, { kind: "merge" }> | undefined;

  constructor(seed = 1, compactLogBytes = 1_000_000) {
    super(seed, compactLogBytes);
    this.cluster.create(target, [1, 2, 3], none, bytes("m"));
    this.cluster.create(source, [1, 2, 3], bytes("m"), none);
    this.lead(target, 1);
    this.lead(source, 2);
    for (const key of ["a", "b"]) expect(this.put(target, key, key).kind).toBe("put");
    for (const key of ["n", "o"]) expect(this.put(source, key, key).kind).toBe("put");
  }

  read(node: NodeId, group: GroupId, key: string, consistency: "linearizable" | "stale"): ReadResult {
    let result: ReadResult | undefined;
    const { version } = this.shard(group).epoch;
    const body = encodeReadRequest({
      shard: group,
      version,
      keyspace: testKeyspace,
      key: Buffer.from(key),
      consistency,
      timeoutMs: 1_000,
    });
    this.cluster.read(node, body, (answer) => {
      result = decodeReadResponse(answer).result;
    });
    this.cluster.until("an answer", () => result !== undefined);
    return result!;
  }

  order(group: GroupId, step: MergeStep): MergeOutcome {
    let outcome: MergeOutcome | undefined;
    this.cluster.node(this.cluster.leaderOf(group) ?? 0).service.merge(group, step, (said) => {
      outcome = said;
    });
    this.cluster.until(step.kind, () => outcome !== undefined);
    return outcome!;
  }

  freeze(): MergeOutcome {
    return this.order(source, { kind: "freeze", operation, target, expected: this.shard(source).epoch });
  }

  /** The merge as placement writes it down, once every replica has acknowledged the freeze. */
  decide(): Extract<MergeStep, { kind: "merge" }> {
    const { cluster } = this;
    let made: Extract<MergeStep, { kind: "merge" }> | undefined;
    cluster.until("the freeze is everywhere", () => {
      const node = cluster.leaderOf(source) ?? 0;
      const frozen = cluster.machine(node, source)?.frozen;
      const view = cluster.nodes.get(node)?.host.view(source);
      if (frozen === undefined || view === undefined) return false;
      const level = this.shard(source).replicas.every(
        (r) => r.replicaId === view.replica || (view.progress.get(r.replicaId)?.match ?? 0) >= frozen.index,
      );
      const { index, term, clockMicros } = frozen;
      const expected = this.shard(target).epoch;
      if (level)
        made = { kind: "merge", operation, expected, source: this.shard(source), index, term, clockMicros };
      return level;
    });
    return made!;
  }

  merged(): void {
    expect(this.freeze().kind).toBe("done");
    this.merge = this.decide();
    expect(this.order(target, this.merge).kind).toBe("done");
  }

  /** The source is nowhere, the target everywhere the same, with all rows. */
  expectMerged(values: Readonly<Record<string, string>>): void {
    const { cluster } = this;
    cluster.until("the merge is applied everywhere", () =>
      [1, 2, 3].every((id) => {
        const { host } = cluster.node(id);
        return host.view(source) === undefined && cluster.machine(id, target)?.descriptor?.end.length === 0;
      }),
    );
    cluster.run(2_000);
    for (const [key, value] of Object.entries(values)) {
      const found = this.read(3, target, key, "linearizable");
      expect(found.kind === "found" && Buffer.from(found.stored.value).toString()).toBe(value);
    }
    const hashes = new Set([1, 2, 3].map((id) => cluster.machine(id, target)?.stateHash()));
    expect(hashes.size).toBe(1);
  }
}

const all = { a: "a", b: "b", n: "n", o: "o" };

describe("a merge", () => {
  it("gives the target all the source had: rows, attempts, clock (R23, R25)", () => {
    const s = new MergeScene();
    const attempt = s.sequence;
    const first = s.put(source, "p", "p");
    const last = first.kind === "put" ? first.revision : 0;
    s.merged();
    s.expectMerged({ ...all, p: "p" });
    // The attempt's record lies where it lay; its index came along, on replicas that load it anew too.
    expect(s.put(target, "p", "other", attempt + 1)).toEqual(first);
    const next = s.put(target, "p", "q");
    expect(next.kind === "put" && next.revision > last).toBe(true);
    s.cluster.crash(1, "all");
    s.cluster.boot(1);
    s.lead(target, 1);
    expect(s.put(target, "p", "other", attempt + 1)).toEqual(first);
    s.expectMerged({ ...all, p: "q" });
  });

  it("works over a source that lies before the target, and can be split again", () => {
    const s = new MergeScene();
    expect(
      s.order(target, { kind: "freeze", operation, target: source, expected: s.shard(target).epoch }).kind,
    ).toBe("done");
    const frozen = s.cluster.machine(s.cluster.leaderOf(target) ?? 0, target)?.frozen;
    s.cluster.run(500);
    const { index = 0, term = 0, clockMicros = 0 } = frozen ?? {};
    const expected = s.shard(source).epoch;
    const step = {
      kind: "merge",
      operation,
      expected,
      source: s.shard(target),
      index,
      term,
      clockMicros,
    } as const;
    expect(s.order(source, step).kind).toBe("done");
    expect(s.shard(source)).toMatchObject({ start: none, end: none });
    expect(s.put(source, "a", "a2").kind).toBe("put");
  });

  it("who asks the source afterwards is told who has its keys", () => {
    const s = new MergeScene();
    s.merged();
    s.expectMerged(all);
    let result: WriteResult | undefined;
    const body = encodeWriteRequest({ shard: source, command: s.command("n", "x", 99, 2) });
    s.cluster.write(2, body, (answer) => {
      result = decodeWriteResponse(answer).result;
    });
    expect(result).toMatchObject({ kind: "epoch_mismatch", current: [{ id: target }] });
  });
});

describe("a frozen source", () => {
  it("does nothing and answers nothing, until it is thawed", () => {
    const s = new MergeScene();
    const before = s.shard(source);
    const recorded = s.put(source, "p", "p");
    const attempt = s.sequence;
    expect(s.freeze().kind).toBe("done");
    s.cluster.run(300);
    const hashes = (): unknown[] => [1, 2, 3].map((id) => s.cluster.machine(id, source)?.stateHash());
    const frozen = hashes();
    expect(s.put(source, "n", "x").kind).toBe("epoch_mismatch");
    for (const node of [1, 2, 3]) {
      expect(s.read(node, source, "n", "linearizable").kind).toBe("epoch_mismatch");
      expect(s.read(node, source, "n", "stale").kind).toBe("epoch_mismatch");
    }
    const leader = s.cluster.node(s.cluster.leaderOf(source) ?? 0);
    let changed: unknown;
    const change = confChange([{ kind: "learner", id: 900 }], false, {
      expectedConfVersion: before.epoch.confVersion,
      replicas: [{ replicaId: 900, nodeId: 4 }],
    });
    leader.host.proposeConfChange(source, change, (outcome) => {
      changed = outcome.kind === "applied" ? outcome.result : outcome;
    });
    s.cluster.until("the change", () => changed !== undefined);
    expect(changed).toBe(false);
    // A repeat of what was applied gets its answer; nothing else moves, the clock neither.
    expect(s.put(source, "p", "p", attempt).kind).toBe("epoch_mismatch");
    expect(hashes()).toEqual(frozen);
    expect(s.order(source, { kind: "thaw", operation, version: before.epoch.version }).kind).toBe("done");
    expect(s.shard(source).epoch.version).toBe(before.epoch.version + 2);
    expect(s.put(source, "p", "p", attempt)).toEqual(recorded);
    expect(s.put(source, "n", "x").kind).toBe("put");
  });

  it("late steps of a merge that was taken back are void (R6)", () => {
    const s = new MergeScene();
    const freeze = { kind: "freeze", operation, target, expected: s.shard(source).epoch } as const;
    expect(s.order(source, freeze).kind).toBe("done");
    const merge = s.decide();
    const { version } = merge.expected;
    expect(s.order(target, { kind: "seal", operation, version }).kind).toBe("done");
    expect(s.order(target, merge).kind).toBe("void");
    expect(s.order(source, { kind: "thaw", operation, version: 1 }).kind).toBe("done");
    for (const [group, step] of [
      [source, freeze],
      [target, merge],
      [target, { kind: "seal", operation, version }],
      [source, { kind: "thaw", operation, version: 1 }],
    ] as const)
      expect(s.order(group, step).kind).toBe("void");
    expect(s.put(source, "n", "x").kind).toBe("put");
  });
});

describe("a node that lags behind a merge", () => {
  it("has the source's log whatever it forgot, and applies it first (R38)", () => {
    const s = new MergeScene();
    expect(s.freeze().kind).toBe("done");
    s.merge = s.decide();
    // Commit and what was applied are not synced: it comes back behind the freeze.
    s.cluster.crash(3, "none");
    expect(s.order(target, s.merge).kind).toBe("done");
    s.cluster.run(1_000);
    s.cluster.boot(3);
    s.expectMerged(all);
  });

  it("takes a snapshot of the target over its own source (R4, R5)", () => {
    const s = new MergeScene(1, 300);
    s.merged();
    s.cluster.crash(3, "none");
    for (let i = 0; i < 60; i++) s.put(target, "n", `v${i}`);
    s.cluster.boot(3);
    s.expectMerged({ ...all, n: "v59" });
  });

  it("without the source's log it does not go on", () => {
    const s = new MergeScene();
    s.cluster.network.partition(["n3"], ["n1", "n2"]);
    expect(s.freeze().kind).toBe("done");
    const node = s.cluster.leaderOf(source) ?? 0;
    const frozen = s.cluster.machine(node, source)?.frozen;
    const { index = 0, term = 0, clockMicros = 0 } = frozen ?? {};
    const expected = s.shard(target).epoch;
    const step = {
      kind: "merge",
      operation,
      expected,
      source: s.shard(source),
      index,
      term,
      clockMicros,
    } as const;
    expect(s.order(target, step).kind).toBe("done");
    s.cluster.network.heal();
    // The source has gone from the others: nobody can give it the rest.
    expect(() => s.cluster.until("never", () => false, 3_000)).toThrow(/entry \d+ is not here/);
  });
});

/** Crashes of each node at each moment of a merge, with what was not synced lost, kept, or some of it. */
describe("a crash in the middle", () => {
  const keeps = ["none", "random", "all"] as const;
  it.each(Array.from({ length: 18 }, (_, i) => i))("leaves a whole state (%i ms in)", (afterMs) => {
    for (const node of [1, 2, 3]) {
      const s = new MergeScene(afterMs * 3 + node);
      expect(s.freeze().kind).toBe("done");
      s.merge = s.decide();
      s.cluster.node(1).service.merge(target, s.merge, () => {});
      s.cluster.run(afterMs / 4);
      s.cluster.crash(node, keeps[(afterMs + node) % 3]);
      s.cluster.run(50);
      s.cluster.boot(node);
      s.cluster.until("somebody leads", () => s.cluster.leaderOf(target) !== undefined);
      // As placement does until it is reported; the same entry twice is void.
      s.cluster.until("it is merged", () => {
        const leader = s.cluster.leaderOf(target);
        if (leader !== undefined && s.merge !== undefined)
          s.cluster.node(leader).service.merge(target, s.merge, () => {});
        s.cluster.run(50);
        return s.shard(target).end.length === 0;
      });
      s.expectMerged(all);
      for (const id of [1, 2, 3]) {
        const { engine } = s.cluster.node(id);
        expect(engine.get("data", dataKey(testKeyspace, Buffer.from("n")))).toBeDefined();
        expect(engine.scan(dedupRange(s.shard(target)), { limit: 100 }).rows.length).toBe(8);
      }
    }
  });
});
