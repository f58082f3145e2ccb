import { beforeEach, describe, expect, it } from "vitest";
import {
  decodeReadResponse,
  decodeWriteResponse,
  encodeCommand,
  encodeFloor,
  encodeReadRequest,
  encodeWriteRequest,
  type KvCommand,
  kvMethods,
  type ReadRequest,
  type ReadResponse,
  type WriteResponse,
} from "#proto";
import type { GroupHost, GroupView, ProposeOutcome, ReadOutcome, StateMachine } from "#raft/host";
import { silentLogger, VirtualClock } from "#runtime";
import { type Engine, MemoryDisk, OverlayBatch, openMemory } from "#storage";
import { rigCommand, rigDescriptor } from "./rig.ts";
import { ShardService } from "./service.ts";
import { initialRows } from "./state-rows.ts";

type Handler = (
  from: { address: string; boot: string },
  body: Uint8Array,
  reply: (b: Uint8Array) => void,
) => void;

/** A host of one replica that commits at once, unless told to hold or refuse. */
class FakeHost {
  machine: StateMachine | undefined;
  readonly engine: Engine;
  readonly held: (() => void)[] = [];
  holding = false;
  proposeRefusal: Exclude<ProposeOutcome, { kind: "applied" }> | undefined;
  readRefusal: Extract<ReadOutcome, { kind: "refused" }> | undefined;
  staleness: number | undefined = 30;
  readonly reads: boolean[] = [];
  #index = 1;

  constructor(engine: Engine) {
    this.engine = engine;
  }

  propose(_group: number, command: Uint8Array, done: (outcome: ProposeOutcome) => void): void {
    this.#soon(() => {
      if (this.proposeRefusal !== undefined) done(this.proposeRefusal);
      else done({ kind: "applied", index: this.#index, result: this.apply(command)[0] });
    });
  }

