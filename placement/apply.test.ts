import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encode } from "#proto";
import { onceMax } from "./apply.ts";
import type { Command, CommandResult } from "./commands.ts";
import { isOrphan } from "./machine.ts";
import { ReplicaRig } from "./replica-rig.ts";
import { loadState } from "./rows.ts";
import type { Step } from "./state.ts";

class Replica extends ReplicaRig {
  constructor() {
    super({ shards: 4, replicas: 3, partition: "hash" });
  }
}

function join(node: string, nonce: string): Command {
  return { name: "node.join", nonce, node, http: `${node}:1`, labels: {}, version: "1" };
}

function keyspace(placements: readonly (readonly number[])[]): Command {
  const bounds = [
    new Uint8Array(0),
    ...placements.slice(1).map((_, i) => Uint8Array.of(i + 1)),
    new Uint8Array(0),
  ];
  return {
    name: "keyspace.create",
    keyspace: "default",
    partition: "hash",
    slots: 256,
    replicas: 3,
    bounds,
    placements,
    reason: "test",
  };
}

function threeNodes(): Replica {
  const replica = new Replica();
  replica.entry([join("n2", "b"), join("n3", "c")]);
  return replica;
}

describe("joining", () => {
  it("the same nonce gets the same id; ids are never given twice", () => {
    const r = new Replica();
    expect(r.one(join("n2", "b"))).toEqual({ ok: true, value: 2 });
    expect(r.one(join("n2", "b"))).toEqual({ ok: true, value: 2 });
    expect(r.one(join("n3", "c"))).toEqual({ ok: true, value: 3 });
  });

  it("a name that is taken is refused another directory (R1)", () => {
    const r = new Replica();
    expect(r.one(join("n1", "other"))).toMatchObject({ ok: false });
    expect(r.one(join("Bad Name", "x"))).toMatchObject({ ok: false });
    expect(r.machine.state.nodes.size).toBe(1);
  });
});

describe("making a keyspace", () => {
  it("gives ids, epochs and a first leader, and refuses a second of the name", () => {
    const r = threeNodes();
    expect(
      r.one(
        keyspace([
          [2, 1, 3],
          [3, 1, 2],
        ]),
      ),
    ).toEqual({ ok: true, value: 1 });
    const [first, second] = [...r.machine.state.shards.values()];
    expect(first?.descriptor.epoch).toEqual({ version: 1, confVersion: 1 });
    expect(first?.birth?.leader).toBe(first?.descriptor.replicas[0]?.replicaId);
    expect(first?.descriptor.replicas.map((x) => x.nodeId)).toEqual([2, 1, 3]);
    const ids = [first, second].flatMap((s) => s?.descriptor.replicas.map((x) => x.replicaId) ?? []);
    expect(new Set(ids).size).toBe(6);
    expect(r.one(keyspace([[1, 2, 3]]))).toMatchObject({ ok: false });
  });

  it.each([
    { name: "a node twice", placements: [[1, 1, 2]] },
    { name: "a node that is not there", placements: [[1, 2, 9]] },
    { name: "too few", placements: [[1, 2]] },
    { name: "no shard at all", placements: [] },
  ])("refuses $name", ({ placements }) => {
    const r = threeNodes();
    const before = r.machine.state.counters;
    expect(r.one(keyspace(placements))).toMatchObject({ ok: false });
    expect(r.machine.state.counters).toEqual(before);
  });
});

describe("reports of memberships (R32)", () => {
  it("only newer ones are taken, and ranges never come this way", () => {
    const r = threeNodes();
    r.one(keyspace([[1, 2, 3]]));
    const held = r.machine.state.shards.get(1)?.descriptor;
    if (held === undefined) throw new Error("no shard");
    const report = (confVersion: number, version = 1): CommandResult =>
      r.one({
        name: "shards.report",
        descriptors: [{ ...held, start: Uint8Array.of(9), epoch: { version, confVersion } }],
      });
    expect(report(1)).toEqual({ ok: true, value: 0 });
    expect(report(3)).toEqual({ ok: true, value: 1 });
    expect(report(2)).toEqual({ ok: true, value: 0 });
    expect(report(4, 2)).toEqual({ ok: true, value: 0 });
    expect(r.machine.state.shards.get(1)?.descriptor.epoch.confVersion).toBe(3);
    expect(r.machine.state.shards.get(1)?.descriptor.start).toEqual(held.start);
  });
});

