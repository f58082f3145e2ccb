/**
 * Every resource there is: what the server registers, what `405` lists, and what the OpenAPI document must
 * describe. `{key}` takes the rest of the path, slashes included; other names take one segment.
 */
export interface Resource {
  readonly path: string;
  readonly methods: readonly string[];
  /** data: failed writes carry an outcome; reading needs a token of `read`, writing one of `write`. */
  readonly kind: "data" | "admin" | "open" | "page";
  /** Parameters in the query. */
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
  | "shards"
  | "shard"
  | "locate"
  | "keyspaces"
  | "config"
  | "healthz"
  | "readyz"
  | "metrics"
  | "openapi"
  | "docs"
  | "docsErrors";

const dataMethods = ["GET", "HEAD", "PUT", "DELETE"];
const dataParameters = ["consistency", "max_staleness", "min_revision", "timeout"];
const reading = ["GET", "HEAD"];

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
  cluster: { path: "/v1/admin/cluster", methods: reading, kind: "admin", parameters: ["timeout"] },
  nodes: {
    path: "/v1/admin/nodes",
    methods: reading,
    kind: "admin",
    parameters: ["timeout"],
  },
  node: { path: "/v1/admin/nodes/{name}", methods: reading, kind: "admin", parameters: ["timeout"] },
  shards: {
    path: "/v1/admin/shards",
    methods: reading,
    kind: "admin",
    parameters: ["node", "keyspace", "state", "limit", "cursor", "timeout"],
  },
  shard: { path: "/v1/admin/shards/{id}", methods: reading, kind: "admin", parameters: ["timeout"] },
  locate: {
    path: "/v1/admin/locate",
    methods: reading,
    kind: "admin",
    parameters: ["key", "keyspace", "timeout"],
  },
  keyspaces: {
    path: "/v1/admin/keyspaces",
    methods: reading,
    kind: "admin",
    parameters: ["timeout"],
  },
  config: { path: "/v1/admin/config", methods: reading, kind: "admin", parameters: ["timeout"] },
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
  const one = /^\/v1\/admin\/(nodes|shards)\/([^/]+)$/.exec(path);
  if (one?.[1] === "nodes") return { name: "node", captured: { name: one[2] ?? "" } };
  if (one?.[1] === "shards") return { name: "shard", captured: { id: one[2] ?? "" } };
  return { name: undefined, captured: none };
}
