import { describe, expect, it } from "vitest";
import { type Condition, encode, encodeConfContext, encodeFloor, type KvOperation } from "#proto";
import type { ConfState } from "#raft/core";
import { InvariantError } from "#runtime";
import { OverlayBatch } from "#storage";
import { encodeEntry, stampMicrosMax } from "./entry.ts";
import { MachineRig, rigCommand, rigDescriptor, rigSession } from "./rig.ts";
import { dataRange, dedupRange } from "./state-rows.ts";
import { decodeValueRow } from "./value-row.ts";

const put = (value: string, condition?: Condition): KvOperation => ({
  kind: "put",
  value: Buffer.from(value),
  contentType: "text/plain",
  ...(condition === undefined ? {} : { condition }),
});
const remove = (condition?: Condition): KvOperation => ({
  kind: "delete",
  ...(condition === undefined ? {} : { condition }),
});
const countRows = (rig: MachineRig, range: Parameters<typeof rig.engine.scan>[0]): number =>
  rig.engine.scan(range, { limit: 10_000 }).rows.length / 2;

describe("conditions, decided at apply", () => {
  const absent = 0;
  const present = 100;
  it.each<{ name: string; before: number; condition: Condition; holds: boolean }>([
    { name: "If-Match of the present revision", before: present, condition: { match: [100] }, holds: true },
    { name: "If-Match of another", before: present, condition: { match: [99] }, holds: false },
    { name: "If-Match of several", before: present, condition: { match: [1, 100] }, holds: true },
    { name: "If-Match of none", before: present, condition: { match: [] }, holds: false },
    { name: "If-Match * where it exists", before: present, condition: { match: "any" }, holds: true },
    { name: "If-Match * where it does not", before: absent, condition: { match: "any" }, holds: false },
    { name: "revision 0 where it is absent", before: absent, condition: { match: [0] }, holds: true },
    { name: "revision 0 where it exists", before: present, condition: { match: [0] }, holds: false },
    {
      name: "If-None-Match * where it is absent",
      before: absent,
      condition: { noneMatch: "any" },
      holds: true,
    },
    {
      name: "If-None-Match * where it exists",
      before: present,
      condition: { noneMatch: "any" },
      holds: false,
    },
    { name: "If-None-Match of exactly that", before: present, condition: { noneMatch: [100] }, holds: false },
    { name: "If-None-Match of another", before: present, condition: { noneMatch: [99] }, holds: true },
    { name: "both hold", before: present, condition: { match: "any", noneMatch: [3] }, holds: true },
    {
      name: "one of both fails",
      before: present,
      condition: { match: [100], noneMatch: "any" },
      holds: false,
    },
  ])("$name: $holds", ({ before, condition, holds }) => {
    for (const operation of [put("new", condition), remove(condition)]) {
      const rig = new MachineRig();
      if (before === present) rig.one(100, rigCommand());
      const result = rig.one(200, rigCommand({ operation, attempt: { sequence: 2 } }));
      if (!holds) expect(result).toEqual({ kind: "precondition_failed", revision: before });
      else expect(result).toMatchObject({ revision: 200 });
    }
  });

  it("sees what stands before it in its own entry", () => {
    const rig = new MachineRig();
    const results = rig.apply(
      100,
      rigCommand({ operation: put("a", { noneMatch: "any" }) }),
      rigCommand({ operation: put("b", { noneMatch: "any" }), attempt: { sequence: 2 } }),
      rigCommand({ operation: put("c", { match: [100] }), attempt: { sequence: 3 } }),
    );
    expect(results.map((r) => r.result)).toEqual([
      { kind: "put", revision: 100 },
      { kind: "precondition_failed", revision: 100 },
      { kind: "put", revision: 102 },
    ]);
  });
});