describe("orphans (R34)", () => {
  it("only a newer membership without the replica, or a retired shard, condemns it", () => {
    const r = threeNodes();
    r.one(keyspace([[1, 2, 3]]));
    const held = r.machine.state.shards.get(1)?.descriptor;
    if (held === undefined) throw new Error("no shard");
    const [gone, ...rest] = held.replicas;
    const id = gone?.replicaId ?? 0;
    expect(isOrphan(r.machine.state, 1, id, 1)).toBeUndefined();
    r.one({
      name: "shards.report",
      descriptors: [{ ...held, replicas: rest, epoch: { version: 1, confVersion: 3 } }],
    });
    expect(isOrphan(r.machine.state, 1, id, 1)).toMatch(/without replica/);
    expect(isOrphan(r.machine.state, 1, id, 3)).toMatch(/without replica/);
    expect(isOrphan(r.machine.state, 1, id, 4)).toBeUndefined();
    // A split's child may have been waiting for its rows when the membership went on without it.
    expect(isOrphan(r.machine.state, 1, id, 0)).toMatch(/before it had data/);
    expect(isOrphan(r.machine.state, 77, 5, 1)).toBeUndefined();
    expect(isOrphan(r.machine.state, 77, 5, 0)).toBeUndefined();
    r.one({ name: "shards.retire", ids: [1], reason: "merged" });
    expect(isOrphan(r.machine.state, 1, rest[0]?.replicaId ?? 0, 9)).toMatch(/no more/);
  });
});

it("a replica without data is condemned unless an operation is bringing it in (R34)", () => {
  const r = threeNodes();
  r.one(keyspace([[1, 2, 3]]));
  const added = [{ replicaId: -1, nodeId: 3 }];
  const steps: Step[] = [
    { kind: "conf", changes: [{ kind: "learner", id: -1 }], joint: false, added },
    { kind: "caughtUp", replicas: [-1] },
  ];
  r.one({ name: "operation.begin", kind: "move_replica", group: 1, reason: "test", steps });
  const [first] = r.machine.state.operations.get(1)?.steps ?? [];
  const id = first?.kind === "conf" ? (first.added[0]?.replicaId ?? 0) : 0;
  const condemned = (replica: number): boolean => isOrphan(r.machine.state, 1, replica, 0) !== undefined;
  expect([condemned(id), condemned(99)]).toEqual([false, true]);
  r.one({ name: "operation.advance", id: 1, at: 1 });
  expect(condemned(id)).toBe(false);
  r.one({ name: "operation.end", id: 1, state: "failed", detail: "the node is down" });
  expect(condemned(id)).toBe(true);
  // One that waits for such a replica's end would else wait for ever.
  const replicas = [{ replicaId: id, nodeId: 3 }];
  const gone: Step[] = [{ kind: "gone", replicas }];
  r.one({ name: "operation.begin", kind: "remove_learner", group: 1, reason: "test", steps: gone });
  expect(condemned(id)).toBe(true);
});

