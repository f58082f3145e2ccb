import { type Setting, UsageError } from "../config.ts";
import { type Action, withActions } from "./actions.ts";
import { change } from "./changing.ts";
import type { Context, Run } from "./command.ts";
import { asDocument, type Document, fetchAll, print, printList } from "./documents.ts";
import { openApi } from "./http.ts";
import * as set from "./settings.ts";
import { bytesText, type Column, facts } from "./table.ts";

const columns: readonly Column<Document>[] = [
  { title: "ID", cell: (shard) => shard["id"], right: true },
  { title: "KEYSPACE", cell: (shard) => shard["keyspace"] },
  { title: "RANGE", cell: (shard) => `[${shard["start"]},${shard["end"]})` },
  { title: "LEADER", cell: (shard) => shard["leader"] },
  { title: "REPLICAS", cell: (shard) => replicaText(shard["replicas"]) },
  { title: "TERM", cell: (shard) => shard["term"], right: true },
  { title: "KEYS", cell: (shard) => shard["keys"], right: true },
  { title: "BYTES", cell: (shard) => bytesText(shard["bytes"]), right: true },
  { title: "HEALTH", cell: (shard) => shard["health"] },
];

/** Names of the nodes that hold a replica; a learner is marked, as it does not count towards a quorum. */
export function replicaText(value: unknown): string {
  if (!Array.isArray(value)) return "-";
  return value
    .map((replica: unknown) => {
      if (typeof replica === "string") return replica;
      const { node, role } = { node: "?", role: "voter", ...asDocument(replica) };
      return role === "voter" ? String(node) : `${node}(${role})`;
    })
    .join(",");
}

function pathOf(id: string, action = ""): string {
  return `/v1/admin/shards/${encodeURIComponent(id)}${action}`;
}

const list: Action = {
  flags: [set.keyspace, set.onNode, set.shardState],
  run: async (context) => {
    const { values } = context;
    const query = Object.fromEntries(
      [set.keyspace, set.onNode, set.shardState].flatMap((setting) => {
        const value = values.get(setting);
        return value === undefined ? [] : [[setting.flag, value]];
      }),
    );
    return printList(context, columns, await fetchAll(openApi(values), "/v1/admin/shards", query));
  },
};

const show: Action = {
  names: "shard",
  flags: [],
  run: async (context, id) => {
    const found = asDocument(await openApi(context.values).json({ method: "GET", path: pathOf(id) }));
    return print(context, found, () => facts(Object.entries(found)));
  },
};

const split: Action = {
  names: "shard",
  flags: [set.splitAt, set.ways, set.wait],
  run: (context, id) => {
    const at = context.values.get(set.splitAt);
    const ways = context.values.get(set.ways);
    if (at !== undefined && ways !== undefined) throw new UsageError("--at and --ways exclude each other");
    return change(
      context,
      { method: "POST", path: pathOf(id, "/split"), body: { at, ways } },
      `shard ${id} is split`,
    );
  },
};

const merge: Action = {
  names: "shard",
  flags: [set.mergeWith, set.wait],
  run: (context, id) => {
    const other = required(context, set.mergeWith, "shards merge");
    const what = { method: "POST", path: pathOf(id, "/merge"), body: { with: other } } as const;
    return change(context, what, `shards ${id} and ${other} are one`);
  },
};

const move: Action = {
  names: "shard",
  flags: [set.from, set.to, set.wait],
  run: (context, id) => {
    const from = required(context, set.from, "shards move");
    const to = required(context, set.to, "shards move");
    const what = { method: "POST", path: pathOf(id, "/move"), body: { from, to } } as const;
    return change(context, what, `shard ${id} has its replica on ${to} instead of ${from}`);
  },
};

const transferLeader: Action = {
  names: "shard",
  flags: [set.to, set.wait],
  run: (context, id) => {
    const to = required(context, set.to, "shards transfer-leader");
    const what = { method: "POST", path: pathOf(id, "/transfer-leader"), body: { to } } as const;
    return change(context, what, `shard ${id} is led by ${to}`);
  },
};

const scatter: Action = {
  names: "shard",
  flags: [set.wait],
  run: (context, id) =>
    change(context, { method: "POST", path: pathOf(id, "/scatter") }, `shard ${id} is scattered`),
};

function required<T>({ values }: Context, setting: Setting<T>, what: string): T {
  const value = values.get(setting);
  if (value === undefined) throw new UsageError(`${what}: --${setting.flag} is needed`);
  return value;
}

const actions: Readonly<Record<string, Action>> = {
  show,
  split,
  merge,
  move,
  "transfer-leader": transferLeader,
  scatter,
};

/** `kvorum shards [ACTION ID]` */
export const shards: Run = withActions("shards", set.shardActionSettings, list, actions);
