import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { seededRandom, silentLogger, VirtualClock } from "#runtime";
import { type SimLink, SimNetwork, type SimNetworkOptions } from "./memory.ts";
import { Mesh, type MeshOptions } from "./mesh.ts";
import type { TransportEvent } from "./transport.ts";

interface Sim {
  readonly clock: VirtualClock;
  readonly network: SimNetwork;
  node(self: string, options?: Partial<MeshOptions>): SimNode;
}

interface SimNode {
  readonly mesh: Mesh;
  readonly got: string[];
  readonly events: TransportEvent[];
  crash(): void;
}

function sim(seed: number, link: Partial<SimLink> = {}, options: Partial<SimNetworkOptions> = {}): Sim {
  const clock = new VirtualClock();
  const network = new SimNetwork({ clock, random: seededRandom(seed), link, ...options });
  return {
    clock,
    network,
    node(self, more = {}) {
      const wire = network.wire(self);
      const base = {
        clusterName: "test",
        clusterId: "c",
        self,
        boot: `b${self}`,
        clock,
        logger: silentLogger,
      };
      const mesh = new Mesh({ ...base, ...more, wire });
      const node: SimNode = { mesh, got: [], events: [], crash: () => void wire.close() };
      mesh.handle("raft", (from, body) => node.got.push(`${from.address}:${Buffer.from(body)}`));
      mesh.onEvent((event) => node.events.push(event));
      clock.advance(1);
      return node;
    },
  };
}

const body = (of: number | string): Uint8Array => Buffer.from(String(of));
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const kinds = (node: SimNode): string[] => node.events.map(({ kind }) => kind);

describe("the simulated network", () => {
  it("gives the same run for the same seed, another for another", () => {
    const run = (seed: number): string[] => {
      const { clock, node } = sim(seed, { loss: 0.2, duplicate: 0.2, reorder: 0.3, delayMsMax: 30 });
      const [a, b] = [node("1"), node("2")];
      for (const i of range(100)) {
        a.mesh.send("2", "raft", body(i));
        clock.advance(1);
      }
      clock.advance(100);
      return b.got;
    };
    expect(run(1)).toEqual(run(1));
    expect(run(1)).not.toEqual(run(2));
  });

  it("loses, duplicates and reorders as told, and keeps order when not told to reorder", () => {
    const run = (link: Partial<SimLink>): string[] => {
      const { clock, node } = sim(7, { delayMsMin: 1, delayMsMax: 40, ...link });
      const [a, b] = [node("1"), node("2")];
      for (const i of range(200)) {
        a.mesh.send("2", "raft", body(i));
        clock.advance(1);
      }
      clock.advance(100);
      return b.got;
    };
    const all = range(200).map((i) => `1:${i}`);
    expect(run({})).toEqual(all);
    expect(run({ loss: 0.5 }).length).toBeLessThan(150);
    expect(run({ duplicate: 0.5 }).length).toBeGreaterThan(250);
    const reordered = run({ reorder: 0.5 });
    expect(reordered).not.toEqual(all);
    expect([...reordered].sort()).toEqual([...all].sort());
  });

  it("cuts one way only, and heals", () => {
    const { clock, network, node } = sim(1);
    const [a, b] = [node("1"), node("2")];
    network.partition(["1"], ["2"], false);
    a.mesh.send("2", "raft", body("lost"));
    b.mesh.send("1", "raft", body("arrives"));
    clock.advance(10);
    expect([a.got, b.got]).toEqual([["2:arrives"], []]);
    network.heal();
    a.mesh.send("2", "raft", body("again"));
    clock.advance(10);
    expect(b.got).toEqual(["1:again"]);
  });

  it("holds what a paused host does not read, and cuts its connection beyond the server's bound", () => {
    const { clock, network, node } = sim(1, {}, { maxPendingBytes: 10_000 });
    const [a, b] = [node("1"), node("2")];
    network.pause("2");
    a.mesh.send("2", "raft", body("held"));
    clock.advance(10);
    expect(b.got).toEqual([]);
    network.resume("2");
    expect(b.got).toEqual(["1:held"]);
    network.pause("2");
    for (const _ of range(20)) {
      a.mesh.send("2", "raft", new Uint8Array(1_000));
      clock.advance(1);
    }
    expect(kinds(b)).toContain("disconnected");
    network.resume("2");
    clock.advance(200);
    expect(b.got).toEqual(["1:held"]);
    expect(b.mesh.connected).toBe(true);
  });

  it("delays what goes over a slow link by its size", () => {
    const { clock, network, node } = sim(1);
    const [a, b] = [node("1"), node("2")];
    network.setLink("1", "2", { bytesPerMs: 100 });
    a.mesh.send("2", "raft", new Uint8Array(10_000));
    clock.advance(90);
    expect(b.got).toHaveLength(0);
    clock.advance(20);
    expect(b.got).toHaveLength(1);
  });

  it("R21: says nobody listens for a process that is gone, not for one cut off or isolated", () => {
    const { clock, network, node } = sim(1);
    const nodes = ["1", "2", "3", "4"].map((self) => node(self));
    for (const { mesh } of nodes) mesh.heartbeat(["1", "2", "3", "4"], () => body("x"));
    clock.advance(1_000);
    nodes[1]!.crash();
    network.isolate("3");
    network.partition(["4"], ["1"]);
    const before = clock.nowMs();
    while (!kinds(nodes[0]!).includes("peer_absent")) clock.advance(10);
    // A beat until the first, two more over L, and the way there and back.
    expect(clock.nowMs() - before).toBeLessThanOrEqual(310);
    clock.advance(5_000);
    const absent = nodes[0]!.events.filter(({ kind }) => kind === "peer_absent");
    expect(absent).toEqual([{ kind: "peer_absent", address: "2" }]);
  });

  it("R21: a restart of the server makes nobody absent, in whatever order connections come back", () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const { clock, network, node } = sim(seed, {}, { reconnectMsMin: 10, reconnectMsMax: 900 });
        const absence = { minConnectionAgeMs: 0 };
        const nodes = ["1", "2", "3"].map((self) => node(self, { absence }));
        for (const { mesh } of nodes) mesh.heartbeat(["1", "2", "3"], () => body("x"));
        clock.advance(500);
        network.stopServer();
        clock.advance(50);
        network.startServer();
        clock.advance(2_000);
        for (const each of nodes) expect(kinds(each)).not.toContain("peer_absent");
      }),
      { numRuns: 30 },
    );
  });
});

