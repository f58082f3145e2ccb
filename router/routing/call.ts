import { encodeKey, type GroupId, type NodeId } from "#proto";
import type { Clock, Logger, Random } from "#runtime";
import type { Rpc } from "#transport";
import type { RouterStats } from "./outcome.ts";
import type { Peers } from "./peers.ts";
import type { RouteCache } from "./route-cache.ts";
import type { KeyspaceRoutes, RouteEntry } from "./route-map.ts";
import type { Session } from "./session.ts";
import { type TimerWheel, WheelTimer } from "./timer-wheel.ts";

/** Silence after which another replica is asked too, ms; well below a failover's length (R21). */
export const silenceMs = 300;
/** Spread over calls by their number, so that what was sent together is not sent again together, ms. */
const silenceSpreadMs = 150;
/** While no shard is known for a key, ms. */
const routeWaitMs = 50;
const backoffMinMs = 10;
const backoffMaxMs = 250;
/** For one call; with the backoff that is beyond any deadline but the longest. */
export const attemptsMax = 200;
/** Between two attempts to find a shard's leader, over all calls, ms. */
const scoutMinMs = 20;
const scoutMaxMs = 250;

/** Everything a call needs. */
export interface Context {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly rpc: Pick<Rpc, "call">;
  readonly cache: RouteCache;
  readonly peers: Peers;
  readonly wheel: TimerWheel;
  readonly session: Session;
  readonly stats: RouterStats;
  readonly shards: CallsByShard;
  readonly hedges: HedgeBudget;
  /** This process's node; undefined in a stateless router. */
  readonly self: NodeId | undefined;
}

/** Hedges are for silence, not for load: a tenth as many as answered reads, and a few at once. */
export class HedgeBudget {
  #tokens = 100;

