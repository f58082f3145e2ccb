import type { ServerResponse } from "node:http";
import {
  type Code,
  type Condition,
  isName,
  type KvOperation,
  keyBytesMax,
  type NodeId,
  noBytes,
} from "#proto";
import type { Failure, ReadOutcome, Router, Served, WriteOutcome } from "#router/routing";
import { authorise, fullGrant } from "./access.ts";
import { matches, parseConditions } from "./conditions.ts";
import { decodeBytes, decodeText } from "./escapes.ts";
import type { Exchange } from "./exchange.ts";
import { Problem } from "./problem.ts";
import { Query } from "./query.ts";

const defaultTimeoutMs = 5_000;
export const timeoutMsMax = 60_000;
const contentTypeBytesMax = 128;
const defaultContentType = "application/octet-stream";

export interface DataOptions {
  readonly router: Pick<Router, "read" | "write">;
  readonly nodeName: (node: NodeId) => string;
  /** For answers that no shard's node gave. */
  readonly ownName: string;
}

interface KeyedRequest {
  readonly keyspace: string;
  readonly key: Uint8Array;
  readonly query: Query;
  readonly timeoutMs: number;
}

/** `GET`, `HEAD`, `PUT` and `DELETE` of one key. Throws Problem for what is wrong with the request itself. */
export class DataHandlers {
  readonly #options: DataOptions;

  constructor(options: DataOptions) {
    this.#options = options;
  }

  get(exchange: Exchange, response: ServerResponse): void {
    const { keyspace, key, query, timeoutMs } = readKeyed(exchange, reading);
    authorise(exchange.grant ?? fullGrant, "read", key);
    const condition = parseConditions(exchange.request.headers);
    const maxStalenessMs = query.durationMs("max_staleness", 0, 86_400_000);
    const minRevision = query.integer("min_revision", 0);
    const bounded = maxStalenessMs !== undefined || minRevision !== undefined;
    const asked = query.choice("consistency", ["linearizable", "leader", "stale"]);
    const intent = {
      keyspace,
      key,
      timeoutMs,
      consistency: asked ?? (bounded ? "stale" : "linearizable"),
      ...(maxStalenessMs === undefined ? {} : { maxStalenessMs }),
      ...(minRevision === undefined ? {} : { minRevision }),
    } as const;
    this.#options.router.read(intent, (outcome) => this.#answerRead(exchange, response, condition, outcome));
  }

