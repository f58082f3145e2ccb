import { expect } from "vitest";
import { silentLogger } from "#runtime";
import { Mesh } from "../mesh.ts";
import type { Channel } from "../transport.ts";
import { bytes, type Cases, cluster, range, text, texts } from "./bench.ts";

/** Packets: order, coalescing, identity, fragments, handlers. */
export const packetCases: Cases = {
  "keeps the order of each pair, over all channels": async (at) => {
    const [a, b, c] = [
      await at.node({ self: "1" }),
      await at.node({ self: "2" }),
      await at.node({ self: "3" }),
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
  },
  "sends one packet to each destination in a flush": async (at) => {
    const a = await at.node({ self: "1" });
    const b = await at.node({ self: "2" });
    const c = await at.node({ self: "3" });
    for (let i = 0; i < 20; i++) {
      a.mesh.send("2", "raft", bytes(`b${i}`));
      a.mesh.send("3", "raft", bytes(`c${i}`));
    }
    a.mesh.flush();
    await at.until(() => b.got.length === 20 && c.got.length === 20, "all messages");
    expect(a.mesh.stats).toMatchObject({ packetsSent: 2, messagesSent: 40 });
    expect(b.mesh.stats).toMatchObject({ packetsReceived: 1, messagesReceived: 20 });
    await at.until(() => b.bursts === 1, "the end of the burst");
  },
  "flushes by itself after the next poll": async (at) => {
    const a = await at.node({ self: "1" });
    const b = await at.node({ self: "2" });
    expect(a.mesh.send("2", "raft", bytes("x"))).toBe("queued");
    await at.until(() => b.got.length === 1, "the message");
    expect(a.mesh.stats.packetsSent).toBe(1);
  },
  "delivers to itself off the network, in one burst, later": async (at) => {
    const a = await at.node({ self: "1" });
    a.mesh.send("1", "request", bytes("x"));
    a.mesh.send("1", "raft", bytes("y"));
    expect(a.got).toEqual([]);
    await at.until(() => a.got.length === 2, "both");
    expect(a.got.map(({ channel }) => channel)).toEqual(["request", "raft"]);
    expect(a.got[0]?.from).toEqual({ address: "1", boot: "b1" });
    expect(a.bursts).toBe(1);
    expect(a.mesh.stats).toMatchObject({ packetsSent: 0, packetsReceived: 0, messagesLocal: 2 });
  },
  "R1: drops packets of another cluster, counted, with the sender named": async (at) => {
    const a = await at.node({ self: "1", clusterId: "another" });
    const b = await at.node({ self: "2" });
    const foreign: string[] = [];
    b.mesh.onForeignCluster((from, id) => foreign.push(`${from} ${id}`));
    a.mesh.send("2", "raft", bytes("x"));
    await at.until(() => b.mesh.stats.dropped.cluster === 1, "the drop");
    expect(foreign).toEqual(["1 another"]);
    expect(b.got).toEqual([]);
    expect(b.events.some(({ kind }) => kind === "peer_up")).toBe(false);
  },
  "R1: drops packets that came to the wrong node, or of another format": async (at) => {
    const b = await at.node({ self: "2" });
    const relay = await at.wire("9");
    const misled: Uint8Array[] = [];
    relay.subscribe("kvorum.test.7.*", (_, data) => misled.push(data));
    const a = await at.node({ self: "1" });
    await at.settled(relay);
    a.mesh.send("7", "raft", bytes("x"));
    await at.until(() => misled.length === 1, "a packet for 7");
    relay.publish("kvorum.test.2.1", misled[0] ?? new Uint8Array(0));
    relay.publish("kvorum.test.2.1", Uint8Array.of(99, 0, 1, 2, 3));
    relay.publish("kvorum.test.2.1", new Uint8Array(0));
    await at.until(() => b.mesh.stats.packetsReceived === 3, "all three");
    expect(b.mesh.stats.dropped).toMatchObject({ destination: 1, version: 1, malformed: 1 });
    expect(b.got).toEqual([]);
  },
  "R28: fragments what is above the network's limit and joins it again": async (at) => {
    const a = await at.node({ self: "1" });
    const b = await at.node({ self: "2" });
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
  },
  "a handler that throws is counted and stops nothing": async (at) => {
    const a = await at.node({ self: "1" });
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
    at.own(b);
    await at.settled(wire);
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
  },
};
