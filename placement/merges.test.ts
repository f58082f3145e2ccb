import { describe, expect, it } from "vitest";
import { type ShardDescriptor, tiles } from "#proto";
import type { Command, CommandResult } from "./commands.ts";
import type { GroupModel, Model } from "./model.ts";
import { modelOf, type ShardWish } from "./plan/fixture.ts";
import { mergeOf, mergeOrder, recordMerges } from "./plan/merge-steps.ts";
import { beginMerge, checkMerges } from "./plan/merges.ts";
import { checkOperations } from "./plan/operations.ts";
import { planOrders } from "./plan/orders.ts";
import { recordSplits } from "./plan/splits.ts";
import { ReplicaRig } from "./replica-rig.ts";
import { loadState } from "./rows.ts";
import type { OperationRow, Step } from "./state.ts";

/** Three nodes and a keyspace of three shards; commands are applied one an entry. */
class Replica extends ReplicaRig {
  #stampMicros = 2_000;

  constructor() {
    super({ shards: 3, replicas: 3, partition: "range" });
    for (const [node, nonce] of [
      ["n2", "b"],
      ["n3", "c"],
    ] as const)
      this.one({ name: "node.join", nonce, node, http: "h:1", labels: {}, version: "1" });
    const none = new Uint8Array(0);
    this.one({
      name: "keyspace.create",
      keyspace: "default",
      partition: "range",
      slots: 0,
      replicas: 3,
      bounds: [none, Uint8Array.of(1), Uint8Array.of(2), none],
      placements: [
        [1, 2, 3],
        [2, 3, 1],
        [3, 1, 2],
      ],
      reason: "test",
    });
    this.one({ name: "shards.born", ids: [1, 2, 3] });
  }

