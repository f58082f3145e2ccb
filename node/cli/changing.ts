import { randomUUID } from "node:crypto";
import type { Context } from "./command.ts";
import { asDocument, type Document, print } from "./documents.ts";
import { openApi } from "./http.ts";
import { exitCodes } from "./outcome.ts";
import { planText } from "./plan-text.ts";
import { follow } from "./progress.ts";
import { dryRun, json, wait } from "./settings.ts";

export interface Change {
  readonly method: "POST" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Fields that nobody gave are left out. */
  readonly body?: Readonly<Record<string, unknown>>;
}

/** Sends a change of the cluster, under an id by which it is made at most once. */
export async function send(context: Context, { method, path, query, body }: Change): Promise<Document> {
  const given = Object.entries(body ?? {}).filter(([, value]) => value !== undefined);
  const reply = await openApi(context.values).call({
    method,
    path,
    headers: {
      "idempotency-key": randomUUID(),
      ...(given.length === 0 ? {} : { "content-type": "application/json" }),
    },
    repeatable: true,
    ...(query === undefined ? {} : { query }),
    ...(given.length === 0
      ? {}
      : { body: new TextEncoder().encode(JSON.stringify(Object.fromEntries(given))) }),
  });
  const text = new TextDecoder().decode(reply.body);
  return text === "" ? {} : asDocument(JSON.parse(text));
}

/** Sends a change and, unless told otherwise, sees it through. @param done - what to say when it is over */
export async function change(context: Context, what: Change, done: string): Promise<number> {
  const begun = await send(context, what);
  const { operation } = begun;
  if (typeof operation !== "string") return print(context, begun, () => `${done}\n`);
  return seeThrough(context, operation, begun, done);
}

/** The same for what is planned first: `--dry-run` shows the plan only. */
export async function changeByPlan(context: Context, what: Change, done: string): Promise<number> {
  const dry = context.values.get(dryRun, false);
  const plan = await send(context, {
    ...what,
    query: { ...what.query, ...(dry ? { dry_run: "true" } : {}) },
  });
  const { operation } = plan;
  if (dry || typeof operation !== "string") return print(context, plan, () => planText(plan, dry));
  if (!context.values.get(json, false)) context.io.err(planText(plan, false));
  return seeThrough(context, operation, plan, done);
}

function seeThrough(context: Context, operation: string, begun: Document, done: string): Promise<number> {
  if (context.values.get(wait, true)) return follow(context, operation, done);
  print(context, begun, () => `operation ${operation}: kvorum operations wait ${operation}\n`);
  return Promise.resolve(exitCodes.ok);
}
