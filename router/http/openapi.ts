import type { Code } from "#proto";
import { adminPaths } from "./openapi-admin.ts";
import {
  everywhere,
  header,
  json,
  keyQuery,
  problemResponse,
  query,
  responses,
  servedHeaders,
  timeout,
} from "./openapi-parts.ts";
import { type Json, ref, schemas, text, whole } from "./openapi-schemas.ts";

/**
 * The HTTP API as an OpenAPI 3.1 document, by hand. A test holds it against the resources the server
 * registers, their methods and parameters, and the error codes, in both directions.
 */
export function openApi(version: string): Record<string, unknown> {
  return {
    openapi: "3.1.0",
    info: {
      title: "Kvorum",
      version,
      summary: "A sharded, replicated key-value store",
      description:
        "The same on every node and stateless router. Errors are `application/problem+json`; /docs/errors says what each code means.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    security: [{}, { token: [] }],
    tags: [
      { name: "data", description: "Keys and values" },
      { name: "admin", description: "What placement knows" },
      { name: "operations", description: "For operators" },
    ],
    paths: {
      "/v1/kv/{key}": keyPath([keyParameter]),
      "/v1/kv": keyPath([keyQuery]),
      "/v1/ks/{keyspace}/kv/{key}": keyPath([keyspaceParameter, keyParameter]),
      "/v1/ks/{keyspace}/kv": keyPath([keyspaceParameter, keyQuery]),
      ...adminPaths(),
      ...operatorPaths,
    },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas,
      responses: { problem: problemResponse },
    },
  };
}

const keyParameter = {
  name: "key",
  in: "path",
  required: true,
  schema: text,
  description:
    "1 to 4,096 bytes, percent-encoded; slashes may stand as they are: it is all the rest of the path.",
};
const keyspaceParameter = { name: "keyspace", in: "path", required: true, schema: text };
const ifMatch = header("If-Match", "`*`, or quoted revisions, one of which must be the present one.");
const ifNoneMatch = header("If-None-Match", "`*` (writes: must be absent), or quoted revisions to refuse.");

const etag: Json = { ETag: { schema: text, description: "The revision in quotes." } };

const forKeys: readonly Code[] = ["key_empty", "key_too_large", "no_such_keyspace", "too_busy", "timeout"];

function keyPath(parameters: readonly Json[]): Json {
  return {
    parameters: [...parameters, timeout, header("X-Request-Id", "Named in the answer and in logs.")],
    get: reading("get"),
    head: reading("head"),
    put: {
      tags: ["data"],
      summary: "Writes a value",
      parameters: [ifMatch, ifNoneMatch],
      requestBody: {
        description: "0 bytes to `max_value_bytes` (1 MiB). Its Content-Type, up to 128 bytes, is kept.",
        content: { "*/*": { schema: { type: "string", format: "binary" } } },
      },
      responses: responses(
        { "200": json("Written", ref("Put"), etag) },
        ...everywhere,
        ...forKeys,
        "precondition_failed",
        "value_too_large",
        "unsupported_media_type",
        "storage_full",
      ),
    },
    delete: {
      tags: ["data"],
      summary: "Removes a key",
      parameters: [ifMatch, ifNoneMatch],
      responses: responses(
        { "200": json("Removed, or was absent", ref("Deleted")) },
        ...everywhere,
        ...forKeys,
        "precondition_failed",
        // A body is allowed here, but not of any size.
        "value_too_large",
      ),
    },
  };
}

function reading(method: "get" | "head"): Json {
  const value = { "*/*": { schema: { type: "string", format: "binary" } } };
  return {
    tags: ["data"],
    summary: method === "get" ? "Reads a value" : "Reads a value's headers",
    parameters: [
      query("consistency", { ...text, enum: ["linearizable", "leader", "stale"] }, "Default linearizable."),
      query(
        "max_staleness",
        text,
        "Implies stale: such as 500ms. Linearizable where no replica is that fresh.",
      ),
      query("min_revision", whole, "Implies stale, of a replica that has reached this revision."),
      ifMatch,
      ifNoneMatch,
      header("Kvorum-Trace", "1: the answer has Server-Timing."),
    ],
    responses: responses(
      {
        "200": {
          description: "The value, with the Content-Type it was written with",
          headers: {
            ...servedHeaders,
            ...etag,
            "Kvorum-Expires": { schema: text, description: "When it has a TTL." },
            "Kvorum-Staleness-Ms": { schema: whole, description: "On stale reads: an upper bound." },
          },
          ...(method === "get" ? { content: value } : {}),
        },
        "304": {
          description: "The revision is one of If-None-Match",
          headers: { ...servedHeaders, ...etag },
        },
      },
      ...everywhere,
      ...forKeys,
      "not_found",
      "precondition_failed",
    ),
  };
}

function operatorPath(summary: string, type: string, codes: readonly Code[] = []): Json {
  const operation = {
    tags: ["operations"],
    summary,
    responses: responses(
      {
        "200": {
          description: summary,
          content: { [type]: { schema: type === "application/json" ? {} : text } },
        },
      },
      ...everywhere,
      ...codes,
    ),
  };
  return { get: operation, head: operation };
}

const operatorPaths: Json = {
  "/healthz": operatorPath("The process lives", "application/json"),
  "/readyz": operatorPath("It has joined, has routes, and its groups have leaders", "application/json"),
  "/metrics": operatorPath("Prometheus text; names kvorum_* with units", "text/plain"),
  "/openapi.json": operatorPath("This document", "application/json", ["not_acceptable"]),
  "/docs": operatorPath("Documentation", "text/html", ["not_acceptable"]),
  "/docs/errors": operatorPath("Each error, what it means and what to do", "text/html", ["not_acceptable"]),
};
