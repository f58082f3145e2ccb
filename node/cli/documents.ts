import type { Context } from "./command.ts";
import type { Api } from "./http.ts";
import { CommandError, exitCodes } from "./outcome.ts";
import { json } from "./settings.ts";
import { type Column, table } from "./table.ts";

/** A document of the admin API, read by name; a newer server may say more, an older one less. */
export type Document = Readonly<Record<string, unknown>>;

export function asDocument(value: unknown): Document {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

export function documentsOf(value: unknown): readonly Document[] {
  return Array.isArray(value) ? value.map(asDocument) : [];
}

/** All pages of a list. */
export async function fetchAll(
  api: Api,
  path: string,
  query: Readonly<Record<string, string>> = {},
): Promise<readonly Document[]> {
  const items: Document[] = [];
  let cursor: string | undefined;
  do {
    const more = cursor === undefined ? query : { ...query, cursor };
    const page = asDocument(await api.json({ method: "GET", path, query: more }));
    if (!Array.isArray(page["items"]))
      throw new CommandError(exitCodes.failed, `${path}: the answer holds no items`);
    items.push(...page["items"].map(asDocument));
    cursor = typeof page["cursor"] === "string" && page["cursor"] !== "" ? page["cursor"] : undefined;
  } while (cursor !== undefined);
  return items;
}

/** One document: as it is for scripts. */
export function print(context: Context, document: Document, forPeople: () => string): number {
  context.io.out(context.values.get(json, false) ? `${JSON.stringify(document)}\n` : forPeople());
  return exitCodes.ok;
}

/** A list: a row a line for scripts. */
export function printList(
  context: Context,
  columns: readonly Column<Document>[],
  items: readonly Document[],
): number {
  const asJson = context.values.get(json, false);
  const rows = (): string => items.map((item) => `${JSON.stringify(item)}\n`).join("");
  context.io.out(asJson ? rows() : table(columns, items));
  return exitCodes.ok;
}