  answered(): void {
    if (this.#tokens < 100) this.#tokens += 0.1;
  }

  take(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** What calls to a shard need to know of each other. */
type AnyCall = Pick<Call, "look" | "expire">;

/** The calls under way to one shard, and their common search for its leader. */
export class ShardCalls {
  readonly shard: GroupId;
  readonly calls: Set<AnyCall> = new Set();
  #nextScoutMs = 0;
  #lastScoutMs = 0;
  #stepMs = scoutMinMs;
  /** Where the next scout looks. */
  rotation = 0;

  constructor(shard: GroupId) {
    this.shard = shard;
  }

  get nextScoutMs(): number {
    return this.#nextScoutMs;
  }

  scouted(nowMs: number, random: Random): void {
    // An old search says nothing about this one.
    if (nowMs - this.#lastScoutMs > 4 * scoutMaxMs) this.#stepMs = scoutMinMs;
    this.#lastScoutMs = nowMs;
    this.#nextScoutMs = nowMs + this.#stepMs / 2 + random.below(this.#stepMs);
    this.#stepMs = Math.min(scoutMaxMs, this.#stepMs * 2);
    this.rotation += 1;
  }

  /** The leader is known: the next search starts quickly again. */
  found(): void {
    this.#stepMs = scoutMinMs;
  }
}

export class CallsByShard {
  readonly #shards = new Map<GroupId, ShardCalls>();

  enter(shard: GroupId, call: AnyCall): ShardCalls {
    let calls = this.#shards.get(shard);
    if (calls === undefined) {
      calls = new ShardCalls(shard);
      this.#shards.set(shard, calls);
    }
    calls.calls.add(call);
    return calls;
  }

  leave(shard: ShardCalls, call: AnyCall): void {
    shard.calls.delete(call);
  }

  /** All calls to `shard` look again. */
  wake(shard: GroupId): void {
    const calls = this.#shards.get(shard);
    if (calls === undefined) return;
    calls.found();
    for (const call of [...calls.calls]) call.look();
  }

  /** Shards that are gone. */
  prune(exists: (shard: GroupId) => boolean): void {
    for (const [id, { calls }] of this.#shards) if (calls.size === 0 && !exists(id)) this.#shards.delete(id);
  }

  all(): AnyCall[] {
    return [...this.#shards.values()].flatMap((shard) => [...shard.calls]);
  }
}

/** One request under way to a node. */
export interface Attempt {
  readonly node: NodeId;
  readonly shard: GroupId;
  readonly version: number;
  readonly sentAtMs: number;
}

/**
 * A caller's request on its way to an answer: where its key lives now, its deadline, its open attempts. What
 * to do next is decided anew, from all that is known, each time something happens (`look`).
 */
export abstract class Call<A extends Attempt = Attempt> {
  protected readonly context: Context;
  protected readonly keyspace: KeyspaceRoutes;
  /** Encoded. */
  protected readonly key: Uint8Array;
  readonly deadlineMs: number;
  protected readonly open: A[] = [];
  protected attempts = 0;
  protected finished = false;
  /** Why it is not through yet, for people. */
  protected hindrance = "";
  readonly #timer: WheelTimer;
  #shard: ShardCalls | undefined;
  #notBeforeMs = 0;
  #backoffs = 0;
  /** Requests of this call that were sent and will never be answered. */
  protected silences = 0;

  constructor(context: Context, keyspace: KeyspaceRoutes, key: Uint8Array, timeoutMs: number) {
    this.context = context;
    this.keyspace = keyspace;
    const { partition, slots } = keyspace.descriptor;
    this.key = encodeKey(key, partition, slots);
    this.deadlineMs = context.clock.nowMs() + timeoutMs;
    this.#timer = new WheelTimer(() => this.look());
  }

  /** Gives up now, with what is certain. */
  abstract expire(detail: string): void;

  protected abstract decide(entry: RouteEntry, nowMs: number): void;

  look(): void {
    if (this.finished) return;
    const { cache, clock, shards } = this.context;
    const nowMs = clock.nowMs();
    if (nowMs >= this.deadlineMs) {
      this.expire("no answer before the deadline");
      return;
    }
    const entry = cache.lookup(this.keyspace, this.key);
    if (entry === undefined) {
      this.hindrance = "no shard is known for the key";
      cache.refresh();
      this.wakeAt(nowMs + routeWaitMs);
      return;
    }
    if (this.#shard?.shard !== entry.shard.id) {
      if (this.#shard !== undefined) shards.leave(this.#shard, this);
      this.#shard = shards.enter(entry.shard.id, this);
    }
    if (nowMs < this.#notBeforeMs) this.wakeAt(this.#notBeforeMs);
    else if (this.attempts >= attemptsMax) this.wakeAt(this.deadlineMs);
    else this.decide(entry, nowMs);
  }

  protected get shardId(): GroupId | undefined {
    return this.#shard?.shard;
  }

  protected get siblings(): ShardCalls | undefined {
    return this.#shard;
  }

  protected wakeAt(atMs: number): void {
    this.context.wheel.set(this.#timer, Math.min(atMs, this.deadlineMs));
  }

  /** Nothing is sent for a while: longer each time, and never the same for two calls. */
  protected backOff(): void {
    const { clock, random } = this.context;
    const stepMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#backoffs, 8));
    this.#backoffs += 1;
    this.#notBeforeMs = clock.nowMs() + stepMs / 2 + random.below(stepMs);
  }

  /** The wait before silence counts, ms. */
  protected get patienceMs(): number {
    return silenceMs + ((this.context.stats.attempts * 37) % silenceSpreadMs);
  }

  protected latestTo(node: NodeId): A | undefined {
    return this.open.findLast((attempt) => attempt.node === node);
  }

  protected closeAttempt(attempt: A): void {
    const at = this.open.indexOf(attempt);
    if (at >= 0) this.open.splice(at, 1);
  }

  /** A refusal named `hint` as leader, or nobody. */
  protected redirected(attempt: Attempt, hint: NodeId | undefined): void {
    const { cache, peers, stats } = this.context;
    stats.redirects++;
    if (hint !== undefined && hint !== attempt.node && !peers.isSuspect(hint)) {
      cache.setLeader(attempt.shard, hint);
    }
    cache.clearLeader(attempt.shard, attempt.node);
  }

  /** A replica's view of the shards around, in refusing: @returns true when the key's route changed. */
  protected healed(attempt: Attempt, current: Parameters<RouteCache["heal"]>[0]): boolean {
    const { cache, stats } = this.context;
    stats.epochMismatches++;
    cache.heal(current);
    const entry = cache.lookup(this.keyspace, this.key);
    if (entry === undefined) return false;
    return entry.shard.id !== attempt.shard || entry.shard.epoch.version !== attempt.version;
  }

  protected noteClock(shard: GroupId, clockMicros: number): void {
    const entry = this.context.cache.shard(shard);
    if (entry !== undefined && clockMicros > entry.clockMicros) entry.clockMicros = clockMicros;
  }

  protected end(): void {
    this.finished = true;
    this.context.wheel.clear(this.#timer);
    if (this.#shard !== undefined) this.context.shards.leave(this.#shard, this);
  }
}