  override one(command: Command): CommandResult {
    this.#stampMicros += 1;
    const result = super.one(command, this.#stampMicros);
    // What is on disk is what is in memory.
    expect(loadState(this.engine)).toEqual(this.machine.state);
    return result;
  }

  shard(id: number): ShardDescriptor {
    const row = this.machine.state.shards.get(id);
    if (row === undefined) throw new Error(`no shard ${id}`);
    return row.descriptor;
  }

  /** In key order. */
  ranges(): ShardDescriptor[] {
    const shards = [...this.machine.state.shards.values()].map((row) => row.descriptor);
    return shards.sort((a, b) => Buffer.compare(a.start, b.start));
  }

  operation(id = 1): OperationRow | undefined {
    return this.machine.state.operations.get(id);
  }

  /** Shard 3 into shard 2, as far as its freeze. */
  begin(): void {
    const steps: Step[] = [{ kind: "freeze" }];
    const command: Command = {
      name: "operation.begin",
      kind: "merge",
      group: 3,
      target: 2,
      reason: "t",
      steps,
    };
    expect(this.one(command)).toMatchObject({ ok: true });
  }

  decide(): CommandResult {
    const source = { ...this.shard(3), epoch: { version: 2, confVersion: 1 } };
    const frozen = { operation: 1, target: 2, index: 20, term: 6, clockMicros: 99 };
    return this.one({ name: "operation.merge", id: 1, source, frozen });
  }
}

const fail: Command = { name: "operation.end", id: 1, state: "failed", detail: "too slow" };
const cancel: Command = { name: "operation.end", id: 1, state: "cancelled", detail: "as asked" };
const transfer = (group: number): Command => ({
  name: "operation.begin",
  kind: "transfer_leader",
  group,
  reason: "t",
  steps: [{ kind: "transfer", to: 1 }],
});

describe("a merge in placement's log", () => {
  it("keeps both shards to itself, and its keyspace", () => {
    const r = new Replica();
    r.begin();
    for (const group of [2, 3]) expect(r.one(transfer(group))).toMatchObject({ ok: false });
    expect(r.one(transfer(1))).toMatchObject({ ok: true });
    const again: Command = {
      name: "operation.begin",
      kind: "merge",
      group: 1,
      target: 2,
      reason: "",
      steps: [],
    };
    expect(r.one(again)).toMatchObject({ ok: false });
    const remove: Command = { name: "keyspace.delete", id: 1, total: 9, reason: "t" };
    expect(r.one(remove)).toMatchObject({ ok: false });
  });

  it("ends with one shard in place of two: they tile at every moment, the other's id is retired", () => {
    const r = new Replica();
    r.begin();
    expect(r.decide()).toMatchObject({ ok: true });
    expect(r.operation()?.steps[1]).toMatchObject({
      kind: "merge",
      expected: { version: 1, confVersion: 1 },
    });
    expect(tiles(r.ranges())).toBe(true);
    expect(r.one({ name: "shards.merge", id: 1 })).toMatchObject({ ok: true });
    expect(tiles(r.ranges())).toBe(true);
    expect(r.ranges().map(({ id }) => id)).toEqual([1, 2]);
    expect(r.shard(2).epoch).toEqual({ version: 3, confVersion: 1 });
    expect(r.machine.state.merged.get(3)).toEqual({ group: 2, version: 3 });
    expect(r.operation()?.state).toBe("done");
    expect(r.events.slice(-3)).toEqual(["merge_done", "shard_retired", "shard_merged"]);
    expect(r.one({ name: "shards.merge", id: 1 })).toMatchObject({ ok: false });
  });

  it("given up before anything was ordered of the target, it thaws the source alone", () => {
    const r = new Replica();
    r.begin();
    expect(r.one(fail)).toMatchObject({ ok: true });
    expect(r.operation()).toMatchObject({ state: "running", at: 1, rollback: { state: "failed" } });
    expect(r.operation()?.steps.slice(1)).toEqual([{ kind: "thaw", version: 1 }]);
    expect(r.decide()).toMatchObject({ ok: false });
    expect(r.one(cancel)).toMatchObject({ ok: false });
    r.one({ name: "operation.advance", id: 1, at: 2 });
    expect(r.operation()).toMatchObject({ state: "failed", detail: "too slow" });
  });

  it("given up after that, it seals the target first; and stands if the merge was there before", () => {
    const r = new Replica();
    r.begin();
    r.decide();
    const source = { ...r.shard(3), epoch: { version: 2, confVersion: 1 } };
    expect(r.one({ name: "shards.report", descriptors: [source] })).toEqual({ ok: true, value: 1 });
    expect(r.one(cancel)).toMatchObject({ ok: true });
    expect(r.operation()?.steps.slice(2)).toEqual([
      { kind: "seal", version: 1 },
      { kind: "thaw", version: 2 },
    ]);
    expect(r.one({ name: "shards.merge", id: 1 })).toMatchObject({ ok: true });
    expect(r.operation()?.state).toBe("done");
    expect(tiles(r.ranges())).toBe(true);
  });

  it("versions that a merge moved on are taken in, other ranges are not (R32)", () => {
    const r = new Replica();
    const { epoch, ...shard } = r.shard(2);
    const report = (change: Partial<ShardDescriptor>): CommandResult =>
      r.one({ name: "shards.report", descriptors: [{ ...shard, epoch, ...change }] });
    expect(report({ epoch: { version: 3, confVersion: 1 } })).toEqual({ ok: true, value: 1 });
    expect(report({ epoch: { version: 4, confVersion: 1 }, end: Uint8Array.of(9) })).toEqual({
      ok: true,
      value: 0,
    });
    expect(report({ epoch: { version: 4, confVersion: 0 } })).toEqual({ ok: true, value: 0 });
    expect(r.shard(2).epoch.version).toBe(3);
  });
});

/** Neighbours 1, 2, 3 … on nodes 1 to 3, each a byte of keys wide. */
function row(wishes: readonly Partial<ShardWish>[], settings: Readonly<Record<string, unknown>> = {}): Model {
  const shards = wishes.map((wish, i): ShardWish => ({ id: i + 1, on: [1, 2, 3], ...wish }));
  const model = modelOf(3, shards, { settings: { merge_enabled: true, ...settings } });
  const last = wishes.length;
  for (const [id, group] of model.shards) {
    const start = id === 1 ? new Uint8Array(0) : Uint8Array.of(id);
    const end = id === last ? new Uint8Array(0) : Uint8Array.of(id + 1);
    const descriptor = { ...group.descriptor, start, end };
    Object.assign(group, { descriptor, lead: group.lead && { ...group.lead, descriptor } });
  }
  return model;
}

const groupIn = (model: Model, id: number): GroupModel => {
  const group = model.shards.get(id);
  if (group === undefined) throw new Error(`no shard ${id}`);
  return group;
};

describe("merges by themselves", () => {
  const small = { bytes: 1_000 };
  const large = { bytes: 20 * 1024 * 1024 };
  const merges = (model: Model): unknown[] =>
    checkMerges(model).map((c) => (c.name === "operation.begin" ? [c.group, c.target] : c));

  it.each<{ what: string; model: Model; want: unknown[] }>([
    { what: "small neighbours, one pair at a time", model: row([{}, small, {}, {}]), want: [[1, 2]] },
    { what: "not unless allowed", model: row([{}, {}, {}, {}], { merge_enabled: false }), want: [] },
    { what: "not the large", model: row([large, large, large, large]), want: [] },
    { what: "not a small one with a large one", model: row([small, large, small, large]), want: [] },
    { what: "not the busy", model: row(Array.from({ length: 4 }, () => ({ rate: 1_000 }))), want: [] },
    { what: "not below one for each node", model: row([{}, {}, {}]), want: [] },
    {
      what: "not what would be split again",
      model: row([{ bytes: 600 }, { bytes: 600 }, { bytes: 600 }, { bytes: 600 }], { split_bytes: 2_000 }),
      want: [],
    },
  ])("$what", ({ model, want }) => {
    expect(merges(model)).toEqual(want);
  });

  it("not what was split lately: it would go back and forth", () => {
    const model = row([{}, {}, {}, {}]);
    const ended = { state: "done", startedMicros: 0, finishedMicros: model.wallMicros - 1_000_000 } as const;
    const base = { kind: "split", reason: "", steps: [], at: 0, stepStartedMicros: 0, ...ended } as const;
    model.state.operations.set(1, { ...base, id: 1, group: 1 });
    model.state.operations.set(2, { ...base, id: 2, group: 3 });
    expect(merges(model)).toEqual([]);
  });

  it("begin with the source's replicas going where the target's are", () => {
    const model = row([{ on: [1, 2, 4] }, {}]);
    const command = beginMerge(groupIn(model, 1), groupIn(model, 2), "t");
    if (command.name !== "operation.begin") throw new Error("no operation");
    expect(command.steps.map(({ kind }) => kind)).toEqual([
      "turn",
      "conf",
      "caughtUp",
      "handOver",
      "conf",
      "conf",
      "gone",
      "freeze",
    ]);
    expect(command.move).toEqual({ from: 4, to: 3, bytes: 0 });
  });
});

describe("the steps of a merge, from what leaders report", () => {
  const frozen = { operation: 5, target: 2, index: 20, term: 6, clockMicros: 9, everywhere: true };
  const base = {
    id: 5,
    kind: "merge",
    group: 1,
    target: 2,
    reason: "",
    at: 0,
    stepStartedMicros: 1e12,
    state: "running",
    startedMicros: 1e12,
  } as const;

  function scene(steps: readonly Step[]): { model: Model; operation: OperationRow; source: GroupModel } {
    const model = row([{}, {}]);
    const operation: OperationRow = { ...base, steps, at: steps.length - 1 };
    model.state.operations.set(5, operation);
    for (const group of model.shards.values()) Object.assign(group, { operation });
    return { model, operation, source: groupIn(model, 1) };
  }

  it("a freeze is ordered only while every replica of both is there and level", () => {
    const { model, operation, source } = scene([{ kind: "freeze" }]);
    const step = { kind: "freeze" } as const;
    expect(mergeOrder(model, operation, source, step)).toMatchObject({ node: 1, order: { group: 1 } });
    Object.assign(groupIn(model, 2), { present: new Set([21, 22]) });
    expect(mergeOrder(model, operation, source, step)).toBeUndefined();
  });

  it("the target is asked only once the freeze is on every replica's disk", () => {
    const { model, operation, source } = scene([{ kind: "freeze" }]);
    const lead = source.lead;
    Object.assign(source, { lead: { ...lead, frozen: { ...frozen, everywhere: false } } });
    expect(mergeOf(model, operation, source)).toBeUndefined();
    Object.assign(source, { lead: { ...lead, frozen } });
    expect(mergeOf(model, operation, source)).toMatchObject({ name: "operation.merge", id: 5 });
    Object.assign(source, { lead: { ...lead, frozen: { ...frozen, operation: 6 } } });
    expect(mergeOf(model, operation, source)).toBeUndefined();
  });

  it("a freeze that takes too long is given up: nobody can write meanwhile", () => {
    const { model, operation } = scene([{ kind: "freeze" }]);
    Object.assign(operation, { stepStartedMicros: model.wallMicros - 6_000_000 });
    expect(checkOperations(model)).toMatchObject([{ name: "operation.end", state: "failed" }]);
  });

  it("a merge is over when the target reports both ranges, in a roll-back too; a split is not taken for one", () => {
    const { start } = row([{}, {}]).shards.get(1)?.descriptor ?? {};
    const { model } = scene([
      { kind: "freeze" },
      {
        kind: "merge",
        expected: { version: 1, confVersion: 1 },
        source: groupIn(row([{}, {}]), 1).descriptor,
        frozen,
      },
      { kind: "seal", version: 1 },
    ]);
    const target = groupIn(model, 2);
    const epoch = { version: 2, confVersion: 1 };
    const sealed = { ...target.descriptor, epoch };
    Object.assign(target, { lead: { ...target.lead, descriptor: sealed } });
    expect(recordMerges(model)).toEqual([]);
    Object.assign(target, { lead: { ...target.lead, descriptor: { ...sealed, start } } });
    expect(recordMerges(model)).toEqual([{ name: "shards.merge", id: 5 }]);
    // An old split of the same version that never came about.
    const old: Step = {
      kind: "split",
      expected: { version: 1, confVersion: 1 },
      boundaries: [Uint8Array.of(2, 1)],
      children: [],
    };
    model.state.operations.set(4, { ...base, id: 4, kind: "split", group: 2, steps: [old], state: "failed" });
    expect(recordSplits(model)).toEqual([]);
  });

  it("a replica of what was merged is destroyed with a word of where it went (R34)", () => {
    const { model } = scene([{ kind: "freeze" }]);
    model.state.retired.add(9);
    model.state.merged.set(9, { group: 2, version: 7 });
    const replicas = new Map([[9, { group: 9, replicaId: 91, term: 1, state: "follower", confVersion: 1 }]]);
    Object.assign(model.nodes.get(2) ?? {}, { heard: { replicas } });
    expect(planOrders(model).get(2)).toContainEqual({
      kind: "destroy",
      group: 9,
      replicaId: 91,
      reason: "shard 9 is no more",
      into: { group: 2, version: 7 },
    });
  });
});
