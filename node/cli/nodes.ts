import { UsageError } from "../config.ts";
import { type Action, withActions } from "./actions.ts";
import { change, changeByPlan } from "./changing.ts";
import type { Run } from "./command.ts";
import { asDocument, type Document, fetchAll, print, printList } from "./documents.ts";
import { openApi } from "./http.ts";
import * as set from "./settings.ts";
import { bytesText, type Column, facts } from "./table.ts";

const columns: readonly Column<Document>[] = [
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

function labelText(value: unknown): string {
  return Object.entries(asDocument(value))
    .map(([key, label]) => `${key}=${label}`)
    .join(",");
}

function pathOf(name: string, action = ""): string {
  return `/v1/admin/nodes/${encodeURIComponent(name)}${action}`;
}

const list: Action = {
  flags: [],
  run: async (context) =>
    printList(context, columns, await fetchAll(openApi(context.values), "/v1/admin/nodes")),
};

const show: Action = {
  names: "node",
  flags: [],
  run: async (context, name) => {
    const found = asDocument(await openApi(context.values).json({ method: "GET", path: pathOf(name) }));
    return print(context, found, () => facts(Object.entries(found)));
  },
};

const drain: Action = {
  names: "node",
  flags: [set.drainFor, set.wait],
  run: (context, name) => {
    const forMs = context.values.get(set.drainFor);
    const body = { for: forMs === undefined ? undefined : durationParameter(forMs) };
    const done = `${name} leads nothing any more and keeps its replicas`;
    return change(context, { method: "POST", path: pathOf(name, "/drain"), body }, done);
  },
};

/** In seconds where it is whole ones: the number of digits is limited. */
function durationParameter(ms: number): string {
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`;
}

const undrain: Action = {
  names: "node",
  flags: [set.wait],
  run: (context, name) =>
    change(context, { method: "POST", path: pathOf(name, "/undrain") }, `${name} is in use again`),
};

const decommission: Action = {
  names: "node",
  flags: [set.dryRun, set.plan, set.wait],
  run: (context, name) => {
    const body = { plan: context.values.get(set.plan) };
    const done = `${name} holds nothing any more: it may be stopped, then removed with kvorum nodes rm ${name}`;
    return changeByPlan(context, { method: "POST", path: pathOf(name, "/decommission"), body }, done);
  },
};

const recommission: Action = {
  names: "node",
  flags: [set.wait],
  run: (context, name) =>
    change(context, { method: "POST", path: pathOf(name, "/recommission") }, `${name} is in use again`),
};

const rm: Action = {
  names: "node",
  flags: [set.force],
  run: (context, name) => {
    const query = context.values.get(set.force, false) ? { force: "true" } : {};
    return change(context, { method: "DELETE", path: pathOf(name), query }, `${name} is removed for good`);
  },
};

const setNode: Action = {
  names: "node",
  flags: [set.labels, set.weight, set.wait],
  run: (context, name) => {
    const weight = context.values.get(set.weight);
    const labels = context.values.get(set.labels);
    if (weight === undefined && labels === undefined)
      throw new UsageError("nodes set: give --labels or --weight");
    const body = { labels, weight: weight === undefined ? undefined : Number(weight) };
    return change(context, { method: "PATCH", path: pathOf(name), body }, `${name} is changed`);
  },
};

const actions: Readonly<Record<string, Action>> = {
  show,
  drain,
  undrain,
  decommission,
  recommission,
  rm,
  set: setNode,
};

/** `kvorum nodes [ACTION NAME]` */
export const nodes: Run = withActions("nodes", set.nodeActionSettings, list, actions);
