import { afterEach, describe, expect, it } from "vitest";
import { type Clock, silentLogger } from "#runtime";
import { type JoinAnswer, JoinExchange } from "./join.ts";
import { Mesh, type MeshOptions } from "./mesh.ts";
import { Rpc, type RpcResult } from "./rpc.ts";
import type { Channel, Sender, TransportEvent } from "./transport.ts";
import type { Wire } from "./wire.ts";

/** A network that wires can be made of: real, or simulated with its own time. */
export interface WireWorld {
  readonly clock: Clock;
  /** A connected wire of a host. */
  wire(host: string): Promise<Wire>;
  /** Lets the world go on until the condition holds; throws after a generous while. */
  until(holds: () => boolean, what: string): Promise<void>;
  /** The network's server dies without a word. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

const cluster = "c0ffee00c0ffee00c0ffee00c0ffee00";

interface Node {
  readonly mesh: Mesh;
  readonly wire: Wire;
  readonly got: { readonly from: Sender; readonly channel: Channel; readonly body: Uint8Array }[];
  readonly events: TransportEvent[];
  bursts: number;
}

type NodeOptions = Partial<MeshOptions> & { readonly self: string };

/** What every pair of `Mesh` and `Wire` must keep to; run over each kind of wire. */
export function transportConformance(name: string, makeWorld: () => Promise<WireWorld>): void {
  describe(`transport over ${name}`, () => {
    let world: WireWorld | undefined;
    const meshes: Mesh[] = [];

    afterEach(async () => {
      await Promise.all(meshes.splice(0).map((mesh) => mesh.close()));
      await world?.close();
      world = undefined;
    });

    const open = async (): Promise<WireWorld> => {
      world = await makeWorld();
      return world;
    };

    const node = async (at: WireWorld, options: NodeOptions): Promise<Node> => {
      const wire = options.wire ?? (await at.wire(options.self));
      const mesh = new Mesh({
        clusterName: "test",
        clusterId: cluster,
        boot: `b${options.self}`,
        clock: at.clock,
        logger: silentLogger,
        ...options,
        wire,
      });
      meshes.push(mesh);
      const made: Node = { mesh, wire, got: [], events: [], bursts: 0 };
      for (const channel of ["raft", "request", "response", "bulk", "event"] as const) {
        mesh.handle(channel, (from, body) => made.got.push({ from, channel, body: new Uint8Array(body) }));
      }
      mesh.onEvent((event) => made.events.push(event));
      mesh.onBurstEnd(() => {
        made.bursts++;
      });
      return made;
    };

    const texts = (of: Node): string[] => of.got.map(({ body }) => text(body));

    it("keeps the order of each pair, over all channels", async () => {
      const at = await open();
      const [a, b, c] = [
        await node(at, { self: "1" }),
        await node(at, { self: "2" }),
        await node(at, { self: "3" }),
      ];
      const channels: Channel[] = ["raft", "request", "event"];
      for (let i = 0; i < 300; i++) {
        a.mesh.send("3", channels[i % 3] ?? "raft", bytes(`a${i}`));
        b.mesh.send("3", channels[i % 3] ?? "raft", bytes(`b${i}`));
        if (i % 7 === 0) a.mesh.flush();
      }
      await at.until(() => c.got.length === 600, "all messages");
      for (const [sender, letter] of [
        ["1", "a"],
        ["2", "b"],
      ] as const) {
        const from = c.got.filter((message) => message.from.address === sender);
        expect(from.map(({ body }) => text(body))).toEqual(range(300).map((i) => `${letter}${i}`));
        expect(from.map(({ channel }) => channel)).toEqual(range(300).map((i) => channels[i % 3]));
        expect(from[0]?.from.boot).toBe(`b${sender}`);
      }
    });

    it("sends one packet to each destination in a flush", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      const b = await node(at, { self: "2" });
      const c = await node(at, { self: "3" });
      for (let i = 0; i < 20; i++) {
        a.mesh.send("2", "raft", bytes(`b${i}`));
        a.mesh.send("3", "raft", bytes(`c${i}`));
      }
      a.mesh.flush();
      await at.until(() => b.got.length === 20 && c.got.length === 20, "all messages");
      expect(a.mesh.stats).toMatchObject({ packetsSent: 2, messagesSent: 40 });
      expect(b.mesh.stats).toMatchObject({ packetsReceived: 1, messagesReceived: 20 });
      await at.until(() => b.bursts === 1, "the end of the burst");
    });

    it("flushes by itself after the next poll", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      const b = await node(at, { self: "2" });
      expect(a.mesh.send("2", "raft", bytes("x"))).toBe("queued");
      await at.until(() => b.got.length === 1, "the message");
      expect(a.mesh.stats.packetsSent).toBe(1);
    });

    it("delivers to itself off the network, in one burst, later", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      a.mesh.send("1", "request", bytes("x"));
      a.mesh.send("1", "raft", bytes("y"));
      expect(a.got).toEqual([]);
      await at.until(() => a.got.length === 2, "both");
      expect(a.got.map(({ channel }) => channel)).toEqual(["request", "raft"]);
      expect(a.got[0]?.from).toEqual({ address: "1", boot: "b1" });
      expect(a.bursts).toBe(1);
      expect(a.mesh.stats).toMatchObject({ packetsSent: 0, packetsReceived: 0, messagesLocal: 2 });
    });