describe("revisions (R25)", () => {
  it("are the stamp, lifted above the shard's last, one for each command", () => {
    const rig = new MachineRig();
    const revisions = (stamp: number, sequences: number[]) =>
      rig
        .apply(stamp, ...sequences.map((sequence) => rigCommand({ attempt: { sequence } })))
        .map((r) => r.clockMicros);
    expect(revisions(1000, [1, 2])).toEqual([1000, 1001]);
    expect(revisions(500, [3])).toEqual([1002]);
    expect(revisions(2000, [4])).toEqual([2000]);
    expect(rig.reload().clockMicros).toBe(2000);
  });

  it("keep growing over a delete, though no row is left", () => {
    const rig = new MachineRig();
    rig.one(1000, rigCommand());
    expect(rig.one(900, rigCommand({ operation: remove(), attempt: { sequence: 2 } }))).toEqual({
      kind: "deleted",
      deleted: true,
      revision: 1001,
    });
    expect(countRows(rig, dataRange(rigDescriptor))).toBe(0);
    expect(rig.one(800, rigCommand({ attempt: { sequence: 3 } }))).toEqual({ kind: "put", revision: 1002 });
  });

  it("a stamp above 2^52 changes nothing", () => {
    const rig = new MachineRig();
    rig.one(1000, rigCommand());
    const hash = rig.machine.stateHash();
    const far = rigCommand({ attempt: { sequence: 2, deadlineMicros: Number.MAX_SAFE_INTEGER } });
    expect(rig.one(stampMicrosMax + 1, far)).toMatchObject({ kind: "not_now" });
    expect(rig.machine.stateHash()).toBe(hash);
    expect(rig.one(stampMicrosMax, far)).toEqual({ kind: "put", revision: stampMicrosMax });
  });

  it("the leader stamps with its own wall clock", () => {
    const rig = new MachineRig();
    const data = rig.machine.encodeEntry([encodeFloor()]);
    expect(rig.applyData(data)).toEqual([{ clockMicros: rig.clock.wallMicros() }]);
  });

  it("a floor moves the clock and nothing else (R24)", () => {
    const rig = new MachineRig();
    expect(rig.apply(5000, encodeFloor())).toEqual([{ clockMicros: 5000 }]);
    expect(rig.reload().clockMicros).toBe(5000);
    expect(countRows(rig, dataRange(rigDescriptor)) + countRows(rig, dedupRange(rigDescriptor))).toBe(0);
  });
});

