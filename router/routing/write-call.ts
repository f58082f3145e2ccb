import {
  addressOf,
  type Code,
  decodeWriteResponse,
  encodeCommand,
  encodeWriteRequest,
  type KvOperation,
  kvMethods,
  type NodeId,
  type Outcome,
  ProtocolError,
  type WriteResponse,
} from "#proto";
import type { RpcResult } from "#transport";
import { type Attempt, Call, type Context } from "./call.ts";
import type { Served, WriteOutcome } from "./outcome.ts";
import type { KeyspaceRoutes, RouteEntry } from "./route-map.ts";

/** Silence after which the very same command is sent to the believed leader again, doubled each time, ms. */
const resendMs = 1_000;
/** Refusals for load before the caller is told, rather than the load kept up. */
const busyMax = 3;
/** With less than this left nothing new is tried: cut short, it would turn a certain "no" into "unknown", ms. */
const lastAttemptMs = 50;
/** Shards keep the record of an unanswered attempt at least this long past its deadline (R23). */
const recordKeptMicros = 600_000_000;

interface WriteAttempt extends Attempt {
  readonly deadlineMicros: number;
}

/**
 * One write. All its attempts carry one sequence number, so that it is applied at most once (R23), and its
 * outcome is never better known than its worst attempt (R24).
 *
 * Attempts that may be alive all carry one deadline. It is renewed only when a shard has refused it: that
 * shard's clock is past it, so the older attempts stay refused for ever. Two live deadlines would let a dedup
 * row of the earlier one be dropped while an attempt with the later one is still on its way.
 */
export class WriteCall extends Call<WriteAttempt> {
  readonly #sequence: number;
  readonly #operation: KvOperation;
  readonly #done: (outcome: WriteOutcome) => void;
  #deadlineMicros = 0;
  #busy = 0;
  #lastCode: Code = "unavailable";
  #encoded: Uint8Array | undefined;
  #encodedFor: WriteAttempt | undefined;

  constructor(
    context: Context,
    keyspace: KeyspaceRoutes,
    key: Uint8Array,
    operation: KvOperation,
    timeoutMs: number,
    done: (outcome: WriteOutcome) => void,
  ) {
    super(context, keyspace, key, timeoutMs);
    this.#operation = operation;
    this.#done = done;
    this.#sequence = context.session.open();
  }

  expire(detail: string): void {
    const because = this.hindrance === "" ? detail : `${detail}: ${this.hindrance}`;
    if (this.#outcome === "unknown") this.#fail("timeout", because);
    else this.#fail(this.#lastCode, because);
  }

  protected decide(entry: RouteEntry, nowMs: number): void {
    const { peers } = this.context;
    const { leader } = entry;
    if (this.attempts > 0 && this.deadlineMs - nowMs < lastAttemptMs && this.#outcome === "not_applied") {
      this.wakeAt(this.deadlineMs);
      return;
    }
    if (leader === undefined || peers.isSuspect(leader)) {
      this.#scout(entry, nowMs);
      return;
    }
    const latest = this.latestTo(leader);
    if (latest === undefined) {
      this.#send(entry, leader, nowMs);
      this.wakeAt(nowMs + this.patienceMs);
      return;
    }
    const ageMs = nowMs - latest.sentAtMs;
    const patienceMs = this.patienceMs;
    if (ageMs < patienceMs) {
      this.wakeAt(latest.sentAtMs + patienceMs);
      return;
    }
    peers.silent(leader, latest.sentAtMs);
    const times = this.open.filter((attempt) => attempt.node === leader).length;
    if (ageMs >= resendMs * 2 ** (times - 1)) this.#send(entry, leader, nowMs);
    this.#scout(entry, nowMs);
  }

  /**
   * Tries a replica that may lead by now. Over all calls to the shard only one does so at a time, with
   * growing pauses: what it finds out wakes the others.
   */
  #scout(entry: RouteEntry, nowMs: number): void {
    const calls = this.siblings;
    if (calls === undefined) return;
    this.hindrance ||= "the shard's leader is not known or does not answer";
    if (nowMs >= calls.nextScoutMs) {
      const node = this.#scoutTarget(entry, calls.rotation, nowMs);
      if (node !== undefined) {
        calls.scouted(nowMs, this.context.random);
        this.context.stats.scouts++;
        this.#send(entry, node, nowMs);
      }
    }
    this.wakeAt(Math.max(calls.nextScoutMs, nowMs + 10));
  }

