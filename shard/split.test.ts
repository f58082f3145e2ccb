import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  dataKey,
  decodeCommand,
  decodeShardCommand,
  encodeCommand,
  encodeSplit,
  firstLogIndex,
  firstLogTerm,
  inRange,
  type KvCommand,
  type ShardDescriptor,
  type SplitCommand,
  tiles,
  type WriteResult,
} from "#proto";
import type { Birth } from "#raft/host";
import { MemoryDisk, OverlayBatch, openMemory } from "#storage";
import { encodeEntry } from "./entry.ts";
import { type CommandResult, ShardStateMachine } from "./machine.ts";
import { MachineRig, rigCommand, rigDescriptor } from "./rig.ts";
import { type SplitResult, splitDescriptors, splitProblem } from "./split.ts";
import { dedupRange } from "./state-rows.ts";
import { decodeValueRow, revisionOfRow } from "./value-row.ts";

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
const childReplicas = (base: number): SplitCommand["children"][number]["replicas"] =>
  rigDescriptor.replicas.map(({ replicaId }, i) => ({ parent: replicaId, child: base + i }));

/** Of [a, t) at "h" and "m": h … m becomes shard 20, m … t shard 30. */
const threeWays: SplitCommand = {
  expected: rigDescriptor.epoch,
  partition: "range",
  boundaries: [bytes("h"), bytes("m")],
  children: [
    { id: 20, replicas: childReplicas(201) },
    { id: 30, replicas: childReplicas(301) },
  ],
};

const splitOf = (result: CommandResult | undefined): SplitResult | undefined =>
  result !== undefined && "split" in result ? result.split : undefined;

/** Applies what a host does with births, without its raft rows. */
function openBorn(rig: MachineRig, birth: Birth): ShardStateMachine {
  const tx = new OverlayBatch(rig.engine);
  birth.rows(tx);
  rig.engine.write(tx.batch, { sync: false }, () => {});
  const machine = new ShardStateMachine({
    group: birth.group,
    replica: birth.replica ?? 0,
    engine: rig.engine,
    clock: rig.clock,
  });
  machine.load();
  return machine;
}

function applyTo(
  rig: MachineRig,
  machine: ShardStateMachine,
  stampMicros: number,
  command: KvCommand,
): CommandResult {
  const tx = new OverlayBatch(rig.engine);
  const data = encodeEntry({ stampMicros, commands: [encodeCommand(command)] });
  const [result] = machine.apply({ index: 99, term: 1, kind: "normal", data }, tx);
  rig.engine.write(tx.batch, { sync: false }, () => {});
  return result!;
}

describe("a split", () => {
  it("leaves the parent its first part; all get the same new version and keep the membership's (R6)", () => {
    const rig = new MachineRig();
    const [result] = rig.apply(500, encodeSplit(threeWays));
    const epoch = { version: 4, confVersion: 5 };
    const split = splitOf(result);
    expect(split?.kind).toBe("split");
    const [parent, first, second] = split?.kind === "split" ? split.shards : [];
    expect(parent).toEqual({ ...rigDescriptor, end: bytes("h"), epoch });
    expect(first).toMatchObject({ id: 20, keyspace: 1, start: bytes("h"), end: bytes("m"), epoch });
    expect(second).toMatchObject({ id: 30, start: bytes("m"), end: rigDescriptor.end, epoch });
    expect(first?.replicas).toEqual([
      { replicaId: 201, nodeId: 1, role: "voter" },
      { replicaId: 202, nodeId: 2, role: "voter" },
      { replicaId: 203, nodeId: 3, role: "voter" },
    ]);
    expect(rig.machine.descriptor).toEqual(parent);
    expect(rig.reload().descriptor).toEqual(parent);
  });

  it("announces each child once: this node's replica, the fixed first state, the parent's clock (R5, R25)", () => {
    const rig = new MachineRig();
    rig.apply(500, encodeSplit(threeWays));
    const births = rig.machine.takeBirths();
    expect(births).toMatchObject([
      {
        group: 20,
        replica: 201,
        index: firstLogIndex,
        term: firstLogTerm,
        conf: { voters: [201, 202, 203] },
      },
      {
        group: 30,
        replica: 301,
        index: firstLogIndex,
        term: firstLogTerm,
        conf: { voters: [301, 302, 303] },
      },
    ]);
    expect(rig.machine.takeBirths()).toEqual([]);
    expect(openBorn(rig, births[0]!).clockMicros).toBe(500);
  });

  it("carries learners along as learners", () => {
    const replicas = rigDescriptor.replicas.map((r, i) => (i === 2 ? { ...r, role: "learner" as const } : r));
    const rig = new MachineRig({ ...rigDescriptor, replicas });
    rig.apply(500, encodeSplit(threeWays));
    expect(rig.machine.takeBirths()[0]?.conf).toMatchObject({ voters: [201, 202], learners: [203] });
  });

  it("is no router's to propose", () => {
    expect(() => decodeCommand(encodeSplit(threeWays))).toThrow("may not propose split");
    expect(decodeShardCommand(encodeSplit(threeWays))).toEqual({ kind: "split", split: threeWays });
  });

  it("of the same order a second time is void: no child is made twice (R6)", () => {
    const rig = new MachineRig();
    const results = rig.apply(500, encodeSplit(threeWays), encodeSplit(threeWays));
    expect(results.map((result) => splitOf(result)?.kind)).toEqual(["split", "void"]);
    expect(rig.machine.takeBirths()).toHaveLength(2);
  });
});