describe("dedup (R22, R23)", () => {
  it.each<{ name: string; operation: KvOperation }>([
    { name: "a put", operation: put("x") },
    {
      name: "a put that needs absence, for which its own success would be a 412",
      operation: put("x", { noneMatch: "any" }),
    },
    { name: "a delete that found something", operation: remove({ match: "any" }) },
    { name: "a delete that found nothing", operation: remove() },
    { name: "a 412", operation: put("x", { match: [77] }) },
  ])("a retry gets the first answer: $name", ({ name, operation }) => {
    const rig = new MachineRig();
    if (name.includes("something")) rig.one(50, rigCommand({ attempt: { sequence: 1 } }));
    const command = rigCommand({ operation, attempt: { sequence: 2 } });
    const first = rig.one(100, command);
    const rows = rig.engine.scan(dataRange(rigDescriptor), { limit: 10 }).rows;
    expect(rig.one(200, command)).toEqual(first);
    rig.reload();
    expect(rig.one(300, command)).toEqual(first);
    expect(rig.engine.scan(dataRange(rigDescriptor), { limit: 10 }).rows).toEqual(rows);
  });

  it("two copies in one entry have one effect", () => {
    const rig = new MachineRig();
    const [first, second] = rig.apply(100, rigCommand(), rigCommand());
    expect(second?.result).toEqual(first?.result);
    expect(second?.clockMicros).toBe(101);
  });

  it("is looked up before deadline, epoch and condition", () => {
    const rig = new MachineRig();
    const command = rigCommand({ attempt: { deadlineMicros: 150 } });
    const first = rig.one(100, command);
    expect(rig.one(1000, { ...command, version: 99 })).toEqual(first);
  });

  it("the deadline comes before the epoch, the epoch before the condition", () => {
    const rig = new MachineRig();
    const wrong = rigCommand({
      version: 2,
      operation: put("x", { match: [5] }),
      attempt: { deadlineMicros: 50 },
    });
    expect(rig.one(100, wrong)).toEqual({ kind: "deadline" });
    const inTime = { ...wrong, attempt: { ...wrong.attempt, deadlineMicros: 500 } };
    expect(rig.one(101, inTime)).toEqual({ kind: "epoch_mismatch", current: [rigDescriptor] });
    expect(rig.one(102, { ...inTime, version: 3 })).toEqual({ kind: "precondition_failed", revision: 0 });
  });

  it("a deadline that is just reached is kept; past it the command stays refused for ever", () => {
    const rig = new MachineRig();
    const late = rigCommand({ attempt: { sequence: 2, deadlineMicros: 99 } });
    expect(rig.one(100, rigCommand({ attempt: { deadlineMicros: 100 } }))).toMatchObject({ kind: "put" });
    expect(rig.one(100, late)).toEqual({ kind: "deadline" });
    expect(rig.one(0, late)).toEqual({ kind: "deadline" });
    expect(rig.one(0, rigCommand({ attempt: { sequence: 2, deadlineMicros: 500 } }))).toMatchObject({
      kind: "put",
    });
  });

  it("refusals by deadline or epoch leave no record", () => {
    const rig = new MachineRig();
    rig.one(100, rigCommand({ attempt: { deadlineMicros: 50 } }));
    rig.one(100, rigCommand({ attempt: { sequence: 2 }, version: 9 }));
    expect(countRows(rig, dedupRange(rigDescriptor))).toBe(0);
  });

  it.each([
    { name: "another version", part: { version: 4 } },
    { name: "another keyspace", part: { keyspace: 2 } },
    { name: "a key before the range", part: { key: Buffer.from("A") } },
    { name: "the end of the range", part: { key: Buffer.from("t") } },
  ])("the epoch is checked for each command of a shared entry: $name", ({ part }) => {
    const rig = new MachineRig();
    const results = rig.apply(100, rigCommand(), rigCommand({ attempt: { sequence: 2 }, ...part }));
    expect(results.map((r) => r.result?.kind)).toEqual(["put", "epoch_mismatch"]);
  });

  it("one sequence is one command's: under another key it is refused", () => {
    const rig = new MachineRig();
    rig.one(100, rigCommand());
    expect(rig.one(200, rigCommand({ key: Buffer.from("l") }))).toMatchObject({ kind: "bad_command" });
  });

  it("a late sequence is applied although higher ones were: the session is a set", () => {
    const rig = new MachineRig();
    rig.one(100, rigCommand({ attempt: { sequence: 9 } }));
    expect(rig.one(200, rigCommand({ attempt: { sequence: 3 } }))).toEqual({ kind: "put", revision: 200 });
  });
});