    it("R1: drops packets of another cluster, counted, with the sender named", async () => {
      const at = await open();
      const a = await node(at, { self: "1", clusterId: "another" });
      const b = await node(at, { self: "2" });
      const foreign: string[] = [];
      b.mesh.onForeignCluster((from, id) => foreign.push(`${from} ${id}`));
      a.mesh.send("2", "raft", bytes("x"));
      await at.until(() => b.mesh.stats.dropped.cluster === 1, "the drop");
      expect(foreign).toEqual(["1 another"]);
      expect(b.got).toEqual([]);
      expect(b.events.some(({ kind }) => kind === "peer_up")).toBe(false);
    });

    it("R1: drops packets that came to the wrong node, or of another format", async () => {
      const at = await open();
      const b = await node(at, { self: "2" });
      const relay = await at.wire("9");
      const misled: Uint8Array[] = [];
      relay.subscribe("kvorum.test.7.*", (_, data) => misled.push(data));
      const a = await node(at, { self: "1" });
      await settled(at, relay);
      a.mesh.send("7", "raft", bytes("x"));
      await at.until(() => misled.length === 1, "a packet for 7");
      relay.publish("kvorum.test.2.1", misled[0] ?? new Uint8Array(0));
      relay.publish("kvorum.test.2.1", Uint8Array.of(99, 0, 1, 2, 3));
      relay.publish("kvorum.test.2.1", new Uint8Array(0));
      await at.until(() => b.mesh.stats.packetsReceived === 3, "all three");
      expect(b.mesh.stats.dropped).toMatchObject({ destination: 1, version: 1, malformed: 1 });
      expect(b.got).toEqual([]);
    });