describe("a split is void, and changes nothing, when", () => {
  const joint: ShardDescriptor = {
    ...rigDescriptor,
    replicas: rigDescriptor.replicas.map((r, i) => (i === 0 ? { ...r, role: "outgoing" } : r)),
  };
  const [one, two] = threeWays.children;
  const at = (...boundaries: string[]): SplitCommand => ({
    ...threeWays,
    boundaries: boundaries.map(bytes),
    children: threeWays.children.slice(0, boundaries.length),
  });
  const withReplicas = (replicas: SplitCommand["children"][number]["replicas"]): SplitCommand => ({
    ...threeWays,
    children: [{ id: 20, replicas }, two!],
  });
  it.each<[string, SplitCommand, ShardDescriptor?]>([
    ["the version is another", { ...threeWays, expected: { version: 2, confVersion: 5 } }],
    ["the membership is another", { ...threeWays, expected: { version: 3, confVersion: 4 } }],
    ["the configuration is joint", threeWays, joint],
    ["a boundary is the shard's start", at("a", "m")],
    ["a boundary is the shard's end", at("h", "t")],
    ["a boundary lies beyond", at("h", "z")],
    ["a boundary lies before", at("A", "h")],
    ["boundaries descend", at("m", "h")],
    ["a boundary is there twice", at("h", "h")],
    ["a hash keyspace would be cut inside a slot", { ...at("hhh", "m"), partition: "hash" }],
    ["two children have one id", { ...threeWays, children: [one!, { ...two!, id: 20 }] }],
    ["a child has the parent's id", { ...threeWays, children: [one!, { ...two!, id: 7 }] }],
    ["a replica has no child", withReplicas(one!.replicas.slice(1))],
    [
      "a child's replica is nobody's",
      withReplicas(one!.replicas.map((r) => ({ ...r, parent: r.parent + 50 }))),
    ],
    ["two replicas of a child are one", withReplicas(one!.replicas.map((r) => ({ ...r, child: 201 })))],
  ])("%s", (_why, command, descriptor = rigDescriptor) => {
    const rig = new MachineRig(descriptor);
    const [result] = rig.apply(500, encodeSplit(command));
    expect(splitOf(result)).toMatchObject({ kind: "void", current: descriptor });
    expect(rig.machine.descriptor).toEqual(descriptor);
    expect(rig.machine.takeBirths()).toEqual([]);
  });
});

