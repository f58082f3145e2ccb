import type { ServerResponse } from "node:http";
import { type AdminRequest, type NodeId, noBytes } from "#proto";
import type { AdminOutcome, Router } from "#router/routing";
import { negotiate } from "./accept.ts";
import { authorise, fullGrant } from "./access.ts";
import { type Change, changeOf } from "./changes.ts";
import { checkKey, timeoutMsMax } from "./data.ts";
import { decodeText } from "./escapes.ts";
import { EventStreams } from "./event-streams.ts";
import type { Exchange } from "./exchange.ts";
import { readFields, readSettings } from "./json-body.ts";
import { Problem } from "./problem.ts";
import { Query } from "./query.ts";

const defaultTimeoutMs = 5_000;
const pageMax = 10_000;
/** Pauses between two looks at an operation that somebody waits for, ms. */
const waitMinMs = 50;
const waitMaxMs = 1_000;
const streamsMax = 256;
const eventTypes = ["text/event-stream", "application/json"];

export interface AdminOptions {
  readonly router: Pick<Router, "admin">;
  readonly nodeName: (node: NodeId) => string;
  readonly ownName: string;
}

/** Placement's API: decoded, checked, forwarded to placement's leader, passed back. */
export class AdminHandlers {
  readonly #options: AdminOptions;
  readonly #streams: EventStreams;

  constructor(options: AdminOptions) {
    this.#options = options;
    this.#streams = new EventStreams(options.router);
  }

  /** Event streams that are open. */
  get streams(): number {
    return this.#streams.count;
  }

  /** Ends the streams. */
  close(): void {
    this.#streams.close();
  }

  /** @throws Problem */
  get(exchange: Exchange, response: ServerResponse): void {
    authorise(exchange.grant ?? fullGrant, "read");
    const query = Query.parse(exchange.target.query, readParameters(exchange));
    const { name } = exchange.target;
    if (name === "events" || name === "shardEvents") {
      this.#events(exchange, response, query);
      return;
    }
    demandJson(exchange);
    const request = readRequest(exchange, query);
    this.#options.router.admin(request, timeoutOf(query), (outcome) =>
      this.#answer(exchange, response, outcome),
    );
  }

  /** @throws Problem */
  change(exchange: Exchange, response: ServerResponse, body: unknown): void {
    authorise(exchange.grant ?? fullGrant, "admin");
    demandJson(exchange);
    const { name } = exchange.target;
    const change = name === undefined ? undefined : changeOf(exchange.request.method ?? "", name);
    if (change === undefined) throw new Error("every change that is registered is described");
    const query = Query.parse(exchange.target.query, [...change.query, "timeout"]);
    const parameters = changeParameters(exchange, change, query, body instanceof Uint8Array ? body : noBytes);
    const timeoutMs = timeoutOf(query);
    const deadlineMs = performance.now() + timeoutMs;
    this.#options.router.admin({ operation: change.operation, parameters }, timeoutMs, (outcome) => {
      const id = operationOf(outcome);
      if (id === undefined || !query.truth("wait")) this.#answer(exchange, response, outcome);
      else this.#wait(exchange, response, { id, outcome, deadlineMs, pauseMs: waitMinMs });
    });
  }

  /** Looks at an operation until it is over; past the deadline the answer is the one at its beginning. */
  #wait(exchange: Exchange, response: ServerResponse, waiting: Waiting): void {
    const { id, outcome, deadlineMs, pauseMs } = waiting;
    const leftMs = deadlineMs - performance.now();
    if (response.destroyed) return;
    if (leftMs < waitMinMs) {
      this.#answer(exchange, response, outcome);
      return;
    }
    const request = { operation: "operations.get", parameters: { id } };
    this.#options.router.admin(request, leftMs, (now) => {
      if (now.kind === "ok" && stateOf(now.body) !== "running") {
        const replayed = outcome.kind === "ok" && outcome.replayed === true;
        this.#answer(exchange, response, { ...now, status: 200, replayed });
        return;
      }
      const next = { ...waiting, pauseMs: Math.min(waitMaxMs, pauseMs * 2) };
      setTimeout(() => this.#wait(exchange, response, next), Math.min(pauseMs, leftMs));
    });
  }

  /** As a stream, or what there is by now as JSON. */
  #events(exchange: Exchange, response: ServerResponse, query: Query): void {
    const { headers, method } = exchange.request;
    const type = negotiate(headers.accept, eventTypes);
    if (type === undefined)
      throw new Problem("not_acceptable", `this is given as ${eventTypes.join(" or ")}`);
    const { id } = exchange.target.captured;
    const shard = id === undefined ? undefined : shardId(id);
    const since = lastEventId(headers["last-event-id"]) ?? query.integer("since", 0) ?? 0;
    const streams = type === "text/event-stream";
    if (streams && this.#streams.count >= streamsMax) {
      throw new Problem("too_busy", `${streamsMax} event streams are open on this node`, {
        retryAfterMs: 1_000,
      });
    }
    const parameters = shard === undefined ? { since } : { since, shard };
    this.#options.router.admin({ operation: "events.list", parameters }, timeoutOf(query), (outcome) => {
      if (!streams || outcome.kind !== "ok") {
        this.#answer(exchange, response, outcome);
        return;
      }
      if (response.destroyed) return;
      const head = [...this.#headers(outcome), "Content-Type", "text/event-stream"];
      if (!exchange.open(response, 200, head)) return;
      if (method === "HEAD") response.end();
      else this.#streams.add(response, exchange.requestId, since, shard, outcome.body);
    });
  }

  #headers({ servedBy }: AdminOutcome): string[] {
    const { nodeName, ownName } = this.#options;
    const name = servedBy === undefined ? ownName : nodeName(servedBy);
    return ["Kvorum-Served-By", name, "Cache-Control", "no-store"];
  }

  #answer(exchange: Exchange, response: ServerResponse, outcome: AdminOutcome): void {
    const headers = this.#headers(outcome);
    if (outcome.kind === "ok") {
      const id = operationOf(outcome);
      // A key that the router itself had made is no concern of the caller's.
      const keyed = exchange.request.headers["idempotency-key"] !== undefined;
      if (outcome.replayed === true && keyed) headers.push("Idempotent-Replay", "true");
      if (outcome.status === 202 && id !== undefined) headers.push("Location", `/v1/admin/operations/${id}`);
      exchange.json(response, outcome.status, headers, outcome.body);
      return;
    }
    const { code, detail, extra, outcome: became } = outcome;
    exchange.fail(
      response,
      new Problem(code, detail, {
        headers: headers.slice(0, 2),
        ...(became === undefined ? {} : { outcome: became }),
        ...(extra === undefined ? {} : { fields: extra }),
        ...(code === "unavailable" ? { retryAfterMs: 1_000 } : {}),
      }),
    );
  }
}