describe("the packet layer over a bad network", () => {
  it("a lost fragment drops its packet, and nothing else", () => {
    const { clock, network, node } = sim(3, {}, { maxPayloadBytes: 2_000 });
    const [a, b] = [node("1"), node("2")];
    const large = (i: number): Uint8Array => Buffer.alloc(9_000, String(i % 10));
    network.setLink("1", "2", { loss: 0.2 });
    for (const i of range(50)) {
      a.mesh.send("2", "raft", large(i), "urgent");
      clock.advance(10);
    }
    network.heal();
    a.mesh.send("2", "raft", large(0), "urgent");
    clock.advance(10);
    const { stats } = b.mesh;
    expect(a.mesh.stats.fragmentsSent).toBe(51 * 5);
    expect(stats.fragmentsReceived).toBeLessThan(51 * 5);
    expect(b.got.length).toBe(stats.packetsReassembled);
    expect(b.got.length).toBeLessThan(51);
    expect(b.got.every((got) => got === `1:${Buffer.from(large(Number(got[2])))}`)).toBe(true);
    expect(b.got.at(-1)).toBe(`1:${Buffer.from(large(0))}`);
    // What waits for a lost piece is given up after a while.
    clock.advance(10_000);
    expect(stats.dropped.reassembly).toBeGreaterThan(0);
    expect(stats.dropped.malformed).toBe(0);
  });

  it("R28: whatever is lost, the window opens again once the network heals", () => {
    const link = fc.record({ loss: fc.constantFrom(0.05, 0.5, 1), reorder: fc.constantFrom(0, 0.3) });
    fc.assert(
      fc.property(fc.nat(), link, fc.boolean(), (seed, faults, watched) => {
        const { clock, network, node } = sim(seed, {}, { maxPayloadBytes: 4_000 });
        const limits = { windowBytes: 10_000, minWindowBytes: 10_000 };
        const [a, b] = [node("1", { limits }), node("2", { limits })];
        if (watched) {
          a.mesh.heartbeat(["2"], () => body("x"));
          b.mesh.heartbeat(["1"], () => body("x"));
        }
        clock.advance(10);
        network.setDefaultLink({ ...faults, duplicate: 0.1 });
        for (const _ of range(50)) {
          a.mesh.send("2", "raft", new Uint8Array(700));
          b.mesh.send("1", "raft", new Uint8Array(5_000));
          clock.advance(3);
        }
        network.setDefaultLink({ loss: 0, reorder: 0, duplicate: 0 });
        clock.advance(1_000);
        for (const [from, to] of [
          [a, "2"],
          [b, "1"],
        ] as const) {
          expect(from.mesh.send(to, "raft", new Uint8Array(9_000))).toBe("queued");
          clock.advance(300);
        }
      }),
      // A lost tail of less than half the window, and a message that needs more than the rest.
      { numRuns: 60, examples: [[728687507, { loss: 0.5, reorder: 0 }, false]] },
    );
  });

  it("R28: the window opens again when only one side reconnected, or was replaced", () => {
    const { clock, network, node } = sim(5);
    const limits = { windowBytes: 10_000, minWindowBytes: 10_000 };
    const [a, b] = [node("1", { limits }), node("2", { limits })];
    const fill = (): void => {
      while (a.mesh.send("2", "raft", new Uint8Array(900)) === "queued");
      a.mesh.flush();
    };
    network.setLink("1", "2", { cut: true });
    fill();
    network.disconnect("2");
    network.heal();
    clock.advance(150);
    b.mesh.send("1", "raft", body("on a new connection"));
    clock.advance(5);
    expect(a.mesh.send("2", "raft", new Uint8Array(900))).toBe("queued");
    network.setLink("1", "2", { cut: true });
    fill();
    b.crash();
    network.heal();
    const second = node("2", { limits, boot: "second" });
    second.mesh.send("1", "raft", body("a new process"));
    clock.advance(5);
    expect(a.mesh.send("2", "raft", new Uint8Array(900))).toBe("queued");
  });

  it("R28: what is granted to all sources together stays below half of what the server keeps", () => {
    const { clock, node } = sim(1);
    const limits = { windowBytes: 100_000, minWindowBytes: 1_000, natsMaxPendingBytes: 100_000 };
    const target = node("1", { limits });
    const sources = range(10).map((i) => node(String(i + 2), { limits }));
    const all = range(11).map((i) => String(i + 1));
    for (const { mesh } of [target, ...sources]) mesh.heartbeat(all, () => body("x"));
    clock.advance(5_000);
    let taken = 0;
    for (const { mesh } of sources)
      while (mesh.send("1", "raft", new Uint8Array(100)) === "queued") taken += 105;
    expect(taken).toBeLessThanOrEqual(50_000);
    expect(taken).toBeGreaterThan(40_000);
  });

  it("forgets sources that are long silent, and works with them again", () => {
    const { clock, node } = sim(1);
    const [a, b] = [node("1"), node("x2")];
    a.mesh.send("x2", "raft", body("one"));
    b.mesh.send("1", "raft", body("two"));
    clock.advance(200_000);
    expect(a.mesh.lastHeardMs("x2")).toBeUndefined();
    for (const i of range(3)) {
      a.mesh.send("x2", "raft", body(i));
      b.mesh.send("1", "raft", body(i));
      clock.advance(10);
    }
    expect(b.got).toEqual(["1:one", "1:0", "1:1", "1:2"]);
    expect(a.got).toEqual(["x2:two", "x2:0", "x2:1", "x2:2"]);
  });

  it("random bytes on its subjects are counted, and harm nobody", () => {
    const { clock, network, node } = sim(1);
    const b = node("2");
    const noise = network.wire("noise");
    clock.advance(1);
    let sent = 0;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        if (((bytes[1] ?? 0) & 8) !== 0) return;
        sent++;
        noise.publish("kvorum.test.2.9", bytes);
        clock.advance(1);
      }),
    );
    const { dropped } = b.mesh.stats;
    expect(dropped.version + dropped.malformed + dropped.cluster + dropped.destination).toBe(sent);
    expect(b.got).toEqual([]);
    expect(b.events.some(({ kind }) => kind === "peer_up")).toBe(false);
  });
});