describe("operations", () => {
  const begin: Command = {
    name: "operation.begin",
    kind: "placement_voters",
    group: 0,
    reason: "test",
    steps: [
      {
        kind: "conf",
        changes: [{ kind: "learner", id: -2 }],
        joint: false,
        added: [{ replicaId: -2, nodeId: 2 }],
      },
      { kind: "caughtUp", replicas: [-2] },
      { kind: "conf", changes: [{ kind: "voter", id: -2 }], joint: true, added: [] },
    ],
  };

  it("new replicas get one id for all their mentions, in the log (R32)", () => {
    const r = threeNodes();
    expect(r.one(begin)).toEqual({ ok: true, value: 1 });
    const steps = r.machine.state.operations.get(1)?.steps;
    expect(JSON.stringify(steps)).not.toContain("-2");
    expect(steps?.[1]).toEqual({ kind: "caughtUp", replicas: [2] });
    expect(r.machine.state.counters.replica).toBe(3);
  });

  it("what runs in the background gives way to what is asked for, and to nothing else", () => {
    const r = threeNodes();
    expect(r.one({ ...begin, background: true })).toMatchObject({ ok: true });
    expect(r.one({ ...begin, background: true })).toMatchObject({ ok: false });
    expect(r.one(begin)).toMatchObject({ ok: true });
    const states = [...r.machine.state.operations.values()].map(({ state }) => state);
    expect(states).toEqual(["cancelled", "running"]);
    expect(r.one(begin)).toMatchObject({ ok: false });
  });

  it("one at a time for a group; steps advance one by one; the last ends it", () => {
    const r = threeNodes();
    r.one(begin);
    expect(r.one(begin)).toMatchObject({ ok: false });
    expect(r.one({ name: "operation.advance", id: 1, at: 2 })).toMatchObject({ ok: false });
    for (const at of [1, 2, 3])
      expect(r.one({ name: "operation.advance", id: 1, at })).toMatchObject({ ok: true });
    expect(r.machine.state.operations.get(1)?.state).toBe("done");
    expect(r.one({ name: "operation.end", id: 1, state: "failed", detail: "late" })).toMatchObject({
      ok: false,
    });
    expect(r.one(begin)).toMatchObject({ ok: true });
  });
});

const noWork = { shards: [], total: 0, tasks: [] };

describe("jobs", () => {
  const task = { from: 1, to: 4, reason: "r", bytes: 5, state: "waiting", attempts: 0 } as const;

  function withJob(): Replica {
    const r = threeNodes();
    r.one(keyspace([[1, 2, 3]]));
    r.one(join("n4", "d"));
    const tasks = [{ ...task, action: "move", shard: 1 } as const];
    r.one({ name: "job.begin", job: { kind: "rebalance", reason: "r", shards: [], total: 1, tasks } });
    return r;
  }

  const begin: Command = {
    name: "operation.begin",
    kind: "move_replica",
    group: 1,
    reason: "r",
    steps: [{ kind: "caughtUp", replicas: [-4] }],
    move: { from: 1, to: 4, bytes: 5 },
    job: 1,
    task: 0,
  };

  const stateOf = (r: Replica): unknown => r.machine.state.jobs.get(1)?.tasks[0]?.state;

  it("a task follows its operation, and what fails is tried three times", () => {
    const r = withJob();
    for (const id of [2, 3, 4]) {
      expect(r.one(begin)).toEqual({ ok: true, value: id });
      expect(stateOf(r)).toBe("running");
      r.one({ name: "operation.end", id, state: "failed", detail: "x" });
    }
    expect(stateOf(r)).toBe("failed");
    expect(r.one(begin)).toMatchObject({ ok: false });
  });

  it("ended, it ends what it has under way", () => {
    const r = withJob();
    r.one(begin);
    r.one({ name: "job.end", id: 1, state: "cancelled", detail: "" });
    expect(r.machine.state.operations.get(2)?.state).toBe("cancelled");
    expect(r.one(begin)).toMatchObject({ ok: false });
  });
});

