import {
  type Address,
  type AdminRequest,
  type AdminResponse,
  addressOf,
  adminMethod,
  decodeAdminResponse,
  encodeAdminRequest,
  type NodeId,
  nodeOf,
  type Outcome,
  ProtocolError,
} from "#proto";
import type { Cancel } from "#runtime";
import type { Context } from "./call.ts";

/** How long one node has to answer, ms. */
const attemptMs = 1_500;
const backoffMinMs = 20;
const backoffMaxMs = 500;
const attemptsMax = 50;

/** `outcome`: on every failed change; `not_applied` only if it was not and never will be (R24). */
export type AdminOutcome = Exclude<AdminResponse, { kind: "not_leader" }> & {
  readonly servedBy?: NodeId;
  readonly outcome?: Outcome;
};

/** A dry run looks only, whatever its operation would do. */
function isReading({ operation, parameters }: AdminRequest): boolean {
  return /\.(get|list|why)$|^locate$/.test(operation) || parameters["dry_run"] === true;
}

/**
 * One request to placement's leader. A node that is silent may have passed a change on all the same; what is
 * asked again carries the same idempotency key, so that placement applies it at most once.
 */
export class AdminCall {
  readonly #context: Context;
  readonly #body: Uint8Array;
  readonly #deadlineMs: number;
  readonly #done: (outcome: AdminOutcome) => void;
  readonly #changes: boolean;
  #attempts = 0;
  #rotation = 0;
  #silent = false;
  /** What placement said when it could not decide, for the answer at the deadline. */
  #undecided: string | undefined;
  #cancel: Cancel = () => {};
  #finished = false;

  constructor(
    context: Context,
    request: AdminRequest,
    timeoutMs: number,
    done: (outcome: AdminOutcome) => void,
  ) {
    this.#context = context;
    this.#changes = !isReading(request);
    this.#body = encodeAdminRequest(this.#changes ? keyed(request, context) : request);
    this.#deadlineMs = context.clock.nowMs() + timeoutMs;
    this.#done = done;
  }

  start(): void {
    const { cache, clock, rpc } = this.#context;
    const leftMs = this.#deadlineMs - clock.nowMs();
    const to = this.#target();
    if (leftMs <= 0 || this.#attempts >= attemptsMax) {
      this.expire("placement's leader did not answer");
      return;
    }
    if (to === undefined) {
      cache.refresh();
      this.#later();
      return;
    }
    this.#attempts += 1;
    rpc.call(to, adminMethod, this.#body, Math.min(attemptMs, leftMs), (result) => {
      if (this.#finished) return;
      const node = nodeOf(to);
      if (result.ok) {
        this.#onAnswer(node, result.body);
        return;
      }
      if (result.reason === "timeout" || (this.#changes && result.sent)) this.#silent = true;
      if (result.reason === "too_large") {
        this.#finish({ kind: "error", code: "request_too_large", detail: "the request is too large" });
        return;
      }
      this.#passOver(node);
    });
  }

  /** Gives up. */
  expire(detail: string): void {
    if (this.#finished) return;
    const code = this.#silent && this.#undecided === undefined ? "timeout" : "unavailable";
    this.#finish({ kind: "error", code, detail: this.#undecided ?? detail });
  }

  #onAnswer(node: NodeId | undefined, body: Uint8Array): void {
    const { cache, logger, stats } = this.#context;
    let response: AdminResponse;
    try {
      response = decodeAdminResponse(body);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      stats.malformed++;
      logger.warn({ node, err: error }, "malformed answer of placement");
      this.#passOver(node);
      return;
    }
    if (response.kind === "error" && response.code === "unavailable") {
      // A leader that just lost its office, or waits for the nodes' reports: a proposal of it may still live.
      if (this.#changes) this.#silent = true;
      this.#undecided = response.detail;
      this.#passOver(node);
      return;
    }
    if (response.kind !== "not_leader") {
      if (node !== undefined) cache.setPlacementLeader(node);
      this.#finish({ ...response, ...(node === undefined ? {} : { servedBy: node }) });
      return;
    }
    stats.redirects++;
    if (response.leader === undefined || response.leader === node) {
      this.#passOver(node);
      return;
    }
    cache.setPlacementLeader(response.leader);
    // Two nodes that name each other must not make a loop without a pause.
    if (this.#attempts <= 3) this.start();
    else this.#later();
  }

  #passOver(node: NodeId | undefined): void {
    if (node !== undefined) this.#context.cache.clearPlacementLeader(node);
    this.#rotation += 1;
    this.#later();
  }

  #later(): void {
    const { clock, random } = this.#context;
    const stepMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#attempts, 8));
    const leftMs = Math.max(0, this.#deadlineMs - clock.nowMs());
    this.#cancel = clock.after(Math.min(leftMs, stepMs / 2 + random.below(stepMs)), () => this.start());
  }

  #target(): Address | undefined {
    const { cache } = this.#context;
    if (cache.placementLeader !== undefined) return addressOf(cache.placementLeader);
    const members = cache.placementMembers;
    const node = members[this.#rotation % Math.max(1, members.length)];
    return node === undefined ? undefined : addressOf(node);
  }

  #finish(outcome: AdminOutcome): void {
    this.#finished = true;
    this.#cancel();
    const tellsOutcome = this.#changes && outcome.kind === "error";
    // A later refusal does not clear an earlier silence; placement's own "timeout" is one, too.
    const unknown = this.#silent || (outcome.kind === "error" && outcome.code === "timeout");
    this.#done(tellsOutcome ? { ...outcome, outcome: unknown ? "unknown" : "not_applied" } : outcome);
  }
}

/** The request with an idempotency key: the caller's, or one of its own. */
function keyed({ operation, parameters }: AdminRequest, { random }: Context): AdminRequest {
  if (parameters["idempotency_key"] !== undefined) return { operation, parameters };
  return { operation, parameters: { ...parameters, idempotency_key: `router-${random.hex(16)}` } };
}
