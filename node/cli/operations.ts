import { type Action, withActions } from "./actions.ts";
import { changeByPlan, send } from "./changing.ts";
import type { Run } from "./command.ts";
import { asDocument, type Document, fetchAll, print, printList } from "./documents.ts";
import { openApi } from "./http.ts";
import { durationText } from "./plan-text.ts";
import { follow, waitingText } from "./progress.ts";
import * as set from "./settings.ts";
import { type Column, facts, show as shown } from "./table.ts";

const columns: readonly Column<Document>[] = [
  { title: "ID", cell: (operation) => operation["id"], right: true },
  { title: "KIND", cell: (operation) => operation["kind"] },
  { title: "STATE", cell: (operation) => operation["state"] },
  { title: "DONE", cell: doneText, right: true },
  { title: "LEFT", cell: leftText, right: true },
  { title: "STARTED", cell: (operation) => operation["started_at"] },
  { title: "REASON", cell: reasonText },
];

function doneText({ progress }: Document): string {
  return typeof progress === "number" ? `${Math.floor(progress * 100)} %` : "-";
}

function leftText(operation: Document): string {
  return operation["state"] === "running" ? durationText(operation["eta_ms"]) : "-";
}

function reasonText({ reason, blocked_by: blocked, detail }: Document): string {
  return [
    shown(reason),
    ...(typeof detail === "string" ? [detail] : []),
    ...(typeof blocked === "string" ? [waitingText(blocked)] : []),
  ].join("; ");
}

function pathOf(id: string): string {
  return `/v1/admin/operations/${encodeURIComponent(id)}`;
}

const list: Action = {
  flags: [set.operationState],
  run: async (context) => {
    const state = context.values.get(set.operationState);
    const query = state === undefined ? {} : { state };
    return printList(
      context,
      columns,
      await fetchAll(openApi(context.values), "/v1/admin/operations", query),
    );
  },
};

const show: Action = {
  names: "operation",
  flags: [],
  run: async (context, id) => {
    const found = asDocument(await openApi(context.values).json({ method: "GET", path: pathOf(id) }));
    return print(context, found, () => facts(Object.entries(found)));
  },
};

const wait: Action = {
  names: "operation",
  flags: [],
  run: (context, id) => follow(context, id, `operation ${id} is done`),
};

const cancel: Action = {
  names: "operation",
  flags: [],
  run: async (context, id) => {
    const after = await send(context, { method: "DELETE", path: pathOf(id) });
    return print(context, after, () => `operation ${id} is ${shown(after["state"] ?? "cancelled")}\n`);
  },
};

/** `kvorum operations [show|wait|cancel ID]` */
export const operations: Run = withActions("operations", [set.operationState], list, { show, wait, cancel });

/** `kvorum rebalance [--dry-run] [--plan ID]` */
export const rebalance: Run = (context) => {
  const body = { plan: context.values.get(set.plan) };
  return changeByPlan(
    context,
    { method: "POST", path: "/v1/admin/rebalance", body },
    "the cluster is rebalanced",
  );
};
