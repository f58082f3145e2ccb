import type { AdminRequest, Code, KvOperation, NodeId } from "#proto";
import type { Clock, Logger, Random } from "#runtime";
import type { Rpc } from "#transport";
import { AdminCall, type AdminOutcome } from "./admin-call.ts";
import { CallsByShard, type Context, HedgeBudget } from "./call.ts";
import {
  emptyRouterStats,
  type Failure,
  type ReadOutcome,
  type RouterStats,
  type WriteOutcome,
} from "./outcome.ts";
import { Peers } from "./peers.ts";
import { ReadCall, type ReadSpec } from "./read-call.ts";
import type { RouteCache } from "./route-cache.ts";
import type { KeyspaceRoutes } from "./route-map.ts";
import { Session } from "./session.ts";
import { TimerWheel } from "./timer-wheel.ts";
import { WriteCall } from "./write-call.ts";

/** Everything of a command but key and value, roughly, bytes. */
const overheadBytes = 512;
/** A keyspace that a fetch this recent did not have does not exist, ms. */
const knownAbsentMs = 500;

export interface RouterLimits {
  /** Requests under way at once. */
  readonly requests: number;
  /** Keys and values of requests under way, together (`max_inflight_bytes`). */
  readonly bytes: number;
}

export const defaultRouterLimits: RouterLimits = { requests: 20_000, bytes: 64 * 1024 * 1024 };

export interface RouterOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly rpc: Pick<Rpc, "call">;
  readonly cache: RouteCache;
  /** This process's node; absent in a stateless router. */
  readonly self?: NodeId;
  readonly limits?: RouterLimits;
  /** When anything came from a node last, monotonic ms: ends the suspicion of one that is back. */
  readonly lastHeardMs?: (node: NodeId) => number | undefined;
}

export interface WriteIntent {
  readonly keyspace: string;
  /** As the user has it, not encoded. */
  readonly key: Uint8Array;
  readonly operation: KvOperation;
  readonly timeoutMs: number;
}

export interface ReadIntent extends ReadSpec {
  readonly keyspace: string;
  readonly key: Uint8Array;
  readonly timeoutMs: number;
}

/**
 * Carries users' requests to the shards that can answer them: route, leader, retries inside the deadline, and
 * an honest outcome (R24). The same code in a node, in a stateless router and in the simulator.
 *
 * `done` is called exactly once per request; before `write` or `read` returns only when nothing was sent.
 */
export class Router {
  readonly stats: RouterStats = emptyRouterStats();
  readonly #context: Context;
  #limits: RouterLimits;
  #requests = 0;
  #bytes = 0;
  #closed = false;
  readonly #adminCalls = new Set<AdminCall>();