describe("trimming", () => {
  const record = (rig: MachineRig, sequence: number, lowestUnanswered: number, deadlineMicros = 1000) =>
    rig.one(100, rigCommand({ attempt: { sequence, lowestUnanswered, deadlineMicros } }));
  const rowsOf = (rig: MachineRig) => countRows(rig, dedupRange(rigDescriptor));

  it("needs both: answered, and past its deadline", () => {
    const rig = new MachineRig();
    record(rig, 1, 1);
    record(rig, 2, 2);
    expect(rowsOf(rig)).toBe(2);
    rig.one(2000, rigCommand({ attempt: { sequence: 3, lowestUnanswered: 2, deadlineMicros: 9000 } }));
    expect(rowsOf(rig)).toBe(2);
    rig.one(2001, rigCommand({ attempt: { sequence: 4, lowestUnanswered: 4, deadlineMicros: 9000 } }));
    expect(rowsOf(rig)).toBe(2);
    rig.reload();
    expect(
      rig.one(2002, rigCommand({ attempt: { sequence: 3, lowestUnanswered: 3, deadlineMicros: 9000 } })),
    ).toEqual({ kind: "put", revision: 2000 });
  });

  it("leaves other sessions alone until 10 min past their deadline", () => {
    const rig = new MachineRig();
    const other = (stamp: number, sequence: number) =>
      rig.one(
        stamp,
        rigCommand({
          attempt: {
            session: "00000000000000b2",
            sequence,
            lowestUnanswered: sequence,
            deadlineMicros: 10 ** 10,
          },
        }),
      );
    record(rig, 1, 1);
    other(600_001_000, 5);
    expect(rowsOf(rig)).toBe(2);
    other(600_001_001, 6);
    expect(rowsOf(rig)).toBe(2);
    expect(rig.one(600_001_002, rigCommand({ attempt: { deadlineMicros: 1000 } }))).toEqual({
      kind: "deadline",
    });
  });

  it("is sliced, and keeps pace (R13)", () => {
    const rig = new MachineRig();
    for (let sequence = 1; sequence <= 100; sequence++) record(rig, sequence, 1);
    rig.apply(10_000_000_000, encodeFloor());
    expect(rowsOf(rig)).toBe(100 - 32);
    rig.apply(10_000_000_001, encodeFloor(), encodeFloor());
    rig.apply(10_000_000_002, encodeFloor());
    rig.apply(10_000_000_003, encodeFloor());
    expect(rowsOf(rig)).toBe(0);
  });

  it("of an answered run removes more than the command adds", () => {
    const rig = new MachineRig();
    for (let sequence = 1; sequence <= 30; sequence++) record(rig, sequence, 1);
    for (let sequence = 31; sequence <= 40; sequence++)
      rig.one(2000, rigCommand({ attempt: { sequence, lowestUnanswered: 31, deadlineMicros: 9000 } }));
    expect(rowsOf(rig)).toBe(10);
  });

  it("finds its rows by the data key they protect, neighbours' left out", () => {
    const rig = new MachineRig();
    for (const [at, key] of ["ab", "a\0", "a", "a\0\0", "s\xff"].entries())
      rig.one(100, rigCommand({ key: Buffer.from(key, "latin1"), attempt: { sequence: at + 1 } }));
    const from = (start: string, end: string) =>
      countRows(
        rig,
        dedupRange({
          ...rigDescriptor,
          start: Buffer.from(start, "latin1"),
          end: Buffer.from(end, "latin1"),
        }),
      );
    expect(from("a", "t")).toBe(5);
    expect(from("a", "a\0")).toBe(1);
    expect(from("a\0", "a\0\0")).toBe(1);
    expect(from("a\0\0", "ab")).toBe(1);
    expect(from("ab", "")).toBe(2);
    expect(from("", "a")).toBe(0);
  });
});

describe("what is committed and cannot be read stops the replica (R11)", () => {
  it.each([
    { name: "no MessagePack", data: Buffer.from([0xc1]) },
    { name: "another format", data: encode([2, 1, []]) },
    { name: "an unknown operation", data: encodeEntry({ stampMicros: 1, commands: [encode([63])] }) },
    { name: "a broken command", data: encodeEntry({ stampMicros: 1, commands: [encode([1, "x"])] }) },
  ])("$name", ({ data }) => {
    expect(() => new MachineRig().applyData(data)).toThrow(InvariantError);
  });
});

