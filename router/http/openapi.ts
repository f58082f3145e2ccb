import { type Code, errorCodes } from "#proto";

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
      ...adminPaths,
      ...operatorPaths,
    },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas,
      responses: { problem: problemResponse },
    },
  };
}

type Json = Record<string, unknown>;

const text = { type: "string" };
const whole = { type: "integer" };
const revision = { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER };

const schemas: Json = {
  Problem: {
    type: "object",
    required: ["type", "title", "status", "code", "detail", "retryable", "request_id"],
    properties: {
      type: { ...text, description: "/docs/errors#CODE" },
      title: text,
      status: whole,
      code: { ...text, enum: Object.keys(errorCodes) satisfies string[] as Code[] },
      detail: text,
      retryable: { type: "boolean" },
      retry_after_ms: whole,
      request_id: text,
      outcome: {
        ...text,
        enum: ["not_applied", "unknown"],
        description: "On each failed data write: `not_applied` only if it was not and never will be.",
      },
      revision: { ...whole, description: "precondition_failed: the present one, 0 when absent." },
      blockers: { type: "array", items: {} },
      reasons: { type: "array", items: text },
    },
  },
  Put: { type: "object", required: ["revision"], properties: { revision } },
  Deleted: {
    type: "object",
    required: ["deleted", "revision"],
    properties: { deleted: { type: "boolean" }, revision },
  },
  Cluster: {
    type: "object",
    properties: {
      cluster: text,
      cluster_id: text,
      version: text,
      placement: {
        type: "object",
        properties: { leader: text, term: whole, members: { type: "array", items: text } },
      },
      nodes: counts("up", "suspect", "down", "draining"),
      shards: counts("total", "healthy", "under_replicated", "leaderless"),
      can_lose: { type: "object", properties: { nodes: whole, reason: text } },
      config: { type: "object" },
    },
  },
  Node: {
    type: "object",
    properties: {
      name: text,
      id: whole,
      state: text,
      liveness: { ...text, enum: ["up", "suspect", "down"] },
      membership: { ...text, enum: ["active", "draining", "decommissioning", "decommissioned"] },
      http: text,
      pid: whole,
      labels: { type: "object", additionalProperties: text },
      weight: { type: "number" },
      version: text,
      replicas: whole,
      leaders: whole,
      bytes: whole,
      disk_free_bytes: whole,
      heartbeat_age_ms: whole,
      fsync_p99_ms: { type: "number" },
      started_at: text,
    },
  },
  Epoch: { type: "object", properties: { version: whole, conf_version: whole } },
  Shard: {
    type: "object",
    properties: {
      id: whole,
      keyspace: text,
      start: { ...text, description: "Lower-case hex of the encoded key; empty: open." },
      end: text,
      epoch: ref("Epoch"),
      replicas: {
        type: "array",
        items: {
          type: "object",
          properties: { node: text, replica_id: whole, role: text, match_lag: whole, state: text },
        },
      },
      leader: text,
      term: whole,
      bytes: whole,
      keys: whole,
      writes_per_s: { type: "number" },
      reads_per_s: { type: "number" },
      health: { ...text, enum: ["healthy", "under_replicated", "leaderless"] },
    },
  },
  Location: {
    type: "object",
    properties: {
      shard: whole,
      leader: text,
      replicas: { type: "array", items: text },
      epoch: ref("Epoch"),
    },
  },
  Keyspace: {
    type: "object",
    properties: {
      name: text,
      partition: { ...text, enum: ["hash", "range"] },
      slots: whole,
      shards: whole,
      replicas: whole,
    },
  },
};

function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function counts(...names: string[]): Json {
  return { type: "object", properties: Object.fromEntries(names.map((name) => [name, whole])) };
}

function listOf(name: string): Json {
  return {
    type: "object",
    required: ["items", "cursor"],
    properties: { items: { type: "array", items: ref(name) }, cursor: { type: ["string", "null"] } },
  };
}

function query(name: string, schema: Json, description: string): Json {
  return { name, in: "query", schema, description };
}

function header(name: string, description: string): Json {
  return { name, in: "header", schema: text, description };
}