  put(exchange: Exchange, response: ServerResponse, body: unknown): void {
    const { headers } = exchange.request;
    const intent = readKeyed(exchange, writing);
    authorise(exchange.grant ?? fullGrant, "write", intent.key);
    if (headers["content-range"] !== undefined) {
      throw new Problem("bad_request", "a value is put whole: Content-Range is not supported");
    }
    if (headers["content-encoding"] !== undefined) {
      throw new Problem("unsupported_media_type", "Content-Encoding is not supported");
    }
    const contentType = exchange.contentType ?? defaultContentType;
    if (contentType.length > contentTypeBytesMax) {
      throw new Problem("bad_request", `Content-Type has more than ${contentTypeBytesMax} bytes`);
    }
    const value = body instanceof Uint8Array ? body : noBytes;
    this.#write(exchange, response, intent, {
      kind: "put",
      value,
      contentType,
      ...conditionField(parseConditions(headers)),
    });
  }

  delete(exchange: Exchange, response: ServerResponse): void {
    const intent = readKeyed(exchange, writing);
    authorise(exchange.grant ?? fullGrant, "write", intent.key);
    const condition = parseConditions(exchange.request.headers);
    this.#write(exchange, response, intent, { kind: "delete", ...conditionField(condition) });
  }

  #write(
    exchange: Exchange,
    response: ServerResponse,
    { keyspace, key, timeoutMs }: KeyedRequest,
    operation: KvOperation,
  ): void {
    // To take the header and not keep its promise would be worse than to refuse it.
    if (exchange.request.headers["idempotency-key"] !== undefined) {
      throw new Problem("bad_parameter", "header Idempotency-Key: this version keeps no records under it");
    }
    this.#options.router.write({ keyspace, key, operation, timeoutMs }, (outcome) =>
      this.#answerWrite(exchange, response, outcome),
    );
  }

  #answerWrite(exchange: Exchange, response: ServerResponse, outcome: WriteOutcome): void {
    const headers = this.#servedHeaders(outcome);
    switch (outcome.kind) {
      case "put":
        headers.push("ETag", `"${outcome.revision}"`, "Content-Type", "application/json");
        exchange.answer(response, 200, headers, `{"revision":${outcome.revision}}`);
        return;
      case "deleted": {
        const { deleted, revision } = outcome;
        headers.push("Content-Type", "application/json");
        exchange.answer(response, 200, headers, `{"deleted":${deleted},"revision":${revision}}`);
        return;
      }
      case "precondition_failed":
        exchange.fail(response, preconditionFailed(outcome.revision, headers));
        return;
      default:
        exchange.fail(response, problemOf(outcome, headers));
    }
  }

  #answerRead(
    exchange: Exchange,
    response: ServerResponse,
    condition: Condition | undefined,
    outcome: ReadOutcome,
  ): void {
    const headers = this.#servedHeaders(outcome);
    if (outcome.kind === "failed") {
      exchange.fail(response, problemOf(outcome, headers));
      return;
    }
    if (outcome.stalenessMs !== undefined) {
      headers.push("Kvorum-Staleness-Ms", String(Math.ceil(outcome.stalenessMs)));
    }
    const revision = outcome.kind === "found" ? outcome.stored.revision : 0;
    if (condition?.match !== undefined && !matches(condition.match, revision)) {
      exchange.fail(response, preconditionFailed(revision, headers));
      return;
    }
    if (outcome.kind === "absent") {
      exchange.fail(response, new Problem("not_found", "the key does not exist", { headers }));
      return;
    }
    const { contentType, expiresMs, value } = outcome.stored;
    headers.push("ETag", `"${revision}"`, "Cache-Control", "no-cache");
    if (expiresMs !== undefined) headers.push("Kvorum-Expires", new Date(expiresMs).toISOString());
    if (condition?.noneMatch !== undefined && matches(condition.noneMatch, revision)) {
      exchange.answer(response, 304, headers, noBytes);
      return;
    }
    // The value is whatever somebody wrote: a browser must not take it for a page of ours.
    headers.push(
      "Content-Type",
      contentType,
      "X-Content-Type-Options",
      "nosniff",
      "Content-Security-Policy",
      "sandbox; default-src 'none'",
    );
    exchange.answer(response, 200, headers, value);
  }

  #servedHeaders({ shard, servedBy }: Served): string[] {
    const name = servedBy === undefined ? this.#options.ownName : this.#options.nodeName(servedBy);
    const headers = ["Kvorum-Served-By", name];
    if (shard !== undefined) headers.push("Kvorum-Shard", String(shard));
    return headers;
  }
}

const reading = ["consistency", "max_staleness", "min_revision", "timeout"];
const writing = ["timeout"];

/** @throws Problem */
function readKeyed({ target }: Exchange, known: readonly string[]): KeyedRequest {
  const { captured } = target;
  const rawKey = captured["key"];
  const query = Query.parse(target.query, rawKey === undefined ? ["key", ...known] : known);
  const key = rawKey === undefined ? (query.bytes("key") ?? noBytes) : decodeBytes(rawKey);
  if (key === undefined) throw new Problem("bad_request", "the key is badly escaped: % and two hex digits");
  checkKey(key);
  return {
    keyspace: readKeyspace(captured["keyspace"]),
    key,
    query,
    timeoutMs: query.durationMs("timeout", 1, timeoutMsMax) ?? defaultTimeoutMs,
  };
}

/** @throws Problem key_empty, key_too_large */
export function checkKey(key: Uint8Array): void {
  if (key.length === 0) throw new Problem("key_empty", "a key has at least one byte");
  if (key.length > keyBytesMax) {
    throw new Problem("key_too_large", `the key has ${key.length} bytes, at most ${keyBytesMax} are allowed`);
  }
}

function readKeyspace(raw: string | undefined): string {
  if (raw === undefined) return "default";
  const name = decodeText(raw);
  if (name === undefined || !isName(name)) {
    throw new Problem("no_such_keyspace", `${JSON.stringify(name ?? raw)} cannot be a keyspace's name`);
  }
  return name;
}

function conditionField(condition: Condition | undefined): { condition?: Condition } {
  return condition === undefined ? {} : { condition };
}

function preconditionFailed(revision: number, headers: string[]): Problem {
  const present = revision === 0 ? "the key does not exist" : `the key is at revision ${revision}`;
  if (revision !== 0) headers.push("ETag", `"${revision}"`);
  return new Problem("precondition_failed", present, { headers, fields: { revision } });
}

function problemOf(failure: Failure, headers: readonly string[]): Problem {
  const { code, detail, outcome, retryAfterMs } = failure;
  return new Problem(code satisfies Code, detail, {
    headers,
    ...(outcome === undefined ? {} : { outcome }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