describe("keys that went to a child", () => {
  const toChild = (part: Parameters<typeof rigCommand>[0] = {}): KvCommand =>
    rigCommand({ key: Buffer.from("k"), ...part });

  it("are refused by the parent with both descriptors, in the very entry of the split too", () => {
    const rig = new MachineRig();
    const [, result] = rig.apply(500, encodeSplit(threeWays), encodeCommand(toChild()));
    const { current } = result!.result as Extract<WriteResult, { kind: "epoch_mismatch" }>;
    expect(current.map((shard) => shard.id)).toEqual([7, 20]);
  });

  it("take the records of their attempts along (R22, R23)", () => {
    const rig = new MachineRig();
    const first = rig.one(100, toChild());
    rig.apply(500, encodeSplit(threeWays));
    const child = openBorn(rig, rig.machine.takeBirths()[0]!);
    expect(rig.one(600, toChild())).toMatchObject({ kind: "epoch_mismatch" });
    expect(applyTo(rig, child, 700, toChild()).result).toEqual(first);
    expect(applyTo(rig, child, 800, toChild({ version: 4 })).result).toEqual(first);
  });

  it("never hear `deadline` from the parent: that would deny what the child has on record (R24)", () => {
    const rig = new MachineRig();
    const command = toChild({ attempt: { deadlineMicros: 200 } });
    const first = rig.one(100, command);
    rig.apply(500, encodeSplit(threeWays));
    const child = openBorn(rig, rig.machine.takeBirths()[0]!);
    expect(rig.one(600, command)).toMatchObject({ kind: "epoch_mismatch" });
    expect(applyTo(rig, child, 700, { ...command, version: 4 }).result).toEqual(first);
  });

  it("stay refused by a deadline that the parent has refused: the clock goes on (R23, R25)", () => {
    const rig = new MachineRig();
    const command = toChild({ attempt: { deadlineMicros: 200 } });
    expect(rig.one(300, command)).toEqual({ kind: "deadline" });
    rig.apply(0, encodeSplit(threeWays));
    const child = openBorn(rig, rig.machine.takeBirths()[0]!);
    expect(applyTo(rig, child, 0, { ...command, version: 4 }).result).toEqual({ kind: "deadline" });
  });

  it("have records that the parent does not trim any more (R23)", () => {
    const rig = new MachineRig();
    rig.one(100, toChild({ attempt: { deadlineMicros: 150 } }));
    rig.apply(500, encodeSplit(threeWays));
    const [birth] = rig.machine.takeBirths();
    const child = openBorn(rig, birth!);
    const count = (): number => rig.engine.scan(dedupRange(child.descriptor!), { limit: 9 }).rows.length / 2;
    const late = { sequence: 9, lowestUnanswered: 9, deadlineMicros: 10 ** 12 };
    rig.one(600, rigCommand({ version: 4, key: Buffer.from("b"), attempt: late }));
    rig.apply(
      700_000_000,
      encodeCommand(rigCommand({ version: 4, key: Buffer.from("b"), attempt: { ...late, sequence: 10 } })),
    );
    expect(count()).toBe(1);
    applyTo(rig, child, 800, toChild({ version: 4, attempt: late }));
    expect(count()).toBe(1);
  });
});

// ---- Against one shard that is never split

interface Step {
  readonly kind: "put" | "again" | "split" | "reload";
  readonly key: number;
  readonly pick: number;
  readonly create: boolean;
}

const keys = ["b", "b\0", "bb", "d", "h", "m\0", "m", "s"].map((key) => Buffer.from(key));
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.oneof(
    { weight: 6, arbitrary: fc.constant("put" as const) },
    { weight: 3, arbitrary: fc.constant("again" as const) },
    { weight: 2, arbitrary: fc.constant("split" as const) },
    { weight: 1, arbitrary: fc.constant("reload" as const) },
  ),
  key: fc.nat({ max: keys.length - 1 }),
  pick: fc.nat({ max: 1000 }),
  create: fc.boolean(),
});

/** All shards that came out of one, on one node. */
class Family {
  readonly rig = new MachineRig(rigDescriptor, openMemory(new MemoryDisk()));
  machines: ShardStateMachine[] = [this.rig.machine];
  #index = 100;

  holder(key: Uint8Array): ShardStateMachine {
    const holders = this.machines.filter(({ descriptor: d }) => inRange(key, d!.start, d!.end));
    expect(holders).toHaveLength(1);
    return holders[0]!;
  }