describe("memberships", () => {
  const change = (
    membership: "active" | "draining" | "decommissioning",
    kind: "drain" | "undrain" | "decommission",
  ): Command => ({
    name: "node.membership",
    id: 2,
    membership,
    job: { ...noWork, kind, reason: "r", node: 2 },
  });

  it("a newer order takes the place of the one under way", () => {
    const r = threeNodes();
    expect(r.one(change("draining", "drain"))).toMatchObject({ ok: true, value: 1 });
    expect(r.one(change("decommissioning", "decommission"))).toMatchObject({ ok: true, value: 2 });
    expect(r.machine.state.jobs.get(1)?.state).toBe("cancelled");
    expect(r.one(change("draining", "drain"))).toMatchObject({ ok: false });
    r.one({ name: "job.end", id: 2, state: "cancelled", detail: "" });
    expect(r.machine.state.nodes.get(2)?.membership).toBe("active");
  });

  it("decommissioned only without a replica, and only then deleted; its id is never given again", () => {
    const r = threeNodes();
    r.one(keyspace([[1, 2, 3]]));
    r.one(change("decommissioning", "decommission"));
    expect(r.one({ name: "job.end", id: 1, state: "done", detail: "" })).toMatchObject({ ok: false });
    expect(r.one({ name: "node.delete", id: 2, force: true, reason: "r" })).toMatchObject({ ok: false });
    r.one({ name: "shards.retire", ids: [1], reason: "r" });
    expect(r.one({ name: "job.end", id: 1, state: "done", detail: "" })).toMatchObject({ ok: true });
    expect(r.one({ name: "node.delete", id: 2, force: false, reason: "r" })).toMatchObject({ ok: true });
    expect(r.one(join("n2", "e"))).toEqual({ ok: true, value: 4 });
  });
});

describe("splits", () => {
  it("children get their ids in the log, and take their ranges in one go with the parent (R5)", () => {
    const r = threeNodes();
    r.one(keyspace([[1, 2, 3]]));
    const steps = [{ kind: "suggest", by: "size", ways: 3 }] as const;
    r.one({ name: "operation.begin", kind: "split", group: 1, reason: "r", steps });
    const boundaries = [Uint8Array.of(5), Uint8Array.of(9)];
    expect(r.one({ name: "operation.split", id: 1, boundaries })).toMatchObject({ ok: true });
    expect(r.one({ name: "operation.split", id: 1, boundaries })).toMatchObject({ ok: false });
    // Given up on, it may still stand in the shard's log.
    r.one({ name: "operation.end", id: 1, state: "failed", detail: "late" });
    expect(r.one({ name: "shards.split", id: 1 })).toEqual({ ok: true, value: 2 });
    expect(r.one({ name: "shards.split", id: 1 })).toMatchObject({ ok: false });
    const shards = [...r.machine.state.shards.values()].map((row) => row.descriptor);
    expect(shards.map((s) => [s.id, [...s.start], [...s.end], s.epoch.version])).toEqual([
      [1, [], [5], 2],
      [2, [5], [9], 2],
      [3, [9], [], 2],
    ]);
    const ids = shards.flatMap((s) => s.replicas.map((x) => x.replicaId));
    expect(new Set(ids).size).toBe(9);
  });
});

describe("idempotency keys", () => {
  it("are kept in order of coming, the oldest go", () => {
    const r = threeNodes();
    const once = (key: string, fingerprint = "f"): CommandResult =>
      r.one({
        name: "once",
        key,
        fingerprint,
        status: 202,
        body: {},
        command: { name: "job.begin", job: { ...noWork, kind: "undrain", reason: "r" } },
      });
    expect(once("a")).toEqual({ ok: true, value: 1 });
    expect(once("a")).toEqual({ ok: true, value: 1, replayed: true });
    expect(once("a", "g")).toMatchObject({ ok: false, mismatch: true });
    for (let i = 0; i < onceMax; i++) once(`k${i}`);
    expect(r.machine.state.once.size).toBe(onceMax);
    expect(once("a", "g")).toMatchObject({ ok: true });
    expect(loadState(r.engine)).toEqual(r.machine.state);
  });
});

describe("the log", () => {
  it("an unknown command stops the replica and changes no row (R11)", () => {
    const r = new Replica();
    const before = r.rows();
    expect(() => r.raw(encode([1, 5_000, [encode(["node.explode", 1])]]))).toThrow(
      /unknown placement command/,
    );
    expect(() => r.raw(encode([9, 5_000, []]))).toThrow(/unknown format/);
    expect(r.rows()).toBe(before);
  });

  it("stamps only grow, whatever the leader's clock says", () => {
    const r = new Replica();
    r.entry([], 5_000);
    r.entry([], 3_000);
    expect(r.machine.state.clockMicros).toBe(5_001);
  });

  it("settings are checked again at apply", () => {
    const r = new Replica();
    expect(r.one({ name: "config.set", changes: { replicas: 4 } })).toMatchObject({ ok: false });
    expect(r.one({ name: "config.set", changes: { down_after_ms: 1_000 } })).toMatchObject({ ok: false });
    expect(r.one({ name: "config.set", changes: { replicas: 5 } })).toMatchObject({ ok: true });
    expect(r.machine.state.settings.replicas).toBe(5);
  });
});

