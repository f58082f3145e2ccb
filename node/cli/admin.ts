import { UsageError } from "../config.ts";
import type { Context, Run } from "./command.ts";
import { asDocument, type Document, documentsOf, print } from "./documents.ts";
import { openApi } from "./http.ts";
import { keyspace } from "./settings.ts";
import { replicaText } from "./shards.ts";
import { facts, show } from "./table.ts";

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
      [
        "can lose",
        `${canLose["nodes"] ?? "-"} ${canLose["nodes"] === 1 ? "node" : "nodes"}: ${canLose["reason"] ?? "-"}`,
      ],
    ]),
  );
};

/** `kvorum locate KEY` */
export const locate: Run = async (context) => {
  const found = await findKey(context, "/v1/admin/locate");
  return print(context, found, () => facts(placeOf(found)));
};

/** `kvorum why KEY` */
export const why: Run = async (context) => {
  const found = await findKey(context, "/v1/admin/why");
  const decisions = documentsOf(found["decisions"]).map(
    ({ at, kind, reason }) => `${show(at)}  ${show(kind)}: ${show(reason)}\n`,
  );
  const told = decisions.length === 0 ? ["no decision about it is kept\n"] : decisions;
  return print(context, found, () => `${facts(placeOf(found))}\n${told.join("")}`);
};

async function findKey(context: Context, path: string): Promise<Document> {
  const key = context.args[0] ?? "";
  if (key === "") throw new UsageError("key: expected at least one byte");
  const name = context.values.get(keyspace);
  const query = name === undefined ? { key } : { key, keyspace: name };
  return asDocument(await openApi(context.values).json({ method: "GET", path, query }));
}

function placeOf(found: Document): [string, unknown][] {
  const epoch = asDocument(found["epoch"]);
  return [
    ["shard", found["shard"]],
    ["leader", found["leader"]],
    ["replicas", replicaText(found["replicas"])],
    ["epoch", `version ${epoch["version"]}, conf_version ${epoch["conf_version"]}`],
  ];
}

function counts(document: Document): string {
  return Object.entries(document)
    .map(([what, count]) => `${count} ${what.replaceAll("_", "-")}`)
    .join(", ");
}

function listText(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.join(", ") : "-";
}