  apply(machine: ShardStateMachine, stampMicros: number, command: Uint8Array): CommandResult {
    const tx = new OverlayBatch(this.rig.engine);
    const data = encodeEntry({ stampMicros, commands: [command] });
    const [result] = machine.apply({ index: this.#index++, term: 1, kind: "normal", data }, tx);
    const births = machine.takeBirths();
    for (const birth of births) birth.rows(tx);
    this.rig.engine.write(tx.batch, { sync: false }, () => {});
    for (const birth of births) this.machines.push(this.#open(birth.group, birth.replica!));
    return result!;
  }

  reload(): void {
    this.machines = this.machines.map(({ group, descriptor }) =>
      this.#open(group, descriptor!.replicas[0]!.replicaId),
    );
  }

  #open(group: number, replica: number): ShardStateMachine {
    const machine = new ShardStateMachine({ group, replica, engine: this.rig.engine, clock: this.rig.clock });
    machine.load();
    return machine;
  }
}

function splitAt(shard: ShardDescriptor, key: Uint8Array, id: number): SplitCommand {
  return {
    expected: shard.epoch,
    partition: "range",
    boundaries: [key],
    children: [{ id, replicas: shard.replicas.map((r, i) => ({ parent: r.replicaId, child: id * 10 + i })) }],
  };
}

describe("shards that split again and again", () => {
  it("answer as one that never does, and tile at every step, whatever is reloaded when (R22, R23, R38)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        const whole = new MachineRig();
        const one = new Family();
        const other = new Family();
        const made: KvCommand[] = [];
        let stamp = 1000;
        let nextShard = 20;
        for (const now of steps) {
          stamp += 1000;
          const key = keys[now.key]!;
          if (now.kind === "reload") {
            other.reload();
            continue;
          }
          if (now.kind === "split") {
            const { descriptor } = one.holder(key);
            const command = splitAt(descriptor!, key, nextShard++);
            const problem = splitProblem(command, descriptor!);
            const results = [one, other].map((family) =>
              splitOf(family.apply(family.holder(key), stamp, encodeSplit(command))),
            );
            expect(results[0]).toEqual(results[1]);
            expect(results[0]?.kind).toBe(problem === undefined ? "split" : "void");
            continue;
          }
          const command =
            now.kind === "again"
              ? made[now.pick % Math.max(1, made.length)]
              : putOf(whole, key, made.length + 1, now.create);
          if (command === undefined) continue;
          if (now.kind === "put") made.push(command);
          const want = whole.one(stamp, command);
          for (const family of [one, other]) {
            const machine = family.holder(command.key);
            const { version } = machine.descriptor!.epoch;
            expect(family.apply(machine, stamp, encodeCommand({ ...command, version })).result).toEqual(want);
          }
        }
        const sorted = one.machines
          .map(({ descriptor }) => descriptor!)
          .sort((a, b) => Buffer.compare(a.start, b.start));
        const open = sorted.map((shard, i) => ({
          ...shard,
          start: i === 0 ? new Uint8Array(0) : shard.start,
          end: i === sorted.length - 1 ? new Uint8Array(0) : shard.end,
        }));
        expect(tiles(open)).toBe(true);
        for (const key of keys) {
          const row = (rig: MachineRig) => rig.engine.get("data", dataKey(1, key));
          expect(revisionOfRow(row(one.rig))).toBe(revisionOfRow(row(whole)));
          if (row(whole) !== undefined)
            expect(decodeValueRow(row(one.rig)!)).toEqual(decodeValueRow(row(whole)!));
        }
        for (const machine of one.machines) {
          const same = other.machines.find(({ group }) => group === machine.group);
          expect(same?.stateHash()).toBe(machine.stateHash());
        }
      }),
      { numRuns: 80 },
    );
  });

  it("descriptors of a random split tile what the parent had", () => {
    const letters = fc.uniqueArray(fc.integer({ min: 0x62, max: 0x73 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(letters, (cuts) => {
        const boundaries = cuts.sort((a, b) => a - b).map((cut) => Uint8Array.of(cut));
        const children = boundaries.map((_, i) => ({ id: 20 + i, replicas: childReplicas(100 * (i + 1)) }));
        const command: SplitCommand = { ...threeWays, boundaries, children };
        expect(splitProblem(command, rigDescriptor)).toBeUndefined();
        const split = splitDescriptors(command, rigDescriptor);
        const all = [split.parent, ...split.children];
        expect(all[0]?.start).toEqual(rigDescriptor.start);
        expect(all.at(-1)?.end).toEqual(rigDescriptor.end);
        for (const [i, shard] of all.entries()) if (i > 0) expect(shard.start).toEqual(all[i - 1]!.end);
      }),
    );
  });
});

function putOf(whole: MachineRig, key: Uint8Array, sequence: number, create: boolean): KvCommand {
  const revision = revisionOfRow(whole.engine.get("data", dataKey(1, key)));
  return rigCommand({
    key: Buffer.from(key),
    operation: {
      kind: "put",
      value: Buffer.from(`v${sequence}`),
      contentType: "",
      condition: create || revision === 0 ? { noneMatch: "any" } : { match: [revision] },
    },
    attempt: { sequence, lowestUnanswered: 1, deadlineMicros: 10 ** 12 },
  });
}
