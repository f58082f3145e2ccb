/** Markdown: tables, numbers, and a document's parts that are written by a program. @module */

export interface Column {
  readonly title: string;
  /** Default: right, as numbers want it. */
  readonly align?: "left" | "right";
}

/** A table that reads well as plain text too. */
export function markdownTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title }, at) =>
    Math.max(3, title.length, ...rows.map((row) => (row[at] ?? "").length)),
  );
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const pad = (text: string, at: number): string => {
    const width = widths[at] ?? 0;
    return columns[at]?.align === "left" ? text.padEnd(width) : text.padStart(width);
  };
  const rule = columns.map(({ align }, at) => {
    const dashes = "-".repeat((widths[at] ?? 0) - 1);
    return align === "left" ? `${dashes}-` : `${dashes}:`;
  });
  const body = rows.map((row) => line(columns.map((_, at) => pad(row[at] ?? "", at))));
  return [line(columns.map(({ title }, at) => pad(title, at))), line(rule), ...body].join("\n");
}

/** With thousands' separators; a dash for what is not known. */
export function formatNumber(value: number, decimals = 0): string {
  if (!Number.isFinite(value)) return "-";
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/**
 * Replaces what stands between the markers of `section`, `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.
 * @throws Error when the document does not hold them, in this order, once each
 */
export function replaceSection(document: string, section: string, text: string): string {
  const [begin, end] = [`<!-- bench:${section} -->`, `<!-- /bench:${section} -->`];
  const parts = document.split(begin);
  const [before = "", behind = ""] = parts;
  const rest = behind.split(end);
  if (parts.length !== 2 || rest.length !== 2 || before.includes(end)) {
    throw new Error(`the document needs ${begin} and ${end}, once each`);
  }
  return `${before}${begin}\n\n${text.trim()}\n\n${end}${rest[1] ?? ""}`;
}