  apply(...commands: Uint8Array[]): readonly unknown[] {
    const data = this.machine!.encodeEntry(commands);
    const tx = new OverlayBatch(this.engine);
    this.#index += 1;
    const results = this.machine!.apply({ index: this.#index, term: 2, kind: "normal", data }, tx, () => {});
    this.engine.write(tx.batch, { sync: true }, () => {});
    return results;
  }

  read(_group: number, options: { lease: boolean }, done: (outcome: ReadOutcome) => void): void {
    this.reads.push(options.lease);
    this.#soon(() => done(this.readRefusal ?? { kind: "ready" }));
  }

  stalenessMs(): number | undefined {
    return this.staleness;
  }

  release(): void {
    this.holding = false;
    for (const run of this.held.splice(0)) run();
  }

  #soon(run: () => void): void {
    if (this.holding) this.held.push(run);
    else run();
  }
}

const group = rigDescriptor.id;
let clock: VirtualClock;
let disk: MemoryDisk;
let engine: Engine;
let host: FakeHost;
let service: ShardService;
let handlers: Map<number | string, Handler>;

const lead = (role: GroupView["role"], leaderNode?: number): void =>
  host.machine!.leadershipChanged({ role, term: 2, leaderNode } as GroupView);

beforeEach(() => {
  clock = new VirtualClock();
  disk = new MemoryDisk(2 ** 40);
  engine = openMemory(disk);
  handlers = new Map();
  service = new ShardService({
    engine,
    clock,
    logger: silentLogger,
    rpc: { serve: (method, handler) => handlers.set(method, handler) },
    settings: { maxValueBytes: 1024, maxInflightBytes: 1500 },
  });
  host = new FakeHost(engine);
  service.start(host as unknown as GroupHost);
  host.machine = service.make(group, 11)!;
  const tx = new OverlayBatch(engine);
  initialRows(rigDescriptor, 1000)(tx);
  engine.write(tx.batch, { sync: true }, () => {});
  host.machine.load();
  lead("leader", 1);
});

function call(method: number, body: Uint8Array): Uint8Array | undefined {
  let answer: Uint8Array | undefined;
  handlers.get(method)!({ address: "9", boot: "b" }, body, (bytes) => {
    expect(answer).toBeUndefined();
    answer = bytes;
  });
  return answer;
}

const far = { deadlineMicros: 2 ** 52 };
let sequence = 0;
const command = (part: Parameters<typeof rigCommand>[0] = {}): KvCommand =>
  rigCommand({ ...part, attempt: { sequence: ++sequence, ...far, ...part.attempt } });

function write(bytes: KvCommand | Uint8Array, shard = group): WriteResponse | undefined {
  const encoded = bytes instanceof Uint8Array ? bytes : encodeCommand(bytes);
  const answer = call(kvMethods.write, encodeWriteRequest({ shard, command: encoded }));
  return answer && decodeWriteResponse(answer);
}

function read(part: Partial<ReadRequest> = {}): ReadResponse | undefined {
  const request: ReadRequest = {
    shard: group,
    version: 3,
    keyspace: 1,
    key: Buffer.from("k"),
    consistency: "linearizable",
    timeoutMs: 1000,
    ...part,
  };
  const answer = call(kvMethods.read, encodeReadRequest(request));
  return answer && decodeReadResponse(answer);
}

describe("writes", () => {
  it("are applied and answered with revision and clock", () => {
    const response = write(command());
    expect(response).toEqual({
      clockMicros: clock.wallMicros(),
      result: { kind: "put", revision: clock.wallMicros() },
    });
  });

  it("to a shard that is not here", () => {
    expect(write(command(), 99)).toEqual({ clockMicros: 0, result: { kind: "no_replica" } });
    // It has gone into the one that has the key here.
    expect(write(command({ version: 2 }), 99)?.result).toMatchObject({
      kind: "epoch_mismatch",
      current: [{ id: 7 }],
    });
  });

  it("to one whose replica has nothing yet", () => {
    service.make(8, 21);
    expect(write(command(), 8)?.result).toEqual({ kind: "no_replica" });
  });

  it("to a follower name the leader's node, with the clock", () => {
    lead("follower", 3);
    expect(write(command())).toEqual({ clockMicros: 1000, result: { kind: "not_leader", leader: 3 } });
    lead("follower");
    expect(write(command())?.result).toEqual({ kind: "not_leader" });
  });

  it.each([
    { name: "no MessagePack", bytes: Buffer.from([0xc1]) },
    { name: "a shard's own command", bytes: encodeFloor() },
    { name: "an empty key", bytes: encodeCommand(rigCommand({ key: new Uint8Array() })) },
    { name: "a session that is none", bytes: encodeCommand(rigCommand({ attempt: { session: "A" } })) },
    { name: "an answered sequence", bytes: encodeCommand(rigCommand({ attempt: { lowestUnanswered: 5 } })) },
    {
      name: "a value beyond the limit",
      bytes: encodeCommand(
        rigCommand({ operation: { kind: "put", value: Buffer.alloc(1025), contentType: "" } }),
      ),
    },
  ])("that apply must not meet stop at the door (R12): $name", ({ bytes }) => {
    expect(write(bytes)?.result.kind).toBe("bad_command");
  });

  it("that cannot be read at all are dropped and counted", () => {
    expect(call(kvMethods.write, Buffer.from([1, 2, 3]))).toBeUndefined();
    expect(call(kvMethods.read, Buffer.from([1, 2, 3]))).toBeUndefined();
    expect(service.malformedRequests).toBe(2);
  });

  it("with an older epoch are refused with the descriptor, unproposed", () => {
    host.holding = true;
    expect(write(command({ version: 2 }))?.result).toEqual({
      kind: "epoch_mismatch",
      current: [rigDescriptor],
    });
    expect(write(command({ key: Buffer.from("z") }))?.result.kind).toBe("epoch_mismatch");
    expect(host.held).toHaveLength(0);
  });

  it("with a newer epoch are decided at apply: the split may stand in the log", () => {
    host.holding = true;
    expect(write(command({ version: 4 }))).toBeUndefined();
    expect(host.held).toHaveLength(1);
  });

  it.each([
    { name: "below 5 %", total: 2 ** 30, free: 50e6, full: true },
    { name: "above 5 %", total: 2 ** 30, free: 60e6, full: false },
    { name: "below 2 GiB of much", total: 2 ** 40, free: 2e9, full: true },
    { name: "above 2 GiB of much", total: 2 ** 40, free: 2.2e9, full: false },
  ])("but deletes are refused on a nearly full disk (R36): $name", ({ total, free, full }) => {
    Object.assign(engine, { diskSpace: () => ({ freeBytes: free, totalBytes: total }) });
    clock.advance(5000);
    expect(write(command())?.result.kind).toBe(full ? "storage_full" : "put");
    expect(write(command({ operation: { kind: "delete" } }))?.result.kind).toBe("deleted");
    Object.assign(engine, { diskSpace: () => ({ freeBytes: total, totalBytes: total }) });
    clock.advance(5000);
    expect(write(command())?.result.kind).toBe("put");
  });

  it("beyond max_inflight_bytes are too_busy until others are decided; one alone always goes", () => {
    const big = () => command({ operation: { kind: "put", value: Buffer.alloc(1000), contentType: "" } });
    host.holding = true;
    service.configure({ maxInflightBytes: 10 });
    expect(write(big())).toBeUndefined();
    expect(write(big())?.result.kind).toBe("too_busy");
    host.release();
    expect(write(big())?.result.kind).toBe("put");
  });

  it("are refused while this node's clock is off (R25)", () => {
    service.setClockBad(true);
    expect(write(command())?.result.kind).toBe("not_now");
    service.setClockBad(false);
    expect(write(command())?.result.kind).toBe("put");
  });

  it("are refused while draining, but not where nobody else could lead (R35)", () => {
    service.setDraining(true);
    expect(write(command())?.result.kind).toBe("not_now");
    const tx = new OverlayBatch(engine);
    initialRows({ ...rigDescriptor, replicas: rigDescriptor.replicas.slice(0, 1) })(tx);
    engine.write(tx.batch, { sync: true }, () => {});
    host.machine!.load();
    expect(write(command())?.result.kind).toBe("put");
  });

  it.each<{ name: string; outcome: Exclude<ProposeOutcome, { kind: "applied" }>; want: object }>([
    { name: "dropped", outcome: { kind: "dropped" }, want: { kind: "dropped" } },
    { name: "unknown", outcome: { kind: "unknown" }, want: { kind: "unknown" } },
    {
      name: "no longer leader",
      outcome: { kind: "refused", reason: "not_leader", leaderNode: 2 },
      want: { kind: "not_leader", leader: 2 },
    },
    {
      name: "transferring",
      outcome: { kind: "refused", reason: "transferring" },
      want: { kind: "not_leader" },
    },
    {
      name: "replica gone",
      outcome: { kind: "refused", reason: "no_replica" },
      want: { kind: "no_replica" },
    },
    { name: "stopping", outcome: { kind: "refused", reason: "stopped" }, want: { kind: "not_now" } },
    {
      name: "log full",
      outcome: { kind: "refused", reason: "uncommitted_limit" },
      want: { kind: "too_busy" },
    },
  ])("tell the host's outcome: $name", ({ outcome, want }) => {
    host.proposeRefusal = outcome;
    expect(write(command())?.result).toMatchObject(want);
    host.proposeRefusal = undefined;
    service.configure({ maxInflightBytes: 1 });
    expect(write(command())?.result.kind).toBe("put");
  });
});

describe("reads", () => {
  const found = { kind: "found", stored: { contentType: "text/plain", value: Uint8Array.of(0x76) } };

  it("find what was written, under each consistency", () => {
    write(command());
    expect(read()?.result).toMatchObject(found);
    expect(read({ consistency: "leader" })?.result).toMatchObject(found);
    expect(read({ consistency: "stale" })?.result).toMatchObject({ ...found, stalenessMs: 30 });
    expect(host.reads).toEqual([false, true]);
  });

  it("of nothing are absent", () => {
    expect(read()).toEqual({ clockMicros: 1000, result: { kind: "absent" } });
    expect(read({ shard: 99 })).toEqual({ clockMicros: 0, result: { kind: "no_replica" } });
    expect(read({ shard: 99, version: 2 })?.result).toMatchObject({
      kind: "epoch_mismatch",
      current: [{ id: 7 }],
    });
  });

  it("linearizable ones are served on followers, lease ones are not", () => {
    lead("follower", 2);
    expect(read()?.result).toEqual({ kind: "absent" });
    expect(read({ consistency: "leader" })?.result).toEqual({ kind: "not_leader", leader: 2 });
  });

  it("see what was applied while they waited, and check the range then (R18)", () => {
    host.holding = true;
    const answers: ReadResponse[] = [];
    const ask = (version: number) =>
      handlers.get(kvMethods.read)!(
        { address: "9", boot: "b" },
        encodeReadRequest({
          shard: group,
          version,
          keyspace: 1,
          key: Buffer.from("k"),
          consistency: "linearizable",
          timeoutMs: 1,
        }),
        (bytes) => answers.push(decodeReadResponse(bytes)),
      );
    ask(3);
    ask(4);
    host.apply(encodeCommand(command()));
    host.release();
    expect(answers[0]?.result.kind).toBe("found");
    expect(answers[1]?.result.kind).toBe("epoch_mismatch");
  });

  it("with an older epoch are refused at once", () => {
    host.holding = true;
    expect(read({ version: 2 })?.result).toEqual({ kind: "epoch_mismatch", current: [rigDescriptor] });
    expect(read({ version: 2, consistency: "stale" })?.result.kind).toBe("epoch_mismatch");
  });

  it("stale ones keep to their bounds", () => {
    expect(read({ consistency: "stale", maxStalenessMs: 29 })?.result.kind).toBe("too_stale");
    expect(read({ consistency: "stale", maxStalenessMs: 30 })?.result).toEqual({
      kind: "absent",
      stalenessMs: 30,
    });
    expect(read({ consistency: "stale", minRevision: 1001 })?.result.kind).toBe("too_stale");
    expect(read({ consistency: "stale", minRevision: 1000 })?.result.kind).toBe("absent");
    expect(host.reads).toEqual([]);
  });

  it("stale ones of unknown staleness go by ReadIndex, staleness 0 (R19)", () => {
    host.staleness = undefined;
    expect(read({ consistency: "stale", maxStalenessMs: 0 })?.result).toEqual({
      kind: "absent",
      stalenessMs: 0,
    });
    expect(host.reads).toEqual([false]);
  });

  it.each<{ reason: Extract<ReadOutcome, { kind: "refused" }>["reason"]; want: object }>([
    { reason: "timeout", want: { kind: "timeout" } },
    { reason: "no_replica", want: { kind: "no_replica" } },
    { reason: "no_leader", want: { kind: "not_leader", leader: 2 } },
    { reason: "read_not_ready", want: { kind: "not_leader", leader: 2 } },
    { reason: "stopped", want: { kind: "not_leader", leader: 2 } },
  ])("tell the host's refusal: $reason", ({ reason, want }) => {
    host.readRefusal = { kind: "refused", reason, leaderNode: 2 };
    expect(read()?.result).toEqual(want);
  });
});

describe("for placement", () => {
  it("reports what is led here, with rates, sizes and clock", () => {
    expect(service.ledShards()).toEqual([group]);
    for (let i = 0; i < 100; i++) write(command({ key: Buffer.from(`k${i}`) }));
    for (let i = 0; i < 50; i++) read();
    clock.advance(10_000);
    expect(service.reportOf(group)).toMatchObject({
      descriptor: rigDescriptor,
      clockMicros: service.machineOf(group)!.clockMicros,
      keys: 100,
      writesPerSecond: 10,
      readsPerSecond: 5,
    });
    clock.advance(20_000);
    expect(service.reportOf(group)).toMatchObject({ writesPerSecond: 0, readsPerSecond: 0 });
    lead("follower");
    expect(service.ledShards()).toEqual([]);
  });

  it("forgets a replica that left, but not its successor", () => {
    const old = host.machine!;
    const next = service.make(group, 11)!;
    next.load();
    old.closed();
    expect(service.machineOf(group)).toBe(next);
    next.closed();
    expect(service.machineOf(group)).toBeUndefined();
    expect(service.reportOf(group)).toBeUndefined();
  });

  it("makes no machine of placement's group", () => {
    expect(service.make(0, 1)).toBeUndefined();
  });

  it("moves an idle shard's clock (R24)", () => {
    let at: number | undefined;
    service.floor(group, (micros) => (at = micros));
    expect(at).toBe(clock.wallMicros());
  });

  it("leaves no timer behind", () => {
    service.close();
    expect(clock.pending).toBe(0);
  });
});
