import { describe, expect, it } from "vitest";
import type { NodeId } from "#proto";
import { silentLogger, VirtualClock } from "#runtime";
import { type Engine, MemoryDisk, openMemory } from "#storage";
import type { Transport } from "#transport";
import { defaultLimits } from "./config.ts";
import type { Group } from "./group.ts";
import { markRow, SnapshotReceiver, stagingRange } from "./snapshot-receive.ts";
import { SnapshotSender } from "./snapshot-send.ts";
import { addChecksum, type BulkMessage, decodeBulk, encodeBlock } from "./snapshot-wire.ts";
import { HostHarness } from "./testing/harness.ts";

const three = [1, 2, 3];
const conf = { voters: three, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
const small = { compactLogBytes: 1_000, compactCapBytes: 2_000, snapshotChunkBytes: 200, sliceRows: 3 };

type Options = NonNullable<ConstructorParameters<typeof HostHarness>[0]>;

/** A group with one follower away and the log it needs compacted; the follower's node is not up yet. */
function lagging(options: Options): { h: HostHarness; away: NodeId; want: string[] } {
  const h = new HostHarness({ limits: small, ...options });
  h.create(1, three);
  h.until("leader", () => h.leaderOf(1) !== undefined);
  h.run(1_000);
  const away = three.find((node) => node !== h.leaderOf(1)) ?? 0;
  h.put(1, "old");
  h.run(300);
  h.crash(away, "all");
  const want = ["old"];
  for (let i = 0; i < 40; i++) {
    want.push(`v${i}-${"x".repeat(80)}`);
    h.put(1, want.at(-1) ?? "");
  }
  return { h, away, want };
}

function expectLevel(h: HostHarness, away: NodeId, want: readonly string[]): void {
  h.until("level again", () => h.machine(away, 1).commands().length >= want.length, 60_000);
  h.run(1_000);
  const leader = h.leaderOf(1) ?? 0;
  expect(h.machine(away, 1).commands()).toEqual(want);
  expect(h.machine(away, 1).chain).toBe(h.machine(leader, 1).chain);
  const rows = h.engines.get(away)?.scan(stagingRange(1), { limit: 10 }).rows;
  expect(rows).toEqual([]);
}

describe("a snapshot", () => {
  it("survives a crash after any step of its install (R4)", () => {
    let met = 0;
    for (let step = 0; step < 60; step++) {
      const { h, away, want } = lagging({ seed: step + 1, syncDelayMs: () => 5 });
      h.boot(away);
      const isMarked = (): boolean => h.engines.get(away)?.get("meta", markRow(1)) !== undefined;
      h.until("the mark", isMarked);
      for (let i = 0; i < step; i++) h.clock.step();
      if (isMarked()) met += 1;
      h.crash(away, (["none", "random", "all"] as const)[step % 3]);
      h.boot(away);
      expectLevel(h, away, want);
    }
    expect(met).toBeGreaterThanOrEqual(20);
  });

  it("goes under the index that its rows show, whenever the core asked for it (R4)", () => {
    for (let wait = 0; wait < 25; wait++) {
      const { h, away, want } = lagging({ seed: wait + 1, syncDelayMs: () => 10 });
      const leader = h.leaderOf(1) ?? 0;
      h.network.setLink(`n${away}`, `n${leader}`, { loss: 0.3 });
      h.boot(away);
      // A turn's write is under way, what it commits is not applied yet, and now the core is asked to send.
      for (let i = 0; i < 12; i++) {
        want.push(`w${i}`);
        let done = false;
        const node = h.leaderOf(1) ?? leader;
        h.host(node).propose(1, Buffer.from(`w${i}`), ({ kind }) => {
          if (kind !== "applied") want.splice(want.indexOf(`w${i}`), 1);
          done = true;
        });
        h.run(wait);
        if (h.hosts.has(node)) h.host(node).transferLeader(1, away);
        h.until("answer", () => done);
      }
      h.network.heal();
      expectLevel(h, away, want);
    }
  });

  it("to a replica destroyed while it installs leaves nothing that would stop the next start (R34)", () => {
    for (let step = 0; step < 25; step++) {
      const { h, away } = lagging({ seed: step + 1, syncDelayMs: () => 5 });
      h.boot(away);
      h.until("the mark", () => h.engines.get(away)?.get("meta", markRow(1)) !== undefined);
      for (let i = 0; i < step; i++) h.clock.step();
      let done = false;
      h.host(away).destroy(1, () => {
        done = true;
      });
      if (step % 2 === 0) h.until("destroyed", () => done);
      else h.run(step);
      h.crash(away, "random");
      h.boot(away);
      h.run(3_000);
      if (!done) continue;
      expect(h.engines.get(away)?.get("meta", markRow(1))).toBeUndefined();
      expect(h.engines.get(away)?.scan(stagingRange(1), { limit: 10 }).rows).toEqual([]);
    }
  });

  it("ends with its sender's leadership or replica, and the next leader sends another", () => {
    for (const how of ["crash", "destroy"] as const) {
      const { h, away, want } = lagging({
        limits: { ...small, snapshotBytesPerS: 700, snapshotChunkBytes: 100 },
      });
      const leader = h.leaderOf(1) ?? 0;
      h.boot(away);
      h.run(1_500);
      expect(h.host(away).stats.snapshotsInstalled).toBe(0);
      if (how === "crash") h.crash(leader);
      else h.host(leader).destroy(1, () => {});
      expectLevel(h, away, want);
    }
  });

  it("holds compaction back while it is under way (R9)", () => {
    const { h, away } = lagging({ limits: { ...small, snapshotBytesPerS: 2_000 } });
    const leader = h.leaderOf(1) ?? 0;
    h.boot(away);
    h.run(1_000);
    const group = h.host(leader).view(1) as Group;
    const [index] = [...group.snapshotsOut.values()];
    expect(index).toBeGreaterThan(0);
    for (let i = 0; i < 60; i++) h.put(1, `more-${i}-${"x".repeat(80)}`);
    const held = [...group.snapshotsOut.values()].includes(index ?? 0);
    if (held) expect(group.log.firstIndex()).toBeLessThanOrEqual((index ?? 0) + 1);
    h.until("level", () => h.machine(away, 1).commands().length === 101, 120_000);
  });
});

describe("the receiver of a stream", () => {
  interface Rig {
    readonly engine: Engine;
    readonly receiver: SnapshotReceiver;
    readonly answers: BulkMessage[];
    readonly group: Group;
    taken: boolean;
  }

  function rig(): Rig {
    const engine = openMemory(new MemoryDisk());
    const answers: BulkMessage[] = [];
    const send: Transport["send"] = (_to, _channel, body) => {
      answers.push(decodeBulk(body));
      return "queued";
    };
    const made: Rig = {
      engine,
      answers,
      taken: false,
      group: { group: 1, installing: false } as unknown as Group,
      receiver: new SnapshotReceiver({
        engine,
        transport: { send } as unknown as Transport,
        logger: silentLogger,
        stats: { snapshotBytesReceived: 0 },
        onWriteError: (error) => {
          throw error;
        },
        isTaken: () => made.taken,
      }),
    };
    return made;
  }

  const bodies = [0, 1, 2].map((i) =>
    encodeBlock({ family: "data", rows: [new Uint8Array([i]), new Uint8Array([i])] }),
  );

  function chunk(id: string, sequence: number): Extract<BulkMessage, { kind: "chunk" }> {
    const head = { kind: "chunk", id, group: 1, from: 1, to: 2, sequence } as const;
    const body = bodies[sequence];
    if (body !== undefined) return { ...head, body };
    const checksum = bodies.reduce(addChecksum, 0);
    return { ...head, end: { chunks: 3, checksum, term: 6, meta: { index: 20, term: 6, conf }, ranges: [] } };
  }

  const last = ({ answers }: Rig): string => answers.at(-1)?.kind ?? "";
  const staged = ({ engine }: Rig): number => engine.scan(stagingRange(1), { limit: 10 }).rows.length / 2;

  it("takes each chunk once, doubled ones too", () => {
    const r = rig();
    for (const sequence of [0, 0, 1, 0, 1, 2, 2]) {
      expect(r.receiver.onChunk(r.group, 1, chunk("a", sequence), 0)).toBeUndefined();
      expect(last(r)).toBe("ack");
    }
    expect(r.receiver.onChunk(r.group, 1, chunk("a", 3), 0)).toMatchObject({ kind: "snapshot", term: 6 });
    expect(r.receiver.onChunk(r.group, 1, chunk("a", 3), 0)).toBeUndefined();
    expect(staged(r)).toBe(3);
  });

  it("refuses a gap, and starts anew with another stream", () => {
    const r = rig();
    r.receiver.onChunk(r.group, 1, chunk("a", 0), 0);
    r.receiver.onChunk(r.group, 1, chunk("a", 2), 0);
    expect(last(r)).toBe("refused");
    r.receiver.onChunk(r.group, 3, chunk("b", 0), 0);
    expect(last(r)).toBe("ack");
    r.receiver.onChunk(r.group, 1, chunk("a", 1), 0);
    expect(last(r)).toBe("refused");
    expect(staged(r)).toBe(1);
  });

  it("lets a newer stream wait while a whole one is the core's, and keeps its chunks (R4)", () => {
    const r = rig();
    for (let sequence = 0; sequence < 4; sequence++) r.receiver.onChunk(r.group, 1, chunk("a", sequence), 0);
    r.receiver.onChunk(r.group, 3, chunk("b", 0), 0);
    expect(last(r)).toBe("refused");
    r.receiver.mark(1, r.engine.batch(), []);
    expect(staged(r)).toBe(3);
    r.receiver.unwanted(1);
    expect(r.answers.at(-1)).toEqual({ kind: "done", id: "a" });
    r.receiver.onChunk(r.group, 3, chunk("b", 0), 0);
    expect(last(r)).toBe("ack");
  });

  it("refuses what cannot be read, what does not add up and what overlaps another replica (R5)", () => {
    const r = rig();
    r.receiver.onChunk(r.group, 1, { ...chunk("a", 0), body: new Uint8Array([1, 2]) }, 0);
    expect([last(r), staged(r)]).toEqual(["refused", 0]);
    for (const [id, spoil] of [
      ["b", "checksum"],
      ["c", "overlap"],
    ] as const) {
      for (let sequence = 0; sequence < 3; sequence++) r.receiver.onChunk(r.group, 1, chunk(id, sequence), 0);
      const end = chunk(id, 3);
      r.taken = spoil === "overlap";
      const wrong = end.end === undefined ? {} : { end: { ...end.end, checksum: end.end.checksum + 1 } };
      const result = r.receiver.onChunk(r.group, 1, spoil === "checksum" ? { ...end, ...wrong } : end, 0);
      expect(result).toBeUndefined();
      expect([last(r), staged(r)]).toEqual(["refused", 0]);
    }
  });

  it("refuses what overlaps another group's whole snapshot that is still to be installed (R5)", () => {
    const r = rig();
    const other = { ...r.group, group: 2 } as typeof r.group;
    const stream = (group: typeof r.group, from: number, to: number): void => {
      for (let sequence = 0; sequence < 4; sequence++) {
        const part = { ...chunk(`g${group.group}`, sequence), group: group.group };
        const ranges = [{ family: "data", start: Uint8Array.of(from), end: Uint8Array.of(to) }] as const;
        const whole = part.end === undefined ? part : { ...part, end: { ...part.end, ranges } };
        r.receiver.onChunk(group, 1, whole, 0);
      }
    };
    stream(r.group, 0, 9);
    expect(last(r)).toBe("ack");
    stream(other, 5, 12);
    expect(last(r)).toBe("refused");
    r.receiver.installed(1);
    stream(other, 5, 12);
    expect(last(r)).toBe("ack");
  });

  it("refuses what overlaps another replica before anything of it is staged (R5)", () => {
    const r = rig();
    const ranges = [{ family: "data", start: Uint8Array.of(0), end: Uint8Array.of(9) }] as const;
    r.taken = true;
    r.receiver.onChunk(r.group, 1, { ...chunk("a", 0), ranges }, 0);
    expect([last(r), staged(r)]).toEqual(["refused", 0]);
    r.receiver.onChunk(r.group, 1, chunk("a", 1), 0);
    expect([last(r), staged(r)]).toEqual(["refused", 0]);
    r.taken = false;
    r.receiver.onChunk(r.group, 1, { ...chunk("b", 0), ranges }, 0);
    expect([last(r), staged(r)]).toEqual(["ack", 1]);
  });

  it("gives up a stream that has gone silent", () => {
    const r = rig();
    r.receiver.onChunk(r.group, 1, chunk("a", 0), 0);
    r.receiver.sweep(59_000);
    expect(staged(r)).toBe(1);
    r.receiver.sweep(61_000);
    expect(staged(r)).toBe(0);
  });
});

describe("the sender of a stream", () => {
  const meta = { index: 25, term: 6, conf };

  function sent(role: "leader" | "follower", term: number): BulkMessage[] {
    return sentOf(role, term, []).bodies;
  }

  /** One row a chunk. */
  function sentOf(
    role: "leader" | "follower",
    term: number,
    rows: readonly Uint8Array[],
    isFull: () => boolean = () => false,
  ): { readonly sender: SnapshotSender; readonly bodies: BulkMessage[] } {
    const engine = openMemory(new MemoryDisk());
    const batch = engine.batch();
    for (const row of rows) batch.put("data", row, row);
    engine.write(batch, { sync: false }, () => {});
    const bodies: BulkMessage[] = [];
    const send: Transport["send"] = (_to, _channel, body) => {
      if (isFull()) return "window_full";
      bodies.push(decodeBulk(body));
      return "queued";
    };
    const sender = new SnapshotSender({
      engine,
      transport: { send } as unknown as Transport,
      clock: new VirtualClock(),
      logger: silentLogger,
      limits: { ...defaultLimits, sliceRows: 1 },
      boot: "b",
      stats: { snapshotBytesSent: 0 },
      finished: () => {},
      resumed: () => sender.goOn(),
    });
    const ranges = rows.length === 0 ? [] : [{ family: "data", start: new Uint8Array(0) }];
    const group = {
      group: 1,
      replica: 1,
      core: { role, term: 6 },
      machine: { snapshotRanges: () => ranges },
      log: { snapshot: () => meta },
      snapshotsOut: new Map<number, number>(),
    } as unknown as Group;
    // What the core wrote down before entries 21 to 25 were applied.
    const snapshot = { index: 20, term: 6, conf };
    sender.begin(group, 2, { kind: "snapshot", from: 1, to: 2, term, snapshot });
    expect([...group.snapshotsOut.values()]).toEqual(bodies.length > 0 ? [25] : []);
    return { sender, bodies };
  }

  it("says the index of the state it reads, not of the one the core meant (R4)", () => {
    expect(sent("leader", 6)).toMatchObject([{ kind: "chunk", end: { meta: { index: 25 } } }]);
  });

  it("says in its first chunk what the snapshot takes (R5)", () => {
    expect(sent("leader", 6)).toMatchObject([{ ranges: [] }]);
  });

  /** Bytes sent in each of some seconds, when each chunk is acknowledged `delayMs(ms)` after it was sent. */
  function perSecond(perS: number, seconds: number, delayMs: (ms: number) => number): number[] {
    const engine = openMemory(new MemoryDisk());
    const batch = engine.batch();
    for (let i = 0; i < 1_000; i++)
      batch.put("data", Buffer.from(`${i}`.padStart(4, "0")), Buffer.alloc(10_000));
    engine.write(batch, { sync: false }, () => {});
    const stats = { snapshotBytesSent: 0 };
    const clock = new VirtualClock();
    const unacknowledged: { id: string; sequence: number; atMs: number }[] = [];
    const send: Transport["send"] = (_to, _channel, body) => {
      const message = decodeBulk(body);
      const { id } = message;
      const atMs = clock.nowMs() + delayMs(clock.nowMs());
      if (message.kind === "chunk") unacknowledged.push({ id, sequence: message.sequence, atMs });
      return "queued";
    };
    const sender = new SnapshotSender({
      engine,
      transport: { send } as unknown as Transport,
      clock,
      logger: silentLogger,
      limits: { ...defaultLimits, snapshotBytesPerS: perS, snapshotChunkBytes: 20_000 },
      boot: "b",
      stats,
      finished: () => {},
      resumed: () => sender.goOn(),
    });
    const group = {
      group: 1,
      replica: 1,
      core: { role: "leader", term: 6 },
      machine: { snapshotRanges: () => [{ family: "data", start: new Uint8Array(0) }] },
      log: { snapshot: () => meta },
      snapshotsOut: new Map<number, number>(),
    } as unknown as Group;
    // Nothing to send for long: that is no credit.
    clock.advance(5_000);
    sender.begin(group, 2, { kind: "snapshot", from: 1, to: 2, term: 6, snapshot: meta });
    const sent: number[] = [];
    for (let ms = 1; ms <= seconds * 1000; ms++) {
      clock.advance(1);
      if (ms % 50 === 0) sender.tick();
      while ((unacknowledged[0]?.atMs ?? Number.POSITIVE_INFINITY) <= clock.nowMs()) {
        const { id, sequence } = unacknowledged.shift() ?? { id: "", sequence: 0 };
        sender.onMessage({ kind: "ack", id, sequence });
      }
      if (ms % 1000 === 0) sent.push(stats.snapshotBytesSent - sent.reduce((sum, bytes) => sum + bytes, 0));
    }
    sender.close();
    return sent;
  }

  it("comes up to its rate where chunks arrive promptly, and keeps to it, after a rest too (R13)", () => {
    const sent = perSecond(1_000_000, 5, () => 2);
    expect(Math.max(...sent)).toBeLessThan(1.1 * 1_000_000);
    expect(sent.at(-1)).toBeGreaterThan(0.9 * 1_000_000);
  });

  it("gives way where chunks queue, but never wholly (R13)", () => {
    const sent = perSecond(1_000_000, 8, (ms) => (ms < 8_000 ? 2 : 40 + (ms % 30)));
    expect(Math.max(...sent.slice(0, 3))).toBeGreaterThan(0.8 * 1_000_000);
    expect(sent.at(-1)).toBeLessThan(0.2 * 1_000_000);
    expect(sent.at(-1)).toBeGreaterThan(0.1 * 1_000_000);
  });

  it("sends no second chunk before the first was taken, then a few for each that is taken (R13)", () => {
    const rows = [1, 2, 3].map((i) => Uint8Array.of(i));
    const { sender, bodies } = sentOf("leader", 6, rows);
    expect(bodies.map((body) => body.kind === "chunk" && body.sequence)).toEqual([0]);
    sender.onMessage({ kind: "ack", id: bodies[0]?.id ?? "", sequence: 0 });
    expect(bodies.map((body) => body.kind === "chunk" && body.sequence)).toEqual([0, 1, 2]);
  });

  it("waits where the window to a node is full, and goes on with what it had read (R28)", () => {
    let full = false;
    const rows = [1, 2].map((i) => Uint8Array.of(i));
    const { sender, bodies } = sentOf("leader", 6, rows, () => full);
    full = true;
    const id = bodies[0]?.id ?? "";
    sender.onMessage({ kind: "ack", id, sequence: 0 });
    sender.tick();
    expect(bodies).toHaveLength(1);
    expect(sender.active).toBe(1);
    full = false;
    sender.tick();
    sender.onMessage({ kind: "ack", id, sequence: 1 });
    expect(bodies.map((body) => body.kind === "chunk" && body.sequence)).toEqual([0, 1, 2]);
    expect(bodies.at(-1)).toMatchObject({ end: { chunks: 2 } });
  });

  it("sends nothing that another leadership asked for", () => {
    expect(sent("follower", 6)).toEqual([]);
    expect(sent("leader", 5)).toEqual([]);
  });
});
