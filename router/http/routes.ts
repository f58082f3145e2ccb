/**
 * Every resource there is: what the server registers, what `405` lists, and what the OpenAPI document must
 * describe. `{key}` takes the rest of the path, slashes included; other names take one segment.
 */
export interface Resource {
  readonly path: string;
  readonly methods: readonly string[];
  /** Reading needs a token of `read`, writing data one of `write`, all other changes one of `admin`. */
  readonly kind: "data" | "admin" | "open" | "page";
  /** Parameters in the query, of all methods together. */
  readonly parameters: readonly string[];
}

export type ResourceName =
  | "key"
  | "keyInQuery"
  | "keyOfKeyspace"
  | "keyOfKeyspaceInQuery"
  | "cluster"
  | "nodes"
  | "node"
  | "nodeDrain"
  | "nodeUndrain"
  | "nodeDecommission"
  | "nodeRecommission"
  | "shards"
  | "shard"
  | "shardSplit"
  | "shardMerge"
  | "shardTransferLeader"
  | "shardMove"
  | "shardScatter"
  | "shardEvents"
  | "locate"
  | "why"
  | "rebalance"
  | "operations"
  | "operation"
  | "config"
  | "keyspaces"
  | "keyspace"
  | "snapshot"
  | "events"
  | "healthz"
  | "readyz"
  | "metrics"
  | "openapi"
  | "docs"
  | "docsErrors";

const dataMethods = ["GET", "HEAD", "PUT", "DELETE"];
const dataParameters = ["consistency", "max_staleness", "min_revision", "timeout"];
const reading = ["GET", "HEAD"];
const posting = ["POST"];

function admin(path: string, methods: readonly string[], parameters: readonly string[] = []): Resource {
  return { path: `/v1/admin/${path}`, methods, kind: "admin", parameters: [...parameters, "timeout"] };
}

export const resources: Readonly<Record<ResourceName, Resource>> = {
  key: { path: "/v1/kv/{key}", methods: dataMethods, kind: "data", parameters: dataParameters },
  keyInQuery: { path: "/v1/kv", methods: dataMethods, kind: "data", parameters: ["key", ...dataParameters] },
  keyOfKeyspace: {
    path: "/v1/ks/{keyspace}/kv/{key}",
    methods: dataMethods,
    kind: "data",
    parameters: dataParameters,
  },
  keyOfKeyspaceInQuery: {
    path: "/v1/ks/{keyspace}/kv",
    methods: dataMethods,
    kind: "data",
    parameters: ["key", ...dataParameters],
  },
  cluster: admin("cluster", reading),
  nodes: admin("nodes", reading),
  node: admin("nodes/{name}", [...reading, "PATCH", "DELETE"], ["force", "wait"]),
  nodeDrain: admin("nodes/{name}/drain", posting, ["wait"]),
  nodeUndrain: admin("nodes/{name}/undrain", posting, ["wait"]),
  nodeDecommission: admin("nodes/{name}/decommission", posting, ["dry_run", "wait"]),
  nodeRecommission: admin("nodes/{name}/recommission", posting, ["wait"]),
  shards: admin("shards", reading, ["node", "keyspace", "state", "limit", "cursor"]),
  shard: admin("shards/{id}", reading),
  shardSplit: admin("shards/{id}/split", posting, ["wait"]),
  shardMerge: admin("shards/{id}/merge", posting, ["wait"]),
  shardTransferLeader: admin("shards/{id}/transfer-leader", posting, ["wait"]),
  shardMove: admin("shards/{id}/move", posting, ["wait"]),
  shardScatter: admin("shards/{id}/scatter", posting, ["wait"]),
  shardEvents: admin("shards/{id}/events", reading, ["since"]),
  locate: admin("locate", reading, ["key", "keyspace"]),
  why: admin("why", reading, ["key", "keyspace"]),
  rebalance: admin("rebalance", posting, ["dry_run", "wait"]),
  operations: admin("operations", reading, ["state"]),
  operation: admin("operations/{id}", [...reading, "DELETE"]),
  config: admin("config", [...reading, "PATCH"]),
  keyspaces: admin("keyspaces", [...reading, "POST"]),
  keyspace: admin("keyspaces/{name}", ["DELETE"], ["wait"]),
  snapshot: admin("snapshot", posting, ["shard"]),
  events: admin("events", reading, ["since"]),
  healthz: { path: "/healthz", methods: reading, kind: "open", parameters: [] },
  readyz: { path: "/readyz", methods: reading, kind: "open", parameters: [] },
  metrics: { path: "/metrics", methods: reading, kind: "page", parameters: [] },
  openapi: { path: "/openapi.json", methods: reading, kind: "page", parameters: [] },
  docs: { path: "/docs", methods: reading, kind: "page", parameters: [] },
  docsErrors: { path: "/docs/errors", methods: reading, kind: "page", parameters: [] },
};