  #scoutTarget(entry: RouteEntry, rotation: number, nowMs: number): NodeId | undefined {
    const { peers, self } = this.context;
    const voters = entry.shard.replicas.filter((r) => r.role !== "learner").map((r) => r.nodeId);
    const free = voters.filter((node) => {
      const latest = this.latestTo(node);
      return latest === undefined || nowMs - latest.sentAtMs >= resendMs;
    });
    const heard = free.filter((node) => !peers.isSuspect(node));
    // The replica here knows first who leads.
    if (self !== undefined && rotation % voters.length === 0 && heard.includes(self)) return self;
    const among = heard.length > 0 ? heard : free;
    return among[rotation % Math.max(1, among.length)];
  }

  #send(entry: RouteEntry, node: NodeId, nowMs: number): void {
    const { clock, rpc, stats } = this.context;
    const leftMs = this.deadlineMs - nowMs;
    if (this.#deadlineMicros === 0) this.#renewDeadline(entry.clockMicros, clock.wallMicros(), leftMs);
    const attempt: WriteAttempt = {
      node,
      shard: entry.shard.id,
      version: entry.shard.epoch.version,
      sentAtMs: nowMs,
      deadlineMicros: this.#deadlineMicros,
    };
    this.open.push(attempt);
    this.attempts += 1;
    stats.attempts++;
    rpc.call(addressOf(node), kvMethods.write, this.#encode(attempt), leftMs, (result) =>
      this.#onResult(attempt, result),
    );
  }

  #renewDeadline(shardMicros: number, wallMicros: number, leftMs: number): void {
    this.#deadlineMicros = Math.max(shardMicros, wallMicros) + Math.floor(leftMs * 1000);
  }

  #encode(attempt: WriteAttempt): Uint8Array {
    const { shard, version, deadlineMicros } = attempt;
    const last = this.#encodedFor;
    const same = last?.shard === shard && last.version === version && last.deadlineMicros === deadlineMicros;
    if (this.#encoded !== undefined && same) return this.#encoded;
    const { session } = this.context;
    const command = encodeCommand({
      attempt: {
        session: session.id,
        sequence: this.#sequence,
        lowestUnanswered: session.lowestUnanswered,
        deadlineMicros,
      },
      version,
      keyspace: this.keyspace.descriptor.id,
      key: this.key,
      operation: this.#operation,
    });
    this.#encoded = encodeWriteRequest({ shard, command });
    this.#encodedFor = attempt;
    return this.#encoded;
  }

  #onResult(attempt: WriteAttempt, result: RpcResult): void {
    this.closeAttempt(attempt);
    if (!result.ok) {
      this.#onSilence(attempt, result);
      return;
    }
    let response: WriteResponse;
    try {
      response = decodeWriteResponse(result.body);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.context.stats.malformed++;
      this.context.logger.warn({ node: attempt.node, err: error }, "malformed answer to a write");
      this.#silent(attempt);
      this.#lost("a replica's answer was malformed");
      return;
    }
    this.context.peers.answered(attempt.node);
    this.noteClock(attempt.shard, response.clockMicros);
    if (!this.finished) this.#onResponse(attempt, response);
  }

  #onSilence(attempt: WriteAttempt, failure: Extract<RpcResult, { ok: false }>): void {
    const { peers } = this.context;
    if (failure.sent) this.#silent(attempt);
    if (failure.reason === "unreachable") peers.gone(attempt.node);
    if (failure.reason === "timeout") peers.silent(attempt.node, attempt.sentAtMs);
    if (this.finished) return;
    switch (failure.reason) {
      case "too_large":
        this.#fail("value_too_large", "the command is larger than what nodes can send each other");
        return;
      case "too_busy":
        this.#tooBusy("the way to the shard's leader is full");
        return;
      case "disconnected":
        this.hindrance = "this node's link to the others is down";
        this.backOff();
        break;
      default:
        this.hindrance = "the shard's leader does not answer";
    }
    this.look();
  }

  #onResponse(attempt: WriteAttempt, { clockMicros, result }: WriteResponse): void {
    const { cache } = this.context;
    const { shard, node } = attempt;
    switch (result.kind) {
      case "put": {
        const { revision } = result;
        this.#finish({ kind: "put", revision, shard, servedBy: node, attempts: this.attempts });
        cache.setLeader(shard, node);
        return;
      }
      case "deleted": {
        const { deleted, revision } = result;
        this.#finish({ kind: "deleted", deleted, revision, shard, servedBy: node, attempts: this.attempts });
        cache.setLeader(shard, node);
        return;
      }
      case "precondition_failed":
        // Recorded by the shard under our sequence number: the other attempts get the same answer.
        this.#finish({ ...result, ...this.#served(attempt) });
        return;
      case "storage_full":
        this.#fail("storage_full", "the disk of the shard's leader is nearly full", attempt);
        return;
      case "bad_command":
        this.#fail("bad_request", result.detail, attempt);
        return;
      case "too_busy":
        this.#tooBusy(result.detail);
        return;
      case "unknown":
        this.#silent(attempt);
        cache.clearLeader(attempt.shard, attempt.node);
        this.#lost("the shard's leader lost its leadership");
        return;
      case "deadline":
        this.#onDeadline(attempt, clockMicros);
        return;
      case "epoch_mismatch":
        this.hindrance = "the shard is changing its range";
        if (!this.healed(attempt, result.current)) this.backOff();
        break;
      case "not_leader":
        this.hindrance = "the shard has no known leader";
        this.redirected(attempt, result.leader);
        if (this.attempts > 3) this.backOff();
        break;
      case "no_replica":
        this.hindrance = "the replica has moved";
        cache.clearLeader(attempt.shard, attempt.node);
        cache.refresh();
        this.backOff();
        break;
      case "not_now":
        this.hindrance = result.detail;
        cache.clearLeader(attempt.shard, attempt.node);
        this.backOff();
        break;
      default:
        this.hindrance = "the shard's leader changed";
        cache.clearLeader(attempt.shard, attempt.node);
        this.backOff();
    }
    this.look();
  }

  /**
   * The shard's clock was ahead of what was believed of it (R23). Dedup is looked up before deadlines (R22),
   * so none of the attempts with this deadline was applied, and the clock only grows: none ever will be. Their
   * silence is cleared by that, the only way there is (R24). But a record could have aged away: where a clock
   * leaps, or a shard goes into one whose clock is far ahead. Then one that nobody answered may have been
   * applied, and another after it would be a second time.
   */
  #onDeadline(attempt: WriteAttempt, clockMicros: number): void {
    const { clock, stats } = this.context;
    const pastMicros = clockMicros - this.#deadlineMicros;
    // A late refusal of a deadline that is no longer in use says nothing about the present one.
    if (attempt.deadlineMicros === this.#deadlineMicros && pastMicros > 0) {
      if (pastMicros >= recordKeptMicros && this.#outcome === "unknown") {
        this.#fail("timeout", "the shard's clock leapt past the record of what was sent before", attempt);
        return;
      }
      stats.deadlinesRenewed++;
      this.silences = 0;
      this.#renewDeadline(clockMicros, clock.wallMicros(), this.deadlineMs - clock.nowMs());
      if (this.attempts > 2) this.backOff();
    } else this.backOff();
    this.look();
  }

  /** An attempt that will never be answered. One whose deadline a shard has refused since is none. */
  #silent(attempt: WriteAttempt): void {
    if (attempt.deadlineMicros === this.#deadlineMicros) this.silences += 1;
  }

  #tooBusy(detail: string): void {
    this.hindrance = detail;
    this.#busy += 1;
    if (this.#busy > busyMax && this.#outcome === "not_applied") {
      this.#fail("too_busy", detail);
      return;
    }
    if (this.#busy > busyMax) this.#lastCode = "too_busy";
    this.backOff();
    this.look();
  }

  #lost(why: string): void {
    this.hindrance = why;
    if (this.finished) return;
    this.backOff();
    this.look();
  }

  /** `not_applied` while every attempt was refused or never sent: one silence and it is unknown (R24). */
  get #outcome(): Outcome {
    const alive = this.open.some((attempt) => attempt.deadlineMicros === this.#deadlineMicros);
    return this.silences === 0 && !alive ? "not_applied" : "unknown";
  }

  #served(attempt?: WriteAttempt): Served {
    const shard = attempt?.shard ?? this.shardId;
    return {
      attempts: this.attempts,
      ...(shard === undefined ? {} : { shard }),
      ...(attempt === undefined ? {} : { servedBy: attempt.node }),
    };
  }

  #fail(code: Code, detail: string, attempt?: WriteAttempt): void {
    const { stats } = this.context;
    const outcome = this.#outcome;
    if (outcome === "unknown") stats.unknownOutcomes++;
    if (code === "timeout") stats.timeouts++;
    if (code === "unavailable") stats.unavailable++;
    if (code === "too_busy") stats.tooBusy++;
    const retryAfterMs = code === "unavailable" ? 1_000 : code === "too_busy" ? 200 : undefined;
    this.#finish({
      kind: "failed",
      code,
      detail,
      outcome,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...this.#served(attempt),
    });
  }

  #finish(outcome: WriteOutcome): void {
    this.end();
    this.context.session.close(this.#sequence);
    this.#done(outcome);
  }
}
