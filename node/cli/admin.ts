import { UsageError } from "../config.ts";
import type { Context, Run } from "./command.ts";
import { type Api, openApi } from "./http.ts";
import { CommandError, exitCodes } from "./outcome.ts";
import { json } from "./settings.ts";
import { bytesText, type Column, facts, table } from "./table.ts";

/** A document of the admin API, read by name; a newer server may say more, an older one less. */
type Document = Readonly<Record<string, unknown>>;

/** `kvorum status` */
export const status: Run = async (context) => {
  const cluster = asDocument(
    await openApi(context.values).json({ method: "GET", path: "/v1/admin/cluster" }),
  );
  const placement = asDocument(cluster["placement"]);
  const nodes = asDocument(cluster["nodes"]);
  const shards = asDocument(cluster["shards"]);
  const canLose = asDocument(cluster["can_lose"]);
  return print(context, cluster, () =>
    facts([
      ["cluster", `${cluster["cluster"]} (${cluster["cluster_id"]})`],
      ["version", cluster["version"]],
      [
        "placement",
        `leader ${placement["leader"] ?? "none"}, term ${placement["term"]}, on ${listText(placement["members"])}`,
      ],
      ["nodes", counts(nodes)],
      ["shards", counts(shards)],
      ["can lose", `${canLose["nodes"] ?? "-"} nodes: ${canLose["reason"] ?? "-"}`],
    ]),
  );
};

const nodeColumns: readonly Column<Document>[] = [
  { title: "NAME", cell: (node) => node["name"] },
  { title: "ID", cell: (node) => node["id"], right: true },
  { title: "STATE", cell: (node) => node["state"] },
  { title: "HTTP", cell: (node) => node["http"] },
  { title: "PID", cell: (node) => node["pid"], right: true },
  { title: "REPLICAS", cell: (node) => node["replicas"], right: true },
  { title: "LEADERS", cell: (node) => node["leaders"], right: true },
  { title: "BYTES", cell: (node) => bytesText(node["bytes"]), right: true },
  { title: "LABELS", cell: (node) => labelText(node["labels"]) },
];

/** `kvorum nodes [show NAME]` */
export const nodes: Run = (context) => listOrShow(context, "nodes", nodeColumns);

const shardColumns: readonly Column<Document>[] = [
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

/** `kvorum shards [show ID]` */
export const shards: Run = (context) => listOrShow(context, "shards", shardColumns);

/** `kvorum locate KEY` */
export const locate: Run = async (context) => {
  const key = context.args[0] ?? "";
  if (key === "") throw new UsageError("key: expected at least one byte");
  const request = { method: "GET", path: "/v1/admin/locate", query: { key } } as const;
  const found = asDocument(await openApi(context.values).json(request));
  const epoch = asDocument(found["epoch"]);
  return print(context, found, () =>
    facts([
      ["shard", found["shard"]],
      ["leader", found["leader"]],
      ["replicas", replicaText(found["replicas"])],
      ["epoch", `version ${epoch["version"]}, conf_version ${epoch["conf_version"]}`],
    ]),
  );
};

async function listOrShow(
  context: Context,
  kind: "nodes" | "shards",
  columns: readonly Column<Document>[],
): Promise<number> {
  const [action, which] = context.args;
  const api = openApi(context.values);
  if (action === undefined) {
    const items = await fetchAll(api, `/v1/admin/${kind}`);
    const asJson = context.values.get(json, false);
    context.io.out(
      asJson ? items.map((item) => `${JSON.stringify(item)}\n`).join("") : table(columns, items),
    );
    return exitCodes.ok;
  }
  if (action !== "show")
    throw new UsageError(`${kind}: unknown action ${JSON.stringify(action)}: expected show`);
  if (which === undefined || which === "") throw new UsageError(`${kind} show: say which one`);
  const found = asDocument(
    await api.json({ method: "GET", path: `/v1/admin/${kind}/${encodeURIComponent(which)}` }),
  );
  return print(context, found, () => facts(Object.entries(found)));
}

/** All pages of a list. */
async function fetchAll(api: Api, path: string): Promise<readonly Document[]> {
  const items: Document[] = [];
  let cursor: string | undefined;
  do {
    const page = asDocument(
      await api.json({ method: "GET", path, ...(cursor === undefined ? {} : { query: { cursor } }) }),
    );
    if (!Array.isArray(page["items"]))
      throw new CommandError(exitCodes.failed, `${path}: the answer holds no items`);
    items.push(...page["items"].map(asDocument));
    cursor = typeof page["cursor"] === "string" && page["cursor"] !== "" ? page["cursor"] : undefined;
  } while (cursor !== undefined);
  return items;
}

function print(context: Context, document: Document, forPeople: () => string): number {
  context.io.out(context.values.get(json, false) ? `${JSON.stringify(document)}\n` : forPeople());
  return exitCodes.ok;
}

function asDocument(value: unknown): Document {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function counts(document: Document): string {
  return Object.entries(document)
    .map(([what, count]) => `${count} ${what.replaceAll("_", "-")}`)
    .join(", ");
}

function listText(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.join(", ") : "-";
}

function labelText(value: unknown): string {
  return Object.entries(asDocument(value))
    .map(([key, label]) => `${key}=${label}`)
    .join(",");
}

/** Names of the nodes that hold a replica; a learner is marked, as it does not count towards a quorum. */
function replicaText(value: unknown): string {
  if (!Array.isArray(value)) return "-";
  return value
    .map((replica: unknown) => {
      if (typeof replica === "string") return replica;
      const { node, role } = { node: "?", role: "voter", ...asDocument(replica) };
      return role === "voter" ? String(node) : `${node}(${role})`;
    })
    .join(",");
}
