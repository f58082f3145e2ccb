import type { ServerResponse } from "node:http";
import { type AdminRequest, type NodeId, noBytes } from "#proto";
import type { AdminOutcome, Router } from "#router/routing";
import { negotiate } from "./accept.ts";
import { authorise, fullGrant } from "./access.ts";
import { checkKey, timeoutMsMax } from "./data.ts";
import { decodeText } from "./escapes.ts";
import type { Exchange } from "./exchange.ts";
import { Problem } from "./problem.ts";
import { Query } from "./query.ts";

const defaultTimeoutMs = 5_000;
const pageMax = 10_000;

export interface AdminOptions {
  readonly router: Pick<Router, "admin">;
  readonly nodeName: (node: NodeId) => string;
  readonly ownName: string;
}

/** The parts of placement's API that only read: decoded, forwarded to placement's leader, passed back. */
export class AdminHandlers {
  readonly #options: AdminOptions;

  constructor(options: AdminOptions) {
    this.#options = options;
  }

  /** @throws Problem */
  get(exchange: Exchange, response: ServerResponse): void {
    authorise(exchange.grant ?? fullGrant, "read");
    demandJson(exchange);
    const query = Query.parse(exchange.target.query, exchange.resource?.parameters ?? []);
    const request = this.#requestOf(exchange, query);
    const timeoutMs = query.durationMs("timeout", 1, timeoutMsMax) ?? defaultTimeoutMs;
    this.#options.router.admin(request, timeoutMs, (outcome) => this.#answer(exchange, response, outcome));
  }

  #requestOf({ target }: Exchange, query: Query): AdminRequest {
    const { captured } = target;
    switch (target.name) {
      case "node":
        return { operation: "nodes.get", parameters: { name: segment(captured["name"]) } };
      case "shard":
        return { operation: "shards.get", parameters: { id: shardId(captured["id"]) } };
      case "locate":
        return { operation: "locate", parameters: locateParameters(query) };
      case "nodes":
      case "shards":
      case "keyspaces":
        return { operation: `${target.name}.list`, parameters: listParameters(query) };
      default:
        return { operation: `${target.name}.get`, parameters: {} };
    }
  }

  #answer(exchange: Exchange, response: ServerResponse, outcome: AdminOutcome): void {
    const { nodeName, ownName } = this.#options;
    const servedBy = outcome.servedBy === undefined ? ownName : nodeName(outcome.servedBy);
    const headers = ["Kvorum-Served-By", servedBy, "Cache-Control", "no-store"];
    if (outcome.kind === "ok") {
      exchange.json(response, outcome.status, headers, outcome.body);
      return;
    }
    const { code, detail, extra } = outcome;
    exchange.fail(
      response,
      new Problem(code, detail, {
        headers: ["Kvorum-Served-By", servedBy],
        ...(extra === undefined ? {} : { fields: extra }),
        ...(code === "unavailable" ? { retryAfterMs: 1_000 } : {}),
      }),
    );
  }
}

/** @throws Problem not_acceptable */
export function demandJson(exchange: Exchange, type = "application/json"): void {
  if (negotiate(exchange.request.headers.accept, [type]) === undefined) {
    throw new Problem("not_acceptable", `this is given as ${type} only`);
  }
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

function locateParameters(query: Query): Readonly<Record<string, unknown>> {
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
  const text = segment(raw);
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(id)) throw new Problem("not_found", `${JSON.stringify(text)} is no shard's id`);
  return id;
}
