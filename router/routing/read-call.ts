import {
  addressOf,
  type Code,
  type Consistency,
  decodeReadResponse,
  encodeReadRequest,
  kvMethods,
  type NodeId,
  ProtocolError,
  type ReadResponse,
  type ReadResult,
} from "#proto";
import type { RpcResult } from "#transport";
import { type Attempt, Call, type Context } from "./call.ts";
import type { ReadOutcome, Served } from "./outcome.ts";
import type { KeyspaceRoutes, RouteEntry } from "./route-map.ts";

/** Refusals for load before the caller is told. */
const busyMax = 3;

export interface ReadSpec {
  readonly consistency: Consistency;
  readonly maxStalenessMs?: number;
  readonly minRevision?: number;
}

/**
 * One read: of the replica here where there is one (it asks the leader for the read index, R18), else of the
 * leader, or for stale reads of the nearest. A silent replica is hedged with another; the first answer wins.
 */
export class ReadCall extends Call {
  readonly #spec: ReadSpec;
  readonly #done: (outcome: ReadOutcome) => void;
  #consistency: Consistency;
  /** Replicas that refused, until all have. */
  readonly #refused = new Set<NodeId>();
  #busy = 0;

  constructor(
    context: Context,
    keyspace: KeyspaceRoutes,
    key: Uint8Array,
    spec: ReadSpec,
    timeoutMs: number,
    done: (outcome: ReadOutcome) => void,
  ) {
    super(context, keyspace, key, timeoutMs);
    this.#spec = spec;
    this.#consistency = spec.consistency;
    this.#done = done;
  }

  expire(detail: string): void {
    const because = this.hindrance === "" ? detail : `${detail}: ${this.hindrance}`;
    const silent = this.open.length > 0 || this.silences > 0;
    this.#fail(silent ? "timeout" : "unavailable", because);
  }

  protected decide(entry: RouteEntry, nowMs: number): void {
    const { hedges, peers, stats } = this.context;
    const latest = this.open.at(-1);
    if (latest !== undefined) {
      const patienceMs = this.patienceMs;
      if (nowMs - latest.sentAtMs < patienceMs) {
        this.wakeAt(latest.sentAtMs + patienceMs);
        return;
      }
      for (const attempt of this.open) peers.silent(attempt.node, attempt.sentAtMs);
      if (!peers.isSuspect(latest.node) && !hedges.take()) {
        this.wakeAt(nowMs + patienceMs);
        return;
      }
    }
    const node = this.#choose(entry);
    if (node === undefined) {
      this.#refused.clear();
      this.backOff();
      if (this.open.length > 0) this.wakeAt(nowMs + this.patienceMs);
      else this.look();
      return;
    }
    if (latest !== undefined) stats.hedges++;
    this.#send(entry, node, nowMs);
    this.wakeAt(nowMs + this.patienceMs);
  }

  /** The best replica that has not refused and is not being asked. */
  #choose(entry: RouteEntry): NodeId | undefined {
    const { peers } = this.context;
    let best: NodeId | undefined;
    let bestRank = Number.POSITIVE_INFINITY;
    for (const { nodeId, role } of entry.shard.replicas) {
      if (role === "learner" && this.#consistency !== "stale") continue;
      if (this.#refused.has(nodeId) || this.latestTo(nodeId) !== undefined) continue;
      const rank = this.#rank(nodeId, entry.leader) + (peers.isSuspect(nodeId) ? 1e9 : 0);
      if (rank >= bestRank) continue;
      best = nodeId;
      bestRank = rank;
    }
    return best;
  }

  /** Lower is better. */
  #rank(node: NodeId, leader: NodeId | undefined): number {
    const { peers, self } = this.context;
    if (this.#consistency === "leader") return node === leader ? 0 : 1;
    if (node === self) return -1;
    if (this.#consistency === "linearizable" && node === leader) return 0;
    return 1 + peers.roundTripMs(node);
  }

  #send(entry: RouteEntry, node: NodeId, nowMs: number): void {
    const { rpc, stats } = this.context;
    const { maxStalenessMs, minRevision } = this.#spec;
    const stale = this.#consistency === "stale";
    const leftMs = this.deadlineMs - nowMs;
    const { id, epoch } = entry.shard;
    const attempt: Attempt = { node, shard: id, version: epoch.version, sentAtMs: nowMs };
    this.open.push(attempt);
    this.attempts += 1;
    stats.attempts++;
    const request = encodeReadRequest({
      shard: id,
      version: epoch.version,
      keyspace: this.keyspace.descriptor.id,
      key: this.key,
      consistency: this.#consistency,
      timeoutMs: leftMs,
      ...(stale && maxStalenessMs !== undefined ? { maxStalenessMs } : {}),
      ...(stale && minRevision !== undefined ? { minRevision } : {}),
    });
    rpc.call(addressOf(node), kvMethods.read, request, leftMs, (result) =>
      this.#onResult(attempt, stale, result),
    );
  }

  #onResult(attempt: Attempt, stale: boolean, result: RpcResult): void {
    const { clock, peers, stats } = this.context;
    this.closeAttempt(attempt);
    if (!result.ok) {
      this.#onSilence(attempt, result);
      return;
    }
    let response: ReadResponse;
    try {
      response = decodeReadResponse(result.body);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      stats.malformed++;
      this.context.logger.warn({ node: attempt.node, err: error }, "malformed answer to a read");
      this.#refuse(attempt, "a replica's answer was malformed");
      return;
    }
    peers.answered(attempt.node);
    if (stale) peers.measured(attempt.node, clock.nowMs() - attempt.sentAtMs);
    this.noteClock(attempt.shard, response.clockMicros);
    if (!this.finished) this.#onAnswer(attempt, response.result);
  }