interface Waiting {
  readonly id: string;
  /** What the change itself was answered with. */
  readonly outcome: AdminOutcome;
  readonly deadlineMs: number;
  readonly pauseMs: number;
}

/** @throws Problem not_acceptable */
export function demandJson(exchange: Exchange, type = "application/json"): void {
  if (negotiate(exchange.request.headers.accept, [type]) === undefined) {
    throw new Problem("not_acceptable", `this is given as ${type} only`);
  }
}

function timeoutOf(query: Query): number {
  return query.durationMs("timeout", 1, timeoutMsMax) ?? defaultTimeoutMs;
}

/** Those of the resource that are no change's alone. */
function readParameters({ resource, target }: Exchange): readonly string[] {
  const all = resource?.parameters ?? [];
  return target.name === "node" ? ["timeout"] : all;
}

function readRequest({ target }: Exchange, query: Query): AdminRequest {
  const { captured, name } = target;
  switch (name) {
    case "node":
      return { operation: "nodes.get", parameters: { name: segment(captured["name"]) } };
    case "shard":
      return { operation: "shards.get", parameters: { id: shardId(captured["id"]) } };
    case "operation":
      return { operation: "operations.get", parameters: { id: operationId(captured["id"]) } };
    case "locate":
      return { operation: "locate", parameters: keyParameters(query) };
    case "why":
      return { operation: "shards.why", parameters: keyParameters(query) };
    case "nodes":
    case "shards":
    case "keyspaces":
    case "operations":
      return { operation: `${name}.list`, parameters: listParameters(query) };
    default:
      return { operation: `${name}.get`, parameters: {} };
  }
}