describe("configuration changes", () => {
  const conf = (part: Partial<ConfState>): ConfState => ({
    voters: [],
    outgoing: [],
    learners: [],
    learnersNext: [],
    autoLeave: false,
    ...part,
  });
  const change = (rig: MachineRig, next: ConfState, context: Uint8Array, changes = 1): boolean => {
    const tx = new OverlayBatch(rig.engine);
    const accepted = rig.machine.applyConfChange(
      { index: 50, term: 1, kind: "conf", data: new Uint8Array() },
      {
        transition: "explicit",
        changes: Array.from({ length: changes }, () => ({ kind: "voter", id: 14 }) as const),
        context,
      },
      next,
      tx,
    );
    rig.engine.write(tx.batch, { sync: false }, () => {});
    return accepted;
  };
  const joint = conf({ voters: [11, 12, 14], outgoing: [11, 12, 13], learnersNext: [13] });

  it("enter and leave a joint state, with nodes and roles in the descriptor", () => {
    const rig = new MachineRig();
    const context = encodeConfContext({ expectedConfVersion: 5, replicas: [{ replicaId: 14, nodeId: 4 }] });
    expect(change(rig, joint, context)).toBe(true);
    expect(rig.reload().descriptor).toMatchObject({
      epoch: { version: 3, confVersion: 6 },
      replicas: [
        { replicaId: 11, nodeId: 1, role: "voter" },
        { replicaId: 12, nodeId: 2, role: "voter" },
        { replicaId: 13, nodeId: 3, role: "outgoing" },
        { replicaId: 14, nodeId: 4, role: "incoming" },
      ],
    });
    const machine = rig.machine;
    expect(change(rig, conf({ voters: [11, 12, 14], learners: [13] }), new Uint8Array(), 0)).toBe(true);
    expect(machine.descriptor?.replicas.map((r) => r.role)).toEqual(["voter", "voter", "learner", "voter"]);
    const next = encodeConfContext({ expectedConfVersion: 7, replicas: [] });
    expect(change(rig, conf({ voters: [11, 12, 14] }), next)).toBe(true);
    expect(machine.descriptor?.epoch.confVersion).toBe(8);
    expect([machine.nodeOf(14), machine.nodeOf(13), machine.nodeOf(99)]).toEqual([4, 3, undefined]);
  });

  it.each([
    {
      name: "another epoch was expected (R6)",
      context: encodeConfContext({ expectedConfVersion: 4, replicas: [{ replicaId: 14, nodeId: 4 }] }),
    },
    {
      name: "a new replica's node is not said",
      context: encodeConfContext({ expectedConfVersion: 5, replicas: [] }),
    },
    { name: "none is expected", context: new Uint8Array() },
  ])("are void where $name", ({ context }) => {
    const rig = new MachineRig();
    const before = rig.machine.descriptor;
    expect(change(rig, joint, context)).toBe(false);
    expect(rig.machine.descriptor).toEqual(before);
    expect(rig.reload().descriptor).toEqual(before);
  });
});

describe("rows", () => {
  it("keep value, content type and revision", () => {
    const rig = new MachineRig();
    rig.one(100, rigCommand({ operation: { kind: "put", value: Buffer.alloc(3, 255), contentType: "a/ü" } }));
    const row = rig.engine.scan(dataRange(rigDescriptor), { limit: 1 }).rows[1] as Uint8Array;
    expect(decodeValueRow(row)).toEqual({ revision: 100, contentType: "a/ü", value: Buffer.alloc(3, 255) });
  });

  it("of a snapshot are state, dedup and data; before the first rows the state alone", () => {
    const rig = new MachineRig();
    expect(rig.machine.snapshotRanges()).toHaveLength(3);
    rig.one(100, rigCommand());
    const rows = rig.machine.snapshotRanges().map((range) => countRows(rig, range));
    expect(rows).toEqual([2, 1, 1]);
  });

  it("of a session are all there after a reload of many", () => {
    const rig = new MachineRig();
    for (let sequence = 1; sequence <= 2500; sequence++)
      rig.one(sequence, rigCommand({ attempt: { sequence, session: rigSession } }));
    rig.reload();
    for (const sequence of [1, 1024, 1025, 2048, 2500])
      expect(rig.one(9000, rigCommand({ attempt: { sequence } }))).toEqual({
        kind: "put",
        revision: sequence,
      });
  });
});