  #onSilence(attempt: Attempt, failure: Extract<RpcResult, { ok: false }>): void {
    const { peers } = this.context;
    if (failure.sent) this.silences += 1;
    if (failure.reason === "unreachable") peers.gone(attempt.node);
    if (failure.reason === "timeout") peers.silent(attempt.node, attempt.sentAtMs);
    if (failure.reason === "too_busy") this.#tooBusy(attempt, "the way to the replica is full");
    else if (failure.reason === "disconnected")
      this.#refuse(attempt, "this node's link to the others is down");
    else this.#refuse(attempt, "the shard's replicas do not answer");
  }

  #onAnswer(attempt: Attempt, result: ReadResult): void {
    const { cache, hedges, stats } = this.context;
    switch (result.kind) {
      case "found":
      case "absent": {
        hedges.answered();
        // A stale read that was served as linearizable is as fresh as can be.
        const stalenessMs = this.#spec.consistency === "stale" ? (result.stalenessMs ?? 0) : undefined;
        const { shard, node: servedBy } = attempt;
        const served = { shard, servedBy, attempts: this.attempts };
        const told = stalenessMs === undefined ? served : { ...served, stalenessMs };
        this.#finish(
          result.kind === "found"
            ? { kind: "found", stored: result.stored, ...told }
            : { kind: "absent", ...told },
        );
        return;
      }
      case "too_stale":
        stats.staleFallbacks++;
        this.#consistency = "linearizable";
        this.#refused.clear();
        break;
      case "epoch_mismatch":
        this.hindrance = "the shard is changing its range";
        if (!this.healed(attempt, result.current)) {
          this.#refuse(attempt, this.hindrance);
          return;
        }
        break;
      case "not_leader":
        this.redirected(attempt, result.leader);
        this.#refuse(attempt, "the shard has no known leader");
        return;
      case "no_replica":
        cache.clearLeader(attempt.shard, attempt.node);
        cache.refresh();
        this.#refuse(attempt, "the replica has moved");
        return;
      case "too_busy":
        this.#tooBusy(attempt, result.detail);
        return;
      default:
        this.silences += 1;
        this.#refuse(attempt, "the shard's leader does not answer");
        return;
    }
    this.look();
  }

  /** Another replica may do. */
  #refuse(attempt: Attempt, why: string): void {
    if (this.finished) return;
    this.hindrance = why;
    this.#refused.add(attempt.node);
    this.look();
  }

  #tooBusy(attempt: Attempt, detail: string): void {
    if (this.finished) return;
    this.#busy += 1;
    if (this.#busy > busyMax) {
      this.#fail("too_busy", detail);
      return;
    }
    this.backOff();
    this.#refuse(attempt, detail);
  }

  #served(attempt?: Attempt): Served {
    const shard = attempt?.shard ?? this.shardId;
    return {
      attempts: this.attempts,
      ...(shard === undefined ? {} : { shard }),
      ...(attempt === undefined ? {} : { servedBy: attempt.node }),
    };
  }

  #fail(code: Code, detail: string): void {
    const { stats } = this.context;
    if (code === "timeout") stats.timeouts++;
    if (code === "unavailable") stats.unavailable++;
    if (code === "too_busy") stats.tooBusy++;
    const retryAfterMs = code === "unavailable" ? 1_000 : code === "too_busy" ? 200 : undefined;
    this.#finish({
      kind: "failed",
      code,
      detail,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...this.#served(),
    });
  }

  #finish(outcome: ReadOutcome): void {
    this.end();
    this.#done(outcome);
  }
}