  constructor(options: RouterOptions) {
    const { clock, random, logger, rpc, cache } = options;
    this.#limits = options.limits ?? defaultRouterLimits;
    this.#context = {
      clock,
      random,
      logger,
      rpc,
      cache,
      peers: new Peers(clock, options.lastHeardMs),
      wheel: new TimerWheel(clock),
      session: new Session(random),
      stats: this.stats,
      shards: new CallsByShard(),
      hedges: new HedgeBudget(),
      self: options.self,
    };
    const { shards } = this.#context;
    cache.onLeaderChange((shard) => shards.wake(shard));
    cache.onChange(() => shards.prune((id) => cache.shard(id) !== undefined));
  }

  /** Requests under way. */
  get inFlight(): number {
    return this.#requests;
  }

  get inFlightBytes(): number {
    return this.#bytes;
  }

  get limits(): RouterLimits {
    return this.#limits;
  }

  /** New limits, for requests to come. */
  setLimits(limits: RouterLimits): void {
    this.#limits = limits;
  }

  write(intent: WriteIntent, done: (outcome: WriteOutcome) => void): void {
    this.stats.writes++;
    const { operation, key } = intent;
    const bytes = overheadBytes + key.length + (operation.kind === "put" ? operation.value.length : 0);
    const finish = this.#admit(bytes, done);
    if (finish === undefined) {
      done({ ...this.#refusal("too_busy", "too much is in flight in this router"), outcome: "not_applied" });
      return;
    }
    this.#withKeyspace(intent, finish, "not_applied", (keyspace, timeoutMs) => {
      new WriteCall(this.#context, keyspace, key, operation, timeoutMs, finish).look();
    });
  }

  read(intent: ReadIntent, done: (outcome: ReadOutcome) => void): void {
    this.stats.reads++;
    const finish = this.#admit(overheadBytes + intent.key.length, done);
    if (finish === undefined) {
      done(this.#refusal("too_busy", "too much is in flight in this router"));
      return;
    }
    this.#withKeyspace(intent, finish, undefined, (keyspace, timeoutMs) => {
      new ReadCall(this.#context, keyspace, intent.key, intent, timeoutMs, finish).look();
    });
  }

  /** Asks placement's leader. Changes are applied at most once, however often they had to be sent. */
  admin(request: AdminRequest, timeoutMs: number, done: (outcome: AdminOutcome) => void): void {
    this.stats.admin++;
    if (this.#closed) {
      done({ kind: "error", code: "unavailable", detail: "this node is shutting down" });
      return;
    }
    const call = new AdminCall(this.#context, request, timeoutMs, (outcome) => {
      this.#adminCalls.delete(call);
      done(outcome);
    });
    this.#adminCalls.add(call);
    call.start();
  }

  /** Gives all that is under way the outcome that is certain now; refuses what comes. */
  close(): void {
    this.#closed = true;
    for (const call of this.#context.shards.all()) call.expire("this node is shutting down");
    for (const call of [...this.#adminCalls]) call.expire("this node is shutting down");
    this.#context.wheel.close();
  }

  /** Takes a request into the limits. @returns what to call when it is over; undefined when there is no room */
  #admit<T>(bytes: number, done: (outcome: T) => void): ((outcome: T) => void) | undefined {
    const { requests, bytes: bytesMax } = this.#limits;
    // A request larger than the whole limit may still come alone.
    const fits = this.#bytes + bytes <= bytesMax || this.#requests === 0;
    if (this.#requests >= requests || !fits) return undefined;
    this.#requests += 1;
    this.#bytes += bytes;
    return (outcome) => {
      this.#requests -= 1;
      this.#bytes -= bytes;
      done(outcome);
    };
  }

  #withKeyspace(
    intent: { readonly keyspace: string; readonly timeoutMs: number },
    fail: (failure: Failure) => void,
    outcome: "not_applied" | undefined,
    go: (keyspace: KeyspaceRoutes, timeoutMs: number) => void,
  ): void {
    const { cache, clock } = this.#context;
    const refuse = (code: Code, detail: string): void =>
      fail({ ...this.#refusal(code, detail), ...(outcome === undefined ? {} : { outcome }) });
    if (this.#closed) {
      refuse("unavailable", "this node is shutting down");
      return;
    }
    const { keyspace: name, timeoutMs } = intent;
    const keyspace = cache.keyspace(name);
    if (keyspace !== undefined) {
      go(keyspace, timeoutMs);
      return;
    }
    if (!cache.loaded) {
      cache.refresh();
      refuse("unavailable", "this node does not know yet where the shards are");
    } else if (name === "default") {
      // It may have been made since, with the word of it lost on the way here.
      if (cache.ageMs >= knownAbsentMs) cache.refresh();
      refuse("unavailable", "the default keyspace does not exist yet: it waits for its replicas' nodes");
    } else if (cache.ageMs < knownAbsentMs) {
      refuse("no_such_keyspace", `there is no keyspace ${name}`);
    } else {
      // It may have been made a moment ago, through another node.
      const startMs = clock.nowMs();
      cache.afterRefresh(() => {
        const made = cache.keyspace(name);
        const leftMs = timeoutMs - (clock.nowMs() - startMs);
        if (made === undefined) refuse("no_such_keyspace", `there is no keyspace ${name}`);
        else if (this.#closed || leftMs <= 0) refuse("unavailable", "no time was left");
        else go(made, leftMs);
      });
    }
  }

  #refusal(code: Code, detail: string): Failure {
    if (code === "too_busy") this.stats.tooBusy++;
    if (code === "unavailable") this.stats.unavailable++;
    const retryAfterMs = code === "unavailable" ? 1_000 : code === "too_busy" ? 200 : undefined;
    return {
      kind: "failed",
      code,
      detail,
      attempts: 0,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
  }
}
