import { expect } from "vitest";
import { silentLogger } from "#runtime";
import { type JoinAnswer, JoinExchange } from "../join.ts";
import type { TransportEvent } from "../transport.ts";
import { bytes, type Cases, text, texts } from "./bench.ts";

/** Connections, heartbeats, who is there, and joiners. */
export const peerCases: Cases = {
  "comes back after the server was killed, says so, and delivers again": async (at) => {
    const a = await at.node({ self: "1" });
    const b = await at.node({ self: "2" });
    a.mesh.send("2", "raft", bytes("before"));
    await at.until(() => b.got.length === 1, "the first");
    await at.kill();
    await at.until(() => !a.mesh.connected && !b.mesh.connected, "the break");
    await at.restart();
    await at.until(() => a.mesh.connected && b.mesh.connected, "the reconnect");
    const kinds = a.events.filter(({ kind }) => kind !== "peer_up" && kind !== "peer_reconnected");
    expect(kinds).toEqual([
      { kind: "connected", epoch: 1 },
      { kind: "disconnected" },
      { kind: "connected", epoch: 2 },
    ]);
    await at.until(() => {
      a.mesh.send("2", "raft", bytes("after"));
      return texts(b).includes("after");
    }, "traffic again");
  },
  "drops what was queued when the connection breaks": async (at) => {
    const a = await at.node({ self: "1" });
    await at.kill();
    if (a.mesh.connected) a.mesh.send("2", "raft", bytes("x"));
    await at.until(() => !a.mesh.connected, "the break");
    expect(a.mesh.send("2", "raft", bytes("x"))).toBe("disconnected");
    expect(a.mesh.send("1", "raft", bytes("to itself"))).toBe("queued");
    await at.until(() => a.got.length === 1, "the local one");
  },
  "exchanges heartbeats, and hears the peer by them": async (at) => {
    const a = await at.node({ self: "1", heartbeatMs: 20 });
    const b = await at.node({ self: "2", heartbeatMs: 20 });
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
  },
  "R8: a node whose heartbeat has no body is silent": async (at) => {
    const a = await at.node({ self: "1", heartbeatMs: 10 });
    const b = await at.node({ self: "2", heartbeatMs: 10 });
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
  },
  "R21: a peer whose process is gone is absent, once, and comes up again": async (at) => {
    const absence = { leaseMs: 40, minConnectionAgeMs: 60 };
    const a = await at.node({ self: "1", heartbeatMs: 20, absence });
    const b = await at.node({ self: "2", heartbeatMs: 20, absence });
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
    const again = await at.node({ self: "2", boot: "b2-second", heartbeatMs: 20, absence });
    again.mesh.heartbeat(["1"], () => bytes("z"));
    const boots = (): string[] => a.events.flatMap((e) => (e.kind === "peer_up" ? [e.peer.boot] : []));
    await at.until(() => boots().length === 2, "the new process");
    expect(boots()).toEqual(["b2", "b2-second"]);
  },
  "R21: a restart of the server makes nobody absent": async (at) => {
    const absence = { leaseMs: 0, minConnectionAgeMs: 0 };
    const a = await at.node({ self: "1", heartbeatMs: 5, absence });
    const b = await at.node({ self: "2", heartbeatMs: 5, absence });
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
  },
  "two processes of one address: the later one counts, the earlier one is dropped": async (at) => {
    const a = await at.node({ self: "1" });
    const first = await at.node({ self: "2", boot: "first" });
    const second = await at.node({ self: "2", boot: "second" });
    first.mesh.send("1", "raft", bytes("from the first"));
    await at.until(() => a.got.length === 1, "the first");
    second.mesh.send("1", "raft", bytes("from the second"));
    await at.until(() => a.got.length === 2, "the second");
    first.mesh.send("1", "raft", bytes("from the past"));
    await at.until(() => a.mesh.stats.dropped.stale_boot === 1, "the drop");
    expect(a.got.map(({ from }) => from.boot)).toEqual(["first", "second"]);
    expect(a.events.filter(({ kind }) => kind === "peer_up")).toHaveLength(2);
  },
  "R30: joiners are answered by the members, and told at once when there are none": async (at) => {
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
      const member = await at.node({ self });
      const exchange = new JoinExchange({
        clusterName: "test",
        self,
        wire: member.wire,
        logger: silentLogger,
      });
      exchange.serve((from, body, reply) => reply(bytes(`${self} to ${from}: ${text(body)}`)));
      await at.settled(member.wire);
    }
    answers.length = 0;
    joiner.ask(bytes("hello"), (answer) => answers.push(answer));
    await at.until(() => answers.length === 2, "both answers");
    const said = answers.map((answer) => (answer.kind === "answer" ? text(answer.body) : answer.kind));
    expect(said.sort()).toEqual(["1 to x1f: hello", "2 to x1f: hello"]);
    expect(at.meshes.every((mesh) => mesh.stats.dropped.malformed === 0)).toBe(true);
    joiner.close();
  },
};
