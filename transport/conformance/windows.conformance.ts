import { expect } from "vitest";
import { bytes, type Cases } from "./bench.ts";

/** Byte windows (R28). */
export const windowCases: Cases = {
  "R28: a peer that never acknowledges fills its own window and stalls nobody else": async (at) => {
    const dead = await at.wire("2");
    let received = 0;
    dead.subscribe("kvorum.test.2.*", () => {
      received++;
    });
    await at.settled(dead);
    const limits = { windowBytes: 100_000, minWindowBytes: 50_000 };
    const a = await at.node({ self: "1", limits });
    const c = await at.node({ self: "3", limits });
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
  },
  "R28: the window refills through acknowledgements alone, with no traffic back": async (at) => {
    const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
    const a = await at.node({ self: "1", limits });
    const b = await at.node({ self: "2", limits });
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
  },
  "R28: the window refills after a reconnect, however much was lost": async (at) => {
    const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
    const a = await at.node({ self: "1", limits });
    const mute = await at.wire("2");
    let heard = 0;
    mute.subscribe("kvorum.test.2.*", () => {
      heard++;
    });
    await at.settled(mute);
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
  },
  "sends bulk over a connection of its own, with a window of its own": async (at) => {
    const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
    const a = await at.node({ self: "1", bulkWire: await at.wire("1"), limits });
    const b = await at.node({ self: "2", bulkWire: await at.wire("2"), limits });
    while (a.mesh.send("2", "bulk", new Uint8Array(1_000)) === "queued");
    expect(a.mesh.send("2", "raft", bytes("x"))).toBe("queued");
    let sent = b.got.length;
    await at.until(() => {
      if (a.mesh.send("2", "bulk", new Uint8Array(1_000)) === "queued") sent++;
      return sent > 100;
    }, "the bulk window's refill");
  },
};
