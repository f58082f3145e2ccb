import type { Code } from "#proto";
import { type Change, changeOf } from "./changes.ts";
import { everywhere, header, json, keyQuery, listOf, query, responses, timeout } from "./openapi-parts.ts";
import { type Json, ref, text, whole } from "./openapi-schemas.ts";
import { type ResourceName, resources } from "./routes.ts";

/** Of reads and changes alike. */
const common: readonly Code[] = [...everywhere, "not_acceptable", "timeout"];
const ofChanges: readonly Code[] = [
  ...common,
  "conflict",
  "blocked",
  "request_too_large",
  "unsupported_media_type",
  "idempotency_conflict",
  "too_busy",
];

const parameterTexts: Readonly<Record<string, Json>> = {
  wait: query(
    "wait",
    { type: "boolean", default: false },
    "Answer when the operation is over, until timeout.",
  ),
  dry_run: query("dry_run", { type: "boolean", default: false }, "Plan only: nothing is changed."),
  force: query(
    "force",
    { type: "boolean", default: false },
    "Also where it is down: its voters count as missing.",
  ),
  shard: query("shard", whole, "That one only."),
};

const keyspaceQuery = query("keyspace", { ...text, default: "default" }, "Its keyspace.");
const since = query("since", whole, "Those after the event of this id. Last-Event-ID wins over it.");

interface Reading {
  readonly summary: string;
  readonly schema: Json;
  readonly parameters?: readonly Json[];
  readonly codes?: readonly Code[];
  /** Also as a stream. */
  readonly streams?: boolean;
}

const events: Reading = {
  summary: "Placement's decisions and what it saw, the last 10,000; JSON with Accept: application/json",
  schema: listOf("Event"),
  parameters: [since],
  codes: ["too_busy"],
  streams: true,
};

const readings: Readonly<Partial<Record<ResourceName, Reading>>> = {
  cluster: { summary: "The cluster as a whole", schema: ref("Cluster") },
  nodes: { summary: "Its nodes", schema: listOf("Node") },
  node: { summary: "One node", schema: ref("Node"), codes: ["not_found"] },
  shards: {
    summary: "Its shards",
    schema: listOf("Shard"),
    parameters: [
      query("node", text, "Those with a replica there."),
      query("keyspace", text, "Those of one keyspace."),
      query("state", text, "Those of one health."),
      query("limit", { ...whole, minimum: 1, maximum: 10_000 }, "Items a page."),
      query("cursor", text, "Of the page before."),
    ],
    codes: ["not_found", "no_such_keyspace"],
  },
  shard: { summary: "One shard", schema: ref("Shard"), codes: ["not_found"] },
  shardEvents: { ...events, summary: "Events of one shard", codes: ["not_found", "too_busy"] },
  locate: {
    summary: "Where a key lives",
    schema: ref("Location"),
    parameters: [keyQuery, keyspaceQuery],
    codes: ["key_empty", "key_too_large", "no_such_keyspace"],
  },
  why: {
    summary: "Where a key lives, and the decisions that put it there",
    schema: ref("Why"),
    parameters: [keyQuery, keyspaceQuery],
    codes: ["key_empty", "key_too_large", "no_such_keyspace"],
  },
  operations: {
    summary: "What is under way, and what was lately",
    schema: listOf("Operation"),
    parameters: [query("state", text, "Those of one state.")],
  },
  operation: { summary: "One operation", schema: ref("Operation"), codes: ["not_found"] },
  config: { summary: "The live settings", schema: { type: "object" } },
  keyspaces: { summary: "Its keyspaces", schema: listOf("Keyspace") },
  events,
};

const begun: Json = {
  "202": json("Begun, or still under way past the timeout", ref("Begun"), {
    Location: { schema: text, description: "Of the operation." },
    "Idempotent-Replay": { schema: text, description: "true: the first answer, of an earlier request." },
  }),
  "200": json("With wait: the operation, over", ref("Operation")),
};
const planned: Json = {
  "200": json("The plan; with wait the operation, over", { anyOf: [ref("Plan"), ref("Operation")] }),
  "202": json("Begun, as planned", ref("Plan"), {
    Location: { schema: text, description: "Of the operation." },
  }),
};

interface Changing {
  readonly summary: string;
  readonly good?: Json;
  readonly codes?: readonly Code[];
}