const keyParameter = {
  name: "key",
  in: "path",
  required: true,
  schema: text,
  description:
    "1 to 4,096 bytes, percent-encoded; slashes may stand as they are: it is all the rest of the path.",
};
const keyQuery = query("key", text, "The key, for those that URL libraries would rewrite in a path.");
const keyspaceParameter = { name: "keyspace", in: "path", required: true, schema: text };
const timeout = query("timeout", { ...text, default: "5s" }, "Such as 500ms or 5s; at most 60s.");
const ifMatch = header("If-Match", "`*`, or quoted revisions, one of which must be the present one.");
const ifNoneMatch = header("If-None-Match", "`*` (writes: must be absent), or quoted revisions to refuse.");

const servedHeaders: Json = {
  "Kvorum-Request-Id": { schema: text, description: "The caller's X-Request-Id if it sent one." },
  "Kvorum-Served-By": { schema: text, description: "The node whose answer this is." },
  "Kvorum-Shard": { schema: text },
  "Server-Timing": { schema: text, description: "With Kvorum-Trace: 1." },
};
const etag: Json = { ETag: { schema: text, description: "The revision in quotes." } };

const problemResponse = {
  description: "An error",
  headers: {
    ...servedHeaders,
    "Kvorum-Code": { schema: text, description: "The code, for HEAD." },
    "Retry-After": { schema: whole },
  },
  content: { "application/problem+json": { schema: ref("Problem") } },
};

function json(description: string, schema: Json, headers: Json = {}): Json {
  return {
    description,
    headers: { ...servedHeaders, ...headers },
    content: { "application/json": { schema } },
  };
}

/** Whatever goes wrong has one shape; the codes say which. */
function responses(good: Json, ...codes: readonly Code[]): Json {
  const bad = new Map<string, Code[]>();
  for (const code of codes) {
    const status = String(errorCodes[code].status);
    bad.set(status, [...(bad.get(status) ?? []), code]);
  }
  const problems = [...bad].map(([status, list]) => [
    status,
    { ...problemResponse, description: `\`${list.join("`, `")}\`` },
  ]);
  return { ...good, ...Object.fromEntries(problems) };
}

const everywhere: readonly Code[] = [
  "bad_request",
  "bad_parameter",
  "unauthenticated",
  "forbidden",
  "uri_too_long",
  "headers_too_large",
  "internal",
  "unavailable",
];
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

const limit = query("limit", { ...whole, minimum: 1, maximum: 10_000 }, "Items a page.");
const cursor = query("cursor", text, "Of the page before.");

function adminPath(
  summary: string,
  schema: Json,
  parameters: readonly Json[] = [],
  codes: readonly Code[] = [],
): Json {
  const operation = {
    tags: ["admin"],
    summary,
    responses: responses(
      { "200": json(summary, schema) },
      ...everywhere,
      ...codes,
      "not_acceptable",
      "too_busy",
      "timeout",
    ),
  };
  return { parameters: [...parameters, timeout], get: operation, head: operation };
}

const adminPaths: Json = {
  "/v1/admin/cluster": adminPath("The cluster as a whole", ref("Cluster")),
  "/v1/admin/nodes": adminPath("Its nodes", listOf("Node")),
  "/v1/admin/nodes/{name}": adminPath(
    "One node",
    ref("Node"),
    [{ name: "name", in: "path", required: true, schema: text }],
    ["not_found"],
  ),
  "/v1/admin/shards": adminPath("Its shards", listOf("Shard"), [
    query("node", text, "Those with a replica there."),
    query("keyspace", text, "Those of one keyspace."),
    query("state", text, "Those of one health."),
    limit,
    cursor,
  ]),
  "/v1/admin/shards/{id}": adminPath(
    "One shard",
    ref("Shard"),
    [{ name: "id", in: "path", required: true, schema: whole }],
    ["not_found"],
  ),
  "/v1/admin/locate": adminPath(
    "Where a key lives",
    ref("Location"),
    [keyQuery, query("keyspace", { ...text, default: "default" }, "Its keyspace.")],
    ["key_empty", "key_too_large", "no_such_keyspace"],
  ),
  "/v1/admin/keyspaces": adminPath("Its keyspaces", listOf("Keyspace")),
  "/v1/admin/config": adminPath("Its live settings", { type: "object" }),
};

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