/** Where a request goes, with everything still undecoded. */
export interface Target {
  /** Undefined: there is no such resource. */
  readonly name: ResourceName | undefined;
  /** Segments and rests in the place of `{…}`, raw. */
  readonly captured: Readonly<Record<string, string>>;
  /** Behind the `?`, raw. */
  readonly query: string;
}

const none: Readonly<Record<string, string>> = {};
const keyStart = "/v1/kv/";

/**
 * Finds the resource of a raw URL. By hand, and on the raw text, since a key may hold any byte, escaped or
 * not: a router that decodes or normalises paths would lose some.
 */
export function findTarget(url: string): Target {
  const mark = url.indexOf("?");
  const path = originForm(mark < 0 ? url : url.slice(0, mark));
  const query = mark < 0 ? "" : url.slice(mark + 1);
  if (path.startsWith(keyStart)) {
    const key = path.slice(keyStart.length);
    if (key === "") return { name: "keyInQuery", captured: none, query };
    return { name: "key", captured: { key }, query };
  }
  const exact = exactPaths.get(path);
  if (exact !== undefined) return { name: exact, captured: none, query };
  return { ...findPattern(path), query };
}

/** A proxy may be sent the absolute form (RFC 9112, 3.2.2). */
function originForm(path: string): string {
  const match = path.startsWith("/") ? null : /^https?:\/\/[^/]*(\/.*)?$/i.exec(path);
  return match === null ? path : (match[1] ?? "/");
}

const names = Object.keys(resources) as ResourceName[];
const exactPaths: ReadonlyMap<string, ResourceName> = new Map(
  names.filter((name) => !resources[name].path.includes("{")).map((name) => [resources[name].path, name]),
);

function findPattern(path: string): {
  name: ResourceName | undefined;
  captured: Readonly<Record<string, string>>;
} {
  const ofKeyspace = /^\/v1\/ks\/([^/]+)\/kv(?:\/(.*))?$/s.exec(path);
  if (ofKeyspace !== null) {
    const [, keyspace = "", key = ""] = ofKeyspace;
    if (key === "") return { name: "keyOfKeyspaceInQuery", captured: { keyspace } };
    return { name: "keyOfKeyspace", captured: { keyspace, key } };
  }
  const segments = path.split("/");
  for (const { name, parts } of patterns) {
    const captured = capture(parts, segments);
    if (captured !== undefined) return { name, captured };
  }
  return { name: undefined, captured: none };
}

const patterns: readonly { readonly name: ResourceName; readonly parts: readonly string[] }[] = names
  .filter((name) => resources[name].kind === "admin" && resources[name].path.includes("{"))
  .map((name) => ({ name, parts: resources[name].path.split("/") }));

/** @returns undefined when they do not fit; a segment that is captured is never empty */
function capture(
  parts: readonly string[],
  segments: readonly string[],
): Readonly<Record<string, string>> | undefined {
  if (parts.length !== segments.length) return undefined;
  const captured: Record<string, string> = {};
  for (const [i, part] of parts.entries()) {
    const segment = segments[i] ?? "";
    if (part.startsWith("{")) {
      if (segment === "") return undefined;
      captured[part.slice(1, -1)] = segment;
    } else if (part !== segment) return undefined;
  }
  return captured;
}