const command: fc.Arbitrary<Command> = fc.oneof(
  fc
    .record({ node: fc.constantFrom("n1", "n2", "n3", "n4"), nonce: fc.constantFrom("a", "b", "c", "d") })
    .map((x) => join(x.node, x.nonce)),
  fc.array(fc.shuffledSubarray([1, 2, 3, 4], { minLength: 3, maxLength: 3 }), { maxLength: 3 }).map(keyspace),
  fc
    .record({ id: fc.integer({ min: 1, max: 4 }), down: fc.boolean() })
    .map((x) => ({ name: "node.liveness" as const, ...x })),
  fc.constant<Command>({ name: "shards.born", ids: [1, 2] }),
  fc.integer({ min: 1, max: 3 }).map((id): Command => ({ name: "shards.retire", ids: [id], reason: "r" })),
  fc.constantFrom(1, 3, 5).map((n): Command => ({ name: "config.set", changes: { replicas: n } })),
  fc.tuple(fc.integer({ min: 0, max: 3 }), fc.constantFrom({}, { background: true } as const)).map(
    ([group, whose]): Command => ({
      name: "operation.begin",
      kind: "transfer_leader",
      group,
      reason: "r",
      steps: [{ kind: "transfer", to: 1 }],
      ...whose,
    }),
  ),
  fc.integer({ min: 1, max: 3 }).map((id): Command => ({ name: "operation.advance", id, at: 1 })),
  fc.constantFrom("drain" as const, "decommission" as const, "recommission" as const).map(
    (kind): Command => ({
      name: "node.membership",
      id: 2,
      membership: kind === "drain" ? "draining" : kind === "decommission" ? "decommissioning" : "active",
      job: { ...noWork, kind, reason: "r", node: 2 },
    }),
  ),
  fc.integer({ min: 1, max: 4 }).map((id): Command => ({ name: "job.end", id, state: "done", detail: "" })),
  fc.constant<Command>({ name: "node.delete", id: 2, force: true, reason: "r" }),
  fc
    .constantFrom({}, { shard: 2 })
    .map((about): Command => ({ name: "logs.compacted", count: 3, reason: "r", ...about })),
  fc.constant<Command>({ name: "keyspace.delete", id: 1, total: 3, reason: "r" }),
  fc.integer({ min: 1, max: 2 }).map(
    (group): Command => ({
      name: "operation.begin",
      kind: "split",
      group,
      reason: "r",
      steps: [
        {
          kind: "split",
          expected: { version: 1, confVersion: 1 },
          boundaries: [Uint8Array.of(1)],
          children: [],
        },
      ],
    }),
  ),
  fc.integer({ min: 1, max: 4 }).map((id): Command => ({ name: "shards.split", id })),
  fc.constantFrom("a", "b").map(
    (key): Command => ({
      name: "once",
      key,
      fingerprint: key,
      status: 202,
      body: { operation: null },
      command: { name: "node.update", id: 1, weight: 2 },
    }),
  ),
);

it("the same entries give the same rows, and a reload the same state (R38)", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.array(command, { maxLength: 3 }), fc.nat(1e6)), { maxLength: 20 }),
      (entries) => {
        const [a, b] = [new Replica(), new Replica()];
        for (const [commands, stamp] of entries) {
          expect(a.entry(commands, stamp)).toEqual(b.entry(commands, stamp));
          // The second one forgets everything but its rows in between.
          b.machine.load();
        }
        expect(a.rows()).toBe(b.rows());
        expect(loadState(a.engine)).toEqual(a.machine.state);
        expect(a.events).toEqual(b.events);
      },
    ),
    { numRuns: 60 },
  );
});