function changeParameters(
  exchange: Exchange,
  change: Change,
  query: Query,
  body: Uint8Array,
): Readonly<Record<string, unknown>> {
  const parameters = { ...pathParameters(exchange, change), ...bodyParameters(exchange, change, body) };
  if (change.query.includes("dry_run")) parameters["dry_run"] = query.truth("dry_run");
  if (change.query.includes("force")) parameters["force"] = query.truth("force");
  const shard = change.query.includes("shard") ? query.integer("shard", 1) : undefined;
  if (shard !== undefined) parameters["shard"] = shard;
  const key = idempotencyKey(exchange.request.headers["idempotency-key"]);
  // A dry run changes nothing: there is nothing to keep a record of.
  if (key !== undefined && parameters["dry_run"] !== true) parameters["idempotency_key"] = key;
  return parameters;
}

function pathParameters({ target }: Exchange, { names }: Change): Record<string, unknown> {
  const { captured } = target;
  switch (names) {
    case "node":
    case "keyspace":
      return { name: segment(captured["name"]) };
    case "shard":
      return { id: shardId(captured["id"]) };
    case "operation":
      return { id: operationId(captured["id"]) };
    default:
      return {};
  }
}

function bodyParameters(exchange: Exchange, change: Change, body: Uint8Array): Record<string, unknown> {
  if (change.body === "settings") return { changes: readSettings(exchange, body) };
  if (change.body !== undefined) {
    const parameters = readFields(exchange, body, change.body);
    if (parameters["at"] !== undefined && parameters["ways"] !== undefined) {
      throw new Problem("bad_parameter", 'fields "at" and "ways" exclude each other');
    }
    return parameters;
  }
  if (body.length > 0) throw new Problem("bad_request", "a body does not fit here");
  return {};
}

/** Quotes around it are allowed. @throws Problem bad_parameter */
function idempotencyKey(header: string | readonly string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const text = String(header);
  const key = /^"(.*)"$/.exec(text)?.[1] ?? text;
  if (/^[\x21-\x7e]{1,128}$/.test(key)) return key;
  throw new Problem("bad_parameter", "header Idempotency-Key: it must be 1 to 128 visible ASCII characters");
}

/** What an EventSource sends when it comes back. @throws Problem bad_parameter */
function lastEventId(header: string | readonly string[] | undefined): number | undefined {
  if (header === undefined || header === "") return undefined;
  const id = /^\d{1,16}$/.test(String(header)) ? Number(header) : Number.NaN;
  if (Number.isSafeInteger(id)) return id;
  throw new Problem("bad_parameter", "header Last-Event-ID: it must be the id of an event");
}

function listParameters(query: Query): Record<string, unknown> {
  const parameters: Record<string, unknown> = {};
  for (const name of ["node", "keyspace", "state", "cursor"]) {
    const value = query.text(name);
    if (value !== undefined) parameters[name] = value;
  }
  const limit = query.integer("limit", 1, pageMax);
  if (limit !== undefined) parameters["limit"] = limit;
  return parameters;
}

function keyParameters(query: Query): Readonly<Record<string, unknown>> {
  const key = query.bytes("key") ?? noBytes;
  checkKey(key);
  const keyspace = query.text("keyspace");
  return keyspace === undefined ? { key } : { key, keyspace };
}

function segment(raw: string | undefined): string {
  const text = decodeText(raw ?? "");
  if (text === undefined) throw new Problem("bad_request", "the path is badly escaped, or not UTF-8");
  return text;
}

function shardId(raw: string | undefined): number {
  return numberOf(raw, "shard");
}

/** Operations' ids are text for users, so that they need not stay numbers. */
function operationId(raw: string | undefined): string {
  return String(numberOf(raw, "operation"));
}

function numberOf(raw: string | undefined, what: string): number {
  const text = segment(raw);
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(id)) throw new Problem("not_found", `${JSON.stringify(text)} is no ${what}'s id`);
  return id;
}

function operationOf(outcome: AdminOutcome): string | undefined {
  if (outcome.kind !== "ok") return undefined;
  const { body } = outcome;
  const id: unknown =
    typeof body === "object" && body !== null && "operation" in body ? body.operation : undefined;
  return typeof id === "string" ? id : undefined;
}

function stateOf(body: unknown): unknown {
  return typeof body === "object" && body !== null && "state" in body ? body.state : undefined;
}