    it("R28: fragments what is above the network's limit and joins it again", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      const b = await node(at, { self: "2" });
      const large = new Uint8Array(3_000_000).map((_, i) => (i * 7) & 255);
      a.mesh.send("2", "raft", bytes("before"));
      expect(a.mesh.send("2", "bulk", large)).toBe("window_full");
      await at.until(() => b.got.length === 1, "the first");
      a.mesh.send("1", "raft", bytes("x"));
      b.mesh.send("1", "raft", bytes("an acknowledgement"));
      await at.until(() => a.got.length === 2, "the answer");
      expect(a.mesh.send("2", "bulk", large)).toBe("queued");
      expect(a.mesh.send("2", "raft", bytes("after"))).toBe("queued");
      await at.until(() => b.got.length === 3, "all three");
      expect(b.got[1]?.channel).toBe("bulk");
      expect(Buffer.from(b.got[1]?.body ?? []).equals(Buffer.from(large))).toBe(true);
      expect(texts(b).at(-1)).toBe("after");
      expect(b.mesh.stats).toMatchObject({ packetsReassembled: 1, fragmentsReceived: 3 });
      const huge = new Uint8Array(a.mesh.maxMessageBytes + 1);
      expect(a.mesh.send("2", "bulk", huge)).toBe("too_large");
    });

    it("R28: a peer that never acknowledges fills its own window and stalls nobody else", async () => {
      const at = await open();
      const dead = await at.wire("2");
      let received = 0;
      dead.subscribe("kvorum.test.2.*", () => {
        received++;
      });
      await settled(at, dead);
      const limits = { windowBytes: 100_000, minWindowBytes: 50_000 };
      const a = await node(at, { self: "1", limits });
      const c = await node(at, { self: "3", limits });
      let queued = 0;
      while (a.mesh.send("2", "raft", new Uint8Array(1_000)) === "queued" && queued < 1_000) queued++;
      expect(queued).toBeGreaterThanOrEqual(45);
      expect(queued).toBeLessThan(100);
      expect(a.mesh.send("2", "raft", bytes("a vote"), "urgent")).toBe("queued");
      for (let i = 0; i < 500; i++) {
        expect(a.mesh.send("3", "raft", new Uint8Array(1_000))).toBe("queued");
        await at.until(() => c.got.length > i, "the flow to the healthy one");
      }
      expect(a.mesh.send("2", "raft", new Uint8Array(1_000))).toBe("window_full");
      expect(a.mesh.stats.windowStalls).toBeGreaterThanOrEqual(2);
      await at.until(() => received >= 1, "something at the stopped one");
    });

    it("R28: the window refills through acknowledgements alone, with no traffic back", async () => {
      const at = await open();
      const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
      const a = await node(at, { self: "1", limits });
      const b = await node(at, { self: "2", limits });
      let sent = 0;
      const pump = (): void => {
        while (sent < 400 && a.mesh.send("2", "raft", new Uint8Array(1_000)) === "queued") sent++;
      };
      pump();
      expect(sent).toBeLessThan(21);
      await at.until(() => {
        pump();
        return b.got.length === 400;
      }, "all messages");
      expect(b.mesh.stats.acksSent).toBeGreaterThan(0);
    });

    it("R28: the window refills after a reconnect, however much was lost", async () => {
      const at = await open();
      const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
      const a = await node(at, { self: "1", limits });
      const mute = await at.wire("2");
      let heard = 0;
      mute.subscribe("kvorum.test.2.*", () => {
        heard++;
      });
      await settled(at, mute);
      while (a.mesh.send("2", "raft", new Uint8Array(1_000)) === "queued");
      a.mesh.flush();
      expect(a.mesh.send("2", "raft", new Uint8Array(1_000))).toBe("window_full");
      await at.kill();
      await at.until(() => !a.mesh.connected, "the break");
      expect(a.mesh.send("2", "raft", new Uint8Array(1_000))).toBe("disconnected");
      await at.restart();
      await at.until(() => a.mesh.connected && mute.connected, "the reconnect");
      expect(a.mesh.send("2", "raft", new Uint8Array(1_000))).toBe("queued");
      const before = heard;
      await at.until(() => {
        a.mesh.send("2", "raft", bytes("again"), "urgent");
        return heard > before;
      }, "traffic again");
    });

    it("comes back after the server was killed, says so, and delivers again", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      const b = await node(at, { self: "2" });
      a.mesh.send("2", "raft", bytes("before"));
      await at.until(() => b.got.length === 1, "the first");
      await at.kill();
      await at.until(() => !a.mesh.connected && !b.mesh.connected, "the break");
      await at.restart();
      await at.until(() => a.mesh.connected && b.mesh.connected, "the reconnect");
      const kinds = a.events.filter(({ kind }) => kind !== "peer_up");
      expect(kinds).toEqual([
        { kind: "connected", epoch: 1 },
        { kind: "disconnected" },
        { kind: "connected", epoch: 2 },
      ]);
      await at.until(() => {
        a.mesh.send("2", "raft", bytes("after"));
        return texts(b).includes("after");
      }, "traffic again");
    });

    it("drops what was queued when the connection breaks", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      await at.kill();
      if (a.mesh.connected) a.mesh.send("2", "raft", bytes("x"));
      await at.until(() => !a.mesh.connected, "the break");
      expect(a.mesh.send("2", "raft", bytes("x"))).toBe("disconnected");
      expect(a.mesh.send("1", "raft", bytes("to itself"))).toBe("queued");
      await at.until(() => a.got.length === 1, "the local one");
    });

    it("exchanges heartbeats, and hears the peer by them", async () => {
      const at = await open();
      const a = await node(at, { self: "1", heartbeatMs: 20 });
      const b = await node(at, { self: "2", heartbeatMs: 20 });
      const beats: string[] = [];
      b.mesh.onHeartbeat((from, body) => beats.push(`${from.address} ${from.boot} ${text(body)}`));
      expect(b.mesh.lastHeardMs("1")).toBeUndefined();
      a.mesh.heartbeat(["1", "2"], () => bytes("tick"));
      b.mesh.heartbeat(["1"], () => new Uint8Array(0));
      await at.until(() => beats.length >= 3 && a.mesh.lastHeardMs("2") !== undefined, "beats");
      expect(beats[0]).toBe("1 b1 tick");
      expect(b.mesh.lastHeardMs("1")).toBeDefined();
      expect(b.events.filter(({ kind }) => kind === "peer_up")).toEqual([
        { kind: "peer_up", peer: { address: "1", boot: "b1" } },
      ]);
      expect(b.mesh.stats.messagesReceived).toBe(0);
    });

    it("R8: a node whose heartbeat has no body is silent", async () => {
      const at = await open();
      const a = await node(at, { self: "1", heartbeatMs: 10 });
      const b = await node(at, { self: "2", heartbeatMs: 10 });
      let body: Uint8Array | undefined = bytes("x");
      let asked = 0;
      a.mesh.heartbeat(["2"], () => {
        asked++;
        return body;
      });
      await at.until(() => b.mesh.stats.heartbeatsReceived > 1, "beats");
      body = undefined;
      const sent = a.mesh.stats.packetsSent;
      const until = asked + 5;
      await at.until(() => asked >= until, "silent beats");
      expect(a.mesh.stats.packetsSent).toBe(sent);
    });

    it("R21: a peer whose process is gone is absent, once, and comes up again", async () => {
      const at = await open();
      const absence = { leaseMs: 40, minConnectionAgeMs: 60 };
      const a = await node(at, { self: "1", heartbeatMs: 20, absence });
      const b = await node(at, { self: "2", heartbeatMs: 20, absence });
      a.mesh.heartbeat(["2", "5"], () => bytes("x"));
      b.mesh.heartbeat(["1"], () => bytes("y"));
      await at.until(() => a.mesh.lastHeardMs("2") !== undefined, "the peer");
      await b.mesh.close();
      const absent = (): TransportEvent[] => a.events.filter(({ kind }) => kind === "peer_absent");
      await at.until(() => absent().length > 0, "the absence");
      const seen = a.mesh.stats.noRespondersReceived;
      await at.until(() => a.mesh.stats.noRespondersReceived > seen + 6, "further refusals");
      // 5 was never heard: that nobody is there says nothing new.
      expect(absent()).toEqual([{ kind: "peer_absent", address: "2" }]);
      const again = await node(at, { self: "2", boot: "b2-second", heartbeatMs: 20, absence });
      again.mesh.heartbeat(["1"], () => bytes("z"));
      const boots = (): string[] => a.events.flatMap((e) => (e.kind === "peer_up" ? [e.peer.boot] : []));
      await at.until(() => boots().length === 2, "the new process");
      expect(boots()).toEqual(["b2", "b2-second"]);
    });

    it("R21: a restart of the server makes nobody absent", async () => {
      const at = await open();
      const absence = { leaseMs: 0, minConnectionAgeMs: 0 };
      const a = await node(at, { self: "1", heartbeatMs: 5, absence });
      const b = await node(at, { self: "2", heartbeatMs: 5, absence });
      a.mesh.heartbeat(["2"], () => bytes("x"));
      b.mesh.heartbeat(["1"], () => bytes("y"));
      await at.until(() => a.mesh.lastHeardMs("2") !== undefined, "the peer");
      await at.kill();
      await at.until(() => !a.mesh.connected && !b.mesh.connected, "the break");
      await at.restart();
      await at.until(() => a.mesh.connected && b.mesh.connected, "the reconnect");
      const before = b.mesh.stats.heartbeatsReceived;
      await at.until(() => b.mesh.stats.heartbeatsReceived > before + 3, "beats again");
      // Whoever is back first hears "no responders" for the other, on a connection that never heard it.
      expect(a.events.filter(({ kind }) => kind === "peer_absent")).toEqual([]);
      expect(b.events.filter(({ kind }) => kind === "peer_absent")).toEqual([]);
    });

    it("two processes of one address: the later one counts, the earlier one is dropped", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      const first = await node(at, { self: "2", boot: "first" });
      const second = await node(at, { self: "2", boot: "second" });
      first.mesh.send("1", "raft", bytes("from the first"));
      await at.until(() => a.got.length === 1, "the first");
      second.mesh.send("1", "raft", bytes("from the second"));
      await at.until(() => a.got.length === 2, "the second");
      first.mesh.send("1", "raft", bytes("from the past"));
      await at.until(() => a.mesh.stats.dropped.stale_boot === 1, "the drop");
      expect(a.got.map(({ from }) => from.boot)).toEqual(["first", "second"]);
      expect(a.events.filter(({ kind }) => kind === "peer_up")).toHaveLength(2);
    });

    it("a handler that throws is counted and stops nothing", async () => {
      const at = await open();
      const a = await node(at, { self: "1" });
      const wire = await at.wire("2");
      const b = new Mesh({
        clusterName: "test",
        clusterId: cluster,
        self: "2",
        boot: "b2",
        wire,
        clock: at.clock,
        logger: silentLogger,
      });
      meshes.push(b);
      await settled(at, wire);
      const seen: string[] = [];
      b.handle("raft", (_, body) => {
        seen.push(text(body));
        if (seen.length === 1) throw new Error("on purpose");
      });
      b.onBurstEnd(() => {
        throw new Error("on purpose");
      });
      for (const body of ["one", "two"]) a.mesh.send("2", "raft", bytes(body));
      a.mesh.send("2", "event", bytes("nobody listens to this channel"));
      await at.until(() => b.stats.dropped.handler_threw === 2, "both errors");
      a.mesh.send("2", "raft", bytes("three"));
      await at.until(() => seen.length === 3, "the next packet");
      expect(seen).toEqual(["one", "two", "three"]);
      expect(b.stats.dropped.unhandled).toBe(1);
    });

    it("sends bulk over a connection of its own, with a window of its own", async () => {
      const at = await open();
      const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
      const a = await node(at, { self: "1", bulkWire: await at.wire("1"), limits });
      const b = await node(at, { self: "2", bulkWire: await at.wire("2"), limits });
      while (a.mesh.send("2", "bulk", new Uint8Array(1_000)) === "queued");
      expect(a.mesh.send("2", "raft", bytes("x"))).toBe("queued");
      let sent = b.got.length;
      await at.until(() => {
        if (a.mesh.send("2", "bulk", new Uint8Array(1_000)) === "queued") sent++;
        return sent > 100;
      }, "the bulk window's refill");
    });

    it("R30: joiners are answered by the members, and told at once when there are none", async () => {
      const at = await open();
      const joiner = new JoinExchange({
        clusterName: "test",
        self: "x1f",
        wire: await at.wire("x1f"),
        logger: silentLogger,
      });
      const answers: JoinAnswer[] = [];
      joiner.ask(bytes("who is there?"), (answer) => answers.push(answer));
      await at.until(() => answers.length === 1, "that nobody is there");
      expect(answers).toEqual([{ kind: "nobody" }]);
      for (const self of ["1", "2"]) {
        const member = await node(at, { self });
        const exchange = new JoinExchange({
          clusterName: "test",
          self,
          wire: member.wire,
          logger: silentLogger,
        });
        exchange.serve((from, body, reply) => reply(bytes(`${self} to ${from}: ${text(body)}`)));
        await settled(at, member.wire);
      }
      answers.length = 0;
      joiner.ask(bytes("hello"), (answer) => answers.push(answer));
      await at.until(() => answers.length === 2, "both answers");
      const said = answers.map((answer) => (answer.kind === "answer" ? text(answer.body) : answer.kind));
      expect(said.sort()).toEqual(["1 to x1f: hello", "2 to x1f: hello"]);
      expect(meshes.every((mesh) => mesh.stats.dropped.malformed === 0)).toBe(true);
      joiner.close();
    });

    const rpcNode = async (at: WireWorld, options: NodeOptions): Promise<{ mesh: Mesh; rpc: Rpc }> => {
      const wire = await at.wire(options.self);
      const boot = options.boot ?? `b${options.self}`;
      const base = { clusterName: "test", clusterId: cluster, clock: at.clock, logger: silentLogger };
      const mesh = new Mesh({ ...base, ...options, boot, wire });
      meshes.push(mesh);
      await settled(at, wire);
      return { mesh, rpc: new Rpc({ transport: mesh, boot, clock: at.clock, logger: silentLogger }) };
    };

    it("answers calls, by number and by name, late ones and to itself too", async () => {
      const at = await open();
      const a = await rpcNode(at, { self: "1" });
      const b = await rpcNode(at, { self: "2" });
      const later: (() => void)[] = [];
      for (const { rpc } of [a, b]) {
        rpc.serve(7, (from, body, reply) => reply(bytes(`${from.address}:${text(body)}`)));
        rpc.serve("slow", (_, body, reply) => later.push(() => reply(new Uint8Array(body))));
      }
      const results: Record<string, RpcResult> = {};
      const call = (key: string, to: string, method: number | string): void =>
        a.rpc.call(to, method, bytes(key), 30_000, (result) => {
          results[key] = result;
        });
      call("far", "2", 7);
      call("self", "1", 7);
      call("slow", "2", "slow");
      call("unserved", "2", "nothing of this name");
      await at.until(() => later.length === 1 && Object.keys(results).length === 3, "the quick ones");
      for (const reply of later) reply();
      await at.until(() => "slow" in results, "the slow one");
      const answered = (key: string): string => {
        const result = results[key];
        return result?.ok ? text(result.body) : JSON.stringify(result);
      };
      expect(answered("far")).toBe("1:far");
      expect(answered("self")).toBe("1:self");
      expect(answered("slow")).toBe("slow");
      expect(results["unserved"]).toEqual({ ok: false, reason: "unreachable", sent: true });
      expect(a.rpc.pending).toBe(0);
    });

    it("R24: a failed call says whether it can have left", async () => {
      const at = await open();
      const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
      const a = await rpcNode(at, { self: "1", limits });
      const b = await rpcNode(at, { self: "2", limits });
      b.rpc.serve(1, () => {});
      const results: RpcResult[] = [];
      const call = (to: string, size: number, timeoutMs: number): void =>
        a.rpc.call(to, 1, new Uint8Array(size), timeoutMs, (result) => results.push(result));
      call("2", 1, 20);
      await at.until(() => results.length === 1, "the timeout");
      call("9", 19_000, 30_000);
      call("9", 19_000, 30_000);
      call("2", a.mesh.maxMessageBytes, 30_000);
      expect(results).toHaveLength(1);
      await at.until(() => results.length === 3, "the refusals");
      await at.kill();
      await at.until(() => results.length === 4, "the break");
      call("2", 1, 30_000);
      await at.until(() => results.length === 5, "the refusal");
      expect(results).toEqual([
        { ok: false, reason: "timeout", sent: true },
        { ok: false, reason: "too_busy", sent: false },
        { ok: false, reason: "too_large", sent: false },
        { ok: false, reason: "disconnected", sent: true },
        { ok: false, reason: "disconnected", sent: false },
      ]);
      expect(a.rpc.stats.failed).toEqual({
        timeout: 1,
        unreachable: 0,
        too_busy: 1,
        disconnected: 2,
        too_large: 1,
      });
    });

    it("calls fail when the peer's process is gone or replaced, and late answers change nothing", async () => {
      const at = await open();
      const absence = { leaseMs: 40, minConnectionAgeMs: 60 };
      const a = await rpcNode(at, { self: "1", heartbeatMs: 20, absence });
      const first = await rpcNode(at, { self: "2", boot: "first", heartbeatMs: 20 });
      const replies: (() => void)[] = [];
      first.rpc.serve(1, (_, __, reply) => replies.push(() => reply(bytes("late"))));
      a.mesh.heartbeat(["2"], () => bytes("x"));
      first.mesh.heartbeat(["1"], () => bytes("x"));
      await at.until(() => a.mesh.lastHeardMs("2") !== undefined, "the peer");
      const results: RpcResult[] = [];
      a.rpc.call("2", 1, bytes("x"), 30_000, (result) => results.push(result));
      await at.until(() => replies.length === 1, "the request");
      const second = await rpcNode(at, { self: "2", boot: "second", heartbeatMs: 20 });
      second.mesh.heartbeat(["1"], () => bytes("x"));
      await at.until(() => results.length === 1, "the replacement");
      for (const reply of replies) reply();
      await at.until(() => a.mesh.stats.dropped.stale_boot > 0, "the late answer");
      await Promise.all([first.mesh.close(), second.mesh.close()]);
      a.rpc.call("2", 1, bytes("x"), 30_000, (result) => results.push(result));
      await at.until(() => results.length === 2, "the absence");
      expect(results).toEqual([
        { ok: false, reason: "unreachable", sent: true },
        { ok: false, reason: "unreachable", sent: true },
      ]);
    });
  });
}

/** Subscriptions made so far are known to the server: a message to oneself has come round. */
async function settled(at: WireWorld, wire: Wire): Promise<void> {
  let round = false;
  const subject = `settle.${wire.epoch}.x`;
  const stop = wire.subscribe(subject, () => {
    round = true;
  });
  wire.publish(subject, new Uint8Array(0));
  await at.until(() => round, "the subscriptions");
  stop();
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function bytes(of: string): Uint8Array {
  return encoder.encode(of);
}

function text(of: Uint8Array): string {
  return decoder.decode(of);
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
