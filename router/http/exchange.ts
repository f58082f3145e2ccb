import type { IncomingMessage, ServerResponse } from "node:http";
import { errorCodes, type Outcome } from "#proto";
import type { Grant } from "./access.ts";
import type { BodyBudget } from "./body.ts";
import { answerWhileBodyComes, bodyIsComing } from "./linger.ts";
import type { HttpMetrics } from "./metrics.ts";
import { type Problem, problemJson } from "./problem.ts";
import { type Resource, resources, type Target } from "./routes.ts";

/** What all exchanges of a server share. */
export interface ExchangeOptions {
  /** Named in answers that no shard's node gave. */
  readonly ownName: string;
  readonly metrics: HttpMetrics;
  readonly budget: BodyBudget;
  /** The server is stopping: no connection is kept. */
  closing: boolean;
}

/** One request and its answer: what is known of it all the way, and the only place where answers are written. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly target: Target;
  readonly requestId: string;
  readonly startMs: number;
  readonly #options: ExchangeOptions;
  /** As it came, before the body's parser saw another one. */
  readonly contentType: string | undefined;
  grant: Grant | undefined;
  /** The origin of a page that may read the answer. */
  allowedOrigin: string | undefined;
  /** Bytes taken from the budget for bodies, to be given back. */
  reservedBytes = 0;
  #ended = false;
  /** The connection ends with this answer. */
  #closing = false;

  constructor(request: IncomingMessage, target: Target, requestId: string, options: ExchangeOptions) {
    this.request = request;
    this.target = target;
    this.requestId = requestId;
    this.startMs = performance.now();
    this.#options = options;
    this.contentType = request.headers["content-type"];
  }

  get resource(): Resource | undefined {
    return this.target.name === undefined ? undefined : resources[this.target.name];
  }

  /** Of data or of the cluster: a failed one says what became of it. */
  get isWrite(): boolean {
    const { method } = this.request;
    const kind = this.resource?.kind;
    return (
      (kind === "data" || kind === "admin") && method !== "GET" && method !== "HEAD" && method !== "OPTIONS"
    );
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Writes the answer. `headers` are names and values in turn, as they go on the wire.
   * @param body - left out for HEAD, but its length is told
   */
  answer(response: ServerResponse, status: number, headers: string[], body: Uint8Array | string): void {
    if (this.#ended) return;
    this.#ended = true;
    const hasBody = status !== 204 && status !== 304;
    if (hasBody) {
      const length = typeof body === "string" ? Buffer.byteLength(body) : body.length;
      headers.push("Content-Length", String(length));
    }
    this.#head(response, status, headers);
    const sent = hasBody && this.request.method !== "HEAD" ? body : "";
    if (bodyIsComing(this.request)) answerWhileBodyComes(this.request, response, sent);
    else response.end(sent);
    this.#count(status);
  }

  /** The head of an answer without an end; the caller writes on. @returns false: there was an answer already */
  open(response: ServerResponse, status: number, headers: string[]): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#head(response, status, headers);
    response.flushHeaders();
    this.#count(status);
    return true;
  }

  #head(response: ServerResponse, status: number, headers: string[]): void {
    headers.push("Kvorum-Request-Id", this.requestId);
    if (this.allowedOrigin !== undefined) this.#allowOrigin(headers, this.allowedOrigin);
    if (this.request.headers["kvorum-trace"] === "1") this.#time(headers);
    if (this.#closing || this.#options.closing) headers.push("Connection", "close");
    response.writeHead(status, headers);
  }

  /** Once an answer; of a stream, the time to its head. */
  #count(status: number): void {
    const { metrics, budget } = this.#options;
    const ms = performance.now() - this.startMs;
    metrics.count(this.target.name ?? "none", this.request.method ?? "", status, ms);
    if (this.reservedBytes > 0) budget.release(this);
  }

  json(response: ServerResponse, status: number, headers: string[], value: unknown): void {
    headers.push("Content-Type", "application/json");
    this.answer(response, status, headers, JSON.stringify(value));
  }

  fail(response: ServerResponse, problem: Problem): void {
    const { more, code } = problem;
    const outcome = this.#outcomeOf(problem);
    const headers = [
      ...(more.headers ?? []),
      "Content-Type",
      "application/problem+json",
      "Kvorum-Code",
      code,
    ];
    if (!headers.includes("Kvorum-Served-By")) headers.push("Kvorum-Served-By", this.#options.ownName);
    if (more.retryAfterMs !== undefined) {
      headers.push("Retry-After", String(Math.max(1, Math.ceil(more.retryAfterMs / 1000))));
    }
    if (more.close === true) this.#closing = true;
    headers.push("Cache-Control", "no-store");
    const body = problemJson(problem, this.requestId, outcome);
    this.answer(response, errorCodes[code].status, headers, body);
  }

  /** On failed writes only; what was refused before it reached the router was not applied. */
  #outcomeOf(problem: Problem): Outcome | undefined {
    if (!this.isWrite) return undefined;
    return problem.more.outcome ?? (problem.code === "internal" ? "unknown" : "not_applied");
  }

  #allowOrigin(headers: string[], origin: string): void {
    headers.push(
      "Access-Control-Allow-Origin",
      origin,
      "Access-Control-Expose-Headers",
      exposedHeaders,
      "Vary",
      "Origin",
    );
  }

  #time(headers: string[]): void {
    const at = headers.indexOf("Kvorum-Shard");
    const shard = at < 0 ? "" : `, shard;desc="${headers[at + 1]}"`;
    headers.push("Server-Timing", `total;dur=${(performance.now() - this.startMs).toFixed(2)}${shard}`);
  }
}

const exposedHeaders = [
  "ETag",
  "Date",
  "Location",
  "Retry-After",
  "Server-Timing",
  "Idempotent-Replay",
  "Kvorum-Code",
  "Kvorum-Expires",
  "Kvorum-Request-Id",
  "Kvorum-Served-By",
  "Kvorum-Shard",
  "Kvorum-Staleness-Ms",
].join(", ");