const changings: Readonly<Record<string, Changing>> = {
  "PATCH node": { summary: "Replaces its labels, sets its weight" },
  "DELETE node": {
    summary: "Forgets a node that is decommissioned, or with force one that is down",
    good: okay("Its name and id, and `deleted`", { type: "object" }),
  },
  "POST nodeDrain": { summary: "Moves its leaders away; replicas stay" },
  "POST nodeUndrain": { summary: "Ends a drain" },
  "POST nodeDecommission": { summary: "Moves every replica off", good: planned },
  "POST nodeRecommission": { summary: "Takes a node back into use" },
  "POST shardSplit": { summary: "Splits it at a key, or by size in ways" },
  "POST shardMerge": { summary: "Takes over the keys of its neighbour, which ends" },
  "POST shardTransferLeader": { summary: "Hands its leadership over" },
  "POST shardMove": { summary: "Moves a replica" },
  "POST shardScatter": { summary: "Spreads its replicas and leaders anew" },
  "POST rebalance": { summary: "Plans, and unless it is a dry run, evens the cluster out", good: planned },
  "DELETE operation": {
    summary: "Cancels it, in a safe state",
    good: okay("As it is now", ref("Operation")),
  },
  "PATCH config": { summary: "Changes settings", good: okay("All settings", { type: "object" }) },
  "POST keyspaces": {
    summary: "Makes a keyspace",
    good: { "201": json("Made", ref("Keyspace")) },
  },
  "DELETE keyspace": { summary: "Removes a keyspace with all its data", codes: ["no_such_keyspace"] },
  "POST snapshot": {
    summary: "Compacts logs behind fresh snapshots",
    good: okay("How many replicas did", {
      type: "object",
      required: ["snapshots"],
      properties: { snapshots: whole },
    }),
    codes: ["not_found"],
  },
};

function okay(description: string, schema: Json): Json {
  return { "200": json(description, schema) };
}

/** The paths of placement's API, of the same tables the server works by. */
export function adminPaths(): Json {
  const paths: Json = {};
  for (const [name, { path, kind, methods }] of Object.entries(resources)) {
    if (kind !== "admin") continue;
    const operations = methods.map((method) => [
      method.toLowerCase(),
      operationOf(method, name as ResourceName),
    ]);
    paths[path] = { parameters: [...pathParameters(path), timeout], ...Object.fromEntries(operations) };
  }
  return paths;
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    schema: name === "id" ? whole : text,
  }));
}

function operationOf(method: string, name: ResourceName): Json {
  const change = changeOf(method, name);
  const changing = changings[`${method} ${name}`];
  if (change !== undefined && changing !== undefined) return changeOperation(change, changing);
  const reading = readings[name];
  return reading === undefined ? {} : readOperation(reading);
}

function readOperation({ summary, schema, parameters = [], codes = [], streams = false }: Reading): Json {
  const answer = json(summary, schema);
  const content = { "text/event-stream": { schema: text }, "application/json": { schema } };
  return {
    tags: ["admin"],
    summary,
    parameters: streams ? [...parameters, header("Last-Event-ID", "Go on behind this event.")] : parameters,
    responses: responses(
      { "200": streams ? { ...answer, content } : answer },
      ...common,
      ...codes,
      ...busy(codes),
    ),
  };
}

function busy(codes: readonly Code[]): readonly Code[] {
  return codes.includes("too_busy") ? [] : ["too_busy"];
}

function changeOperation(change: Change, { summary, good = begun, codes = [] }: Changing): Json {
  const body = bodyOf(change);
  const missing: readonly Code[] = change.names === "cluster" ? [] : ["not_found"];
  return {
    tags: ["admin"],
    summary,
    parameters: [
      ...change.query.map((name) => parameterTexts[name]),
      header("Idempotency-Key", "A repeat under it gets the first answer and changes nothing."),
    ],
    ...(body === undefined ? {} : { requestBody: body }),
    responses: responses(good, ...ofChanges, ...missing, ...codes),
  };
}

function bodyOf({ body }: Change): Json | undefined {
  if (body === undefined || Object.keys(body).length === 0) return undefined;
  if (body === "settings") return content({ type: "object" }, true);
  const needed = Object.entries(body).filter(([, field]) => field.required);
  const schema = {
    type: "object",
    additionalProperties: false,
    ...(needed.length === 0 ? {} : { required: needed.map(([name]) => name) }),
    properties: Object.fromEntries(
      Object.entries(body).map(([name, field]) => [name, { ...field.schema, description: field.wants }]),
    ),
  };
  return content(schema, needed.length > 0);
}

function content(schema: Json, isRequired: boolean): Json {
  return { required: isRequired, content: { "application/json": { schema } } };
}
