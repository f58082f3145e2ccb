import { UsageError } from "../config.ts";
import { type Action, withActions } from "./actions.ts";
import { send } from "./changing.ts";
import type { Context, Run } from "./command.ts";
import { asDocument, type Document, print } from "./documents.ts";
import { openApi } from "./http.ts";
import { CommandError, exitCodes } from "./outcome.ts";
import { facts } from "./table.ts";

const path = "/v1/admin/config";

async function fetchSettings(context: Context): Promise<Document> {
  return asDocument(await openApi(context.values).json({ method: "GET", path }));
}

const list: Action = {
  flags: [],
  run: async (context) => {
    const settings = await fetchSettings(context);
    return print(context, settings, () => facts(Object.entries(settings)));
  },
};

const get: Action = {
  names: "setting",
  flags: [],
  run: async (context, name) => {
    const settings = await fetchSettings(context);
    const value = Object.hasOwn(settings, name) ? settings[name] : undefined;
    if (value === undefined) throw new CommandError(exitCodes.notFound, `there is no setting ${name}`);
    return print(context, { [name]: value }, () => `${value}\n`);
  },
};

const set: Action = {
  names: "K=V",
  many: true,
  flags: [],
  run: async (context) => {
    const changes = Object.fromEntries(context.args.slice(1).map(readChange));
    const after = await send(context, { method: "PATCH", path, body: changes });
    const changed = Object.keys(changes).map((name) => [name, after[name]] as const);
    return print(context, after, () => facts(changed));
  },
};

const units: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  bytes: { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 },
  ms: { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 },
};

/** `split_bytes=64MiB`, `down_after_ms=30s`, `merge_enabled=true`. @throws UsageError */
function readChange(text: string): readonly [string, number | boolean] {
  const [, name, value] = /^([a-z0-9_]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new UsageError(`config set: expected K=V, got ${JSON.stringify(text)}`);
  if (value === "true" || value === "false") return [name, value === "true"];
  const [, digits, unit = ""] = /^(\d{1,16})([A-Za-z]*)$/.exec(value) ?? [];
  const kind = name.endsWith("_ms") ? "ms" : name.includes("bytes") ? "bytes" : "";
  const factor = unit === "" ? 1 : units[kind]?.[unit];
  if (digits === undefined || factor === undefined) {
    const known = Object.keys(units[kind] ?? {}).join(", ");
    const what =
      known === "" ? "a whole number, true or false" : `a whole number, with ${known} behind it or not`;
    throw new UsageError(`config set ${name}: expected ${what}, got ${JSON.stringify(value)}`);
  }
  return [name, Number(digits) * factor];
}

/** `kvorum config [get K | set K=V…]` */
export const liveSettings: Run = withActions("config", [], list, { get, set });
