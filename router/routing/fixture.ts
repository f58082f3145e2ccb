import {
  type Address,
  decodeCommand,
  decodeReadRequest,
  decodeWriteRequest,
  encodeReadResponse,
  encodeRouteTable,
  encodeWriteResponse,
  type KeyspaceDescriptor,
  type KvCommand,
  kvMethods,
  type NodeId,
  type ReadRequest,
  type ReadResult,
  type Route,
  type RouteTable,
  routesMethod,
  type ShardDescriptor,
  slotBoundary,
  type WriteResult,
} from "#proto";
import { invariant, seededRandom, silentLogger, VirtualClock } from "#runtime";
import type { Method, Rpc, RpcHandler, RpcResult } from "#transport";
import { RouteCache } from "./route-cache.ts";
import { Router, type RouterOptions } from "./router.ts";

/** For the tests of this room: requests that wait for the test to answer them, and a small route table. */
export interface SentCall {
  readonly to: Address;
  readonly node: NodeId;
  readonly method: Method;
  readonly body: Uint8Array;
  readonly timeoutMs: number;
  readonly atMs: number;
  answered: boolean;
  fail(reason: "timeout" | "unreachable" | "too_busy" | "disconnected", sent: boolean): void;
  reply(body: Uint8Array): void;
}

/** Stands in for `Rpc`: nothing is delivered, the test answers. */
export class ScriptedRpc implements Pick<Rpc, "call" | "serve"> {
  readonly sent: SentCall[] = [];
  readonly served: Map<Method, RpcHandler> = new Map();
  /** Told of each request as it is sent. */
  onCall: (call: SentCall) => void = () => {};
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  call(
    to: Address,
    method: Method,
    body: Uint8Array,
    timeoutMs: number,
    done: (result: RpcResult) => void,
  ): void {
    const answer = (result: RpcResult): void => {
      if (call.answered) return;
      call.answered = true;
      done(result);
    };
    const call: SentCall = {
      to,
      node: Number(to),
      method,
      body,
      timeoutMs,
      atMs: this.#clock.nowMs(),
      answered: false,
      fail: (reason, sent) => answer({ ok: false, reason, sent }),
      reply: (bytes) => answer({ ok: true, body: bytes }),
    };
    this.#clock.after(timeoutMs, () => call.fail("timeout", true));
    this.sent.push(call);
    this.onCall(call);
  }

  serve(method: Method, handler: RpcHandler): void {
    this.served.set(method, handler);
  }

  of(method: Method): SentCall[] {
    return this.sent.filter((call) => call.method === method);
  }
}

export const keyspace: KeyspaceDescriptor = {
  id: 1,
  name: "default",
  partition: "hash",
  slots: 256,
  replicas: 3,
};

export function shard(
  id: number,
  fromSlot: number,
  toSlot: number,
  more: Partial<ShardDescriptor> = {},
): ShardDescriptor {
  return {
    id,
    keyspace: 1,
    start: fromSlot === 0 ? new Uint8Array(0) : slotBoundary(fromSlot),
    end: toSlot === 256 ? new Uint8Array(0) : slotBoundary(toSlot),
    epoch: { version: 1, confVersion: 1 },
    replicas: [1, 2, 3].map((node) => ({ replicaId: node, nodeId: node, role: "voter" })),
    ...more,
  };
}

export function table(
  sequence: number,
  routes: readonly Route[],
  more: Partial<RouteTable> = {},
): RouteTable {
  return {
    clusterId: "c".repeat(32),
    version: { term: 1, sequence },
    placementMembers: [1, 2, 3],
    placementLeader: 1,
    nodes: [1, 2, 3].map((id) => ({ id, name: `n${id}`, http: `127.0.0.1:${7400 + id}` })),
    keyspaces: [keyspace],
    routes,
    ...more,
  };
}

/** A router with one shard (7) on nodes 1, 2 and 3, led by 2, unless said otherwise. */
export class Bench {
  readonly clock: VirtualClock = new VirtualClock();
  readonly rpc: ScriptedRpc;
  readonly cache: RouteCache;
  readonly router: Router;

  constructor(
    routes: readonly Route[] = [{ shard: shard(7, 0, 256), leader: 2 }],
    options: Partial<RouterOptions> = {},
  ) {
    const { clock } = this;
    const random = seededRandom(1);
    this.rpc = new ScriptedRpc(clock);
    const common = { clock, random, logger: silentLogger, rpc: this.rpc };
    this.cache = new RouteCache({ ...common, seeds: () => [], self: "x1" });
    if (routes.length > 0) this.cache.applyTable(table(1, routes));
    this.router = new Router({ ...common, cache: this.cache, ...options });
  }

  get writes(): SentCall[] {
    return this.rpc.of(kvMethods.write);
  }

  get reads(): SentCall[] {
    return this.rpc.of(kvMethods.read);
  }
}

export function commandOf(call: SentCall): KvCommand {
  return decodeCommand(decodeWriteRequest(call.body).command);
}

export function readOf(call: SentCall): ReadRequest {
  return decodeReadRequest(call.body);
}

export function answerWrite(call: SentCall | undefined, result: WriteResult, clockMicros = 0): void {
  invariant(call !== undefined, "there is such a request");
  call.reply(encodeWriteResponse({ clockMicros, result }));
}

export function answerRead(call: SentCall | undefined, result: ReadResult, clockMicros = 0): void {
  invariant(call !== undefined, "there is such a request");
  call.reply(encodeReadResponse({ clockMicros, result }));
}

/** Answers fetches of routes from here on with what `current` gives. */
export function serveRoutes(rpc: ScriptedRpc, current: (from: NodeId) => RouteTable | undefined): void {
  rpc.onCall = (call) => {
    if (call.method !== routesMethod) return;
    const found = current(call.node);
    if (found === undefined) call.fail("unreachable", false);
    else call.reply(encodeRouteTable(found));
  };
}
