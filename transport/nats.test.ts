import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { realClock, silentLogger } from "#runtime";
import { transportConformance } from "./conformance.ts";
import { Mesh } from "./mesh.ts";
import { connectNats } from "./nats.ts";
import { freePort, type NatsServer, startNatsServer } from "./nats-server.ts";
import type { Wire } from "./wire.ts";

async function until(holds: () => boolean, what: string): Promise<void> {
  const giveUpMs = performance.now() + 15_000;
  while (!holds()) {
    if (performance.now() > giveUpMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

transportConformance("NATS", async () => {
  const server = await startNatsServer();
  const wires: Wire[] = [];
  return {
    clock: realClock(),
    until,
    async wire(host) {
      const options = { servers: [server.url], name: host, logger: silentLogger, timeoutMs: 10_000 };
      const wire = await connectNats(options);
      wires.push(wire);
      return wire;
    },
    kill: () => server.kill(),
    restart: () => server.restart(),
    async close() {
      await Promise.all(wires.map((wire) => wire.close()));
      await server.stop();
    },
  };
});

describe("NATS", () => {
  const ends: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  const start = async (port?: number): Promise<NatsServer> => {
    const server = await startNatsServer(port === undefined ? {} : { port });
    ends.push(() => server.stop());
    return server;
  };

  it("the first connect waits for a server that starts later", async () => {
    const port = await freePort();
    const servers = [`nats://127.0.0.1:${port}`];
    let tried = 0;
    const logger = { ...silentLogger, warn: () => void tried++ };
    const connecting = connectNats({ servers, name: "early", logger });
    await until(() => tried > 0, "a first failure");
    await start(port);
    const wire = await connecting;
    expect(wire).toMatchObject({ connected: true, epoch: 1, maxPayloadBytes: 1024 * 1024 });
    await wire.close();
  });

  it("the first connect is given up after its time, or when told", async () => {
    const servers = [`nats://127.0.0.1:${await freePort()}`];
    const options = { servers, name: "alone", logger: silentLogger };
    await expect(connectNats({ ...options, timeoutMs: 150 })).rejects.toThrow("no connection");
    const stop = new AbortController();
    const connecting = connectNats({ ...options, signal: stop.signal });
    stop.abort();
    await expect(connecting).rejects.toThrow("no connection");
  });

  it("R28: a subscriber that stops reading its socket holds up nobody else", async () => {
    const server = await start();
    const clock = realClock();
    const mesh = async (self: string): Promise<Mesh> => {
      const wire = await connectNats({ servers: [server.url], name: self, logger: silentLogger });
      const identity = { clusterName: "test", clusterId: "c", self, boot: `b${self}` };
      const made = new Mesh({ ...identity, wire, clock, logger: silentLogger });
      ends.push(() => made.close());
      return made;
    };
    const stalled = await stalledSubscriber(server.port, "kvorum.test.2.*");
    ends.push(() => void stalled.destroy());
    const [a, c] = [await mesh("1"), await mesh("3")];
    let got = 0;
    c.handle("raft", () => got++);
    a.send("3", "raft", new Uint8Array(0));
    await until(() => got > 0 || a.send("3", "raft", new Uint8Array(0)) !== "queued", "the healthy one");
    const before = got;
    let stalls = 0;
    for (let i = 0; i < 100; i++) {
      for (let n = 0; n < 4; n++) if (a.send("2", "raft", new Uint8Array(100_000)) !== "queued") stalls++;
      expect(a.send("3", "raft", new Uint8Array(1_000))).toBe("queued");
      const wanted = before + i + 1;
      await until(() => got >= wanted, "the flow to the healthy one");
    }
    expect(stalls).toBeGreaterThan(0);
    expect(a.connected && c.connected).toBe(true);
  });

  it("a handler that throws does not stop the reader", async () => {
    const server = await start();
    const wire = await connectNats({ servers: [server.url], name: "1", logger: silentLogger });
    ends.push(() => wire.close());
    let seen = 0;
    wire.subscribe("a.b", () => {
      seen++;
      throw new Error("on purpose");
    });
    wire.publish("a.b", new Uint8Array(1));
    wire.publish("a.b", new Uint8Array(1));
    await until(() => seen === 2, "both");
  });

  it("refuses what is too large, and everything once closed", async () => {
    const server = await start();
    const wire = await connectNats({ servers: [server.url], name: "1", logger: silentLogger });
    expect(wire.publish("a.b", new Uint8Array(wire.maxPayloadBytes + 1))).toBe(false);
    await wire.close();
    expect(wire.publish("a.b", new Uint8Array(1))).toBe(false);
    expect(wire.connected).toBe(false);
    await wire.close();
  });
});

/** A client that subscribes and then never reads again, so that all buffers on the way to it fill up. */
function stalledSubscriber(port: number, subject: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", reject);
    socket.on("data", (data) => {
      if (data.includes("INFO")) socket.write(`CONNECT {"verbose":false}\r\nSUB ${subject} 1\r\nPING\r\n`);
      if (!data.includes("PONG")) return;
      socket.pause();
      resolve(socket);
    });
  });
}
