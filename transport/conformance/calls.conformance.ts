import { expect } from "vitest";
import type { RpcResult } from "../rpc.ts";
import { bytes, type Cases, text } from "./bench.ts";

/** Requests and answers. */
export const callCases: Cases = {
  "answers calls, by number and by name, late ones and to itself too": async (at) => {
    const a = await at.rpcNode({ self: "1" });
    const b = await at.rpcNode({ self: "2" });
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
  },
  "does not wait for the answer to a call that a peer's own break may have swallowed": async (at) => {
    const a = await at.rpcNode({ self: "1", heartbeatMs: 20 });
    const b = await at.rpcNode({ self: "2", heartbeatMs: 20 });
    a.mesh.heartbeat(["2"], () => new Uint8Array(0));
    b.mesh.heartbeat(["1"], () => new Uint8Array(0));
    b.rpc.serve(1, () => {});
    await at.until(() => a.mesh.lastHeardMs("2") !== undefined, "the peer");
    const results: RpcResult[] = [];
    a.mesh.onEvent(({ kind }) => {
      // Our own link is up before anything is known of the peer's.
      if (kind === "connected") a.rpc.call("2", 1, bytes("x"), 30_000, (result) => results.push(result));
    });
    await at.kill();
    await at.restart();
    await at.until(() => results.length === 1, "the failure");
    expect(results).toEqual([{ ok: false, reason: "disconnected", sent: true }]);
  },
  "R24: a failed call says whether it can have left": async (at) => {
    const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
    const a = await at.rpcNode({ self: "1", limits });
    const b = await at.rpcNode({ self: "2", limits });
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
  },
  "R28: answers that meet a full window wait for it, each goes once, in order": async (at) => {
    const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
    const a = await at.rpcNode({ self: "1", limits, heartbeatMs: 20 });
    const b = await at.rpcNode({ self: "2", limits, heartbeatMs: 20 });
    b.rpc.serve(1, (_, body, reply) => {
      const answer = new Uint8Array(7000);
      answer[0] = body[0] ?? 0;
      reply(answer);
    });
    const results: (number | undefined)[] = [];
    for (let i = 1; i <= 20; i++) {
      a.rpc.call("2", 1, Uint8Array.of(i), 30_000, (result) =>
        results.push(result.ok ? result.body[0] : undefined),
      );
    }
    await at.until(() => results.length === 20, "all answers");
    expect(results).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(b.mesh.stats.windowStalls).toBeGreaterThan(0);
    expect(b.rpc.stats.responsesLost).toBe(0);
  },
  "R28: an answer for which there is no room at all is said to be lost": async (at) => {
    const limits = { windowBytes: 20_000, minWindowBytes: 20_000 };
    const a = await at.rpcNode({ self: "1", limits });
    const b = await at.rpcNode({ self: "2", limits });
    // The same bytes again and again: what waits is counted, not copied.
    const large = new Uint8Array(4 * 1024 * 1024);
    b.rpc.serve(1, (_, __, reply) => reply(large));
    const refused: RpcResult[] = [];
    for (let i = 0; i < 40; i++) {
      a.rpc.call("2", 1, bytes("x"), 30_000, (result) => {
        if (!result.ok) refused.push(result);
      });
    }
    await at.until(() => refused.length > 0, "a refusal");
    expect(refused[0]).toEqual({ ok: false, reason: "too_busy", sent: true });
    expect(b.rpc.stats.responsesLost).toBeGreaterThan(0);
  },
  "calls fail when the peer's process is gone or replaced, and late answers change nothing": async (at) => {
    const absence = { leaseMs: 40, minConnectionAgeMs: 60 };
    const a = await at.rpcNode({ self: "1", heartbeatMs: 20, absence });
    const first = await at.rpcNode({ self: "2", boot: "first", heartbeatMs: 20 });
    const replies: (() => void)[] = [];
    first.rpc.serve(1, (_, __, reply) => replies.push(() => reply(bytes("late"))));
    a.mesh.heartbeat(["2"], () => bytes("x"));
    first.mesh.heartbeat(["1"], () => bytes("x"));
    await at.until(() => a.mesh.lastHeardMs("2") !== undefined, "the peer");
    const results: RpcResult[] = [];
    a.rpc.call("2", 1, bytes("x"), 30_000, (result) => results.push(result));
    await at.until(() => replies.length === 1, "the request");
    const second = await at.rpcNode({ self: "2", boot: "second", heartbeatMs: 20 });
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
  },
};
