import { asDocument, type Document, documentsOf } from "./documents.ts";
import { blockerText } from "./outcome.ts";
import { bytesText, type Column, show, table } from "./table.ts";

const stepColumns: readonly Column<Document>[] = [
  { title: "SHARD", cell: (step) => step["shard"], right: true },
  { title: "ACTION", cell: (step) => step["action"] },
  { title: "FROM", cell: (step) => step["from"] },
  { title: "TO", cell: (step) => step["to"] },
  { title: "BYTES", cell: (step) => bytesText(step["bytes"]), right: true },
  { title: "ETA", cell: (step) => durationText(step["eta_ms"]), right: true },
  { title: "REASON", cell: (step) => step["reason"] },
];

/** A plan for people: what would be done and why, what is in the way, what it would be good for. */
export function planText(plan: Document, dry: boolean): string {
  const steps = documentsOf(plan["steps"]);
  const blockers = Array.isArray(plan["blockers"]) ? plan["blockers"] : [];
  const { before, after }: { before?: unknown; after?: unknown } = asDocument(plan["imbalance"]);
  const lines: string[] = [];
  if (steps.length > 0) {
    const bytes = steps.reduce((sum, step) => sum + Number(step["bytes"] ?? 0), 0);
    const eta = durationText(plan["eta_ms"]);
    lines.push(
      `${steps.length} ${steps.length === 1 ? "step" : "steps"}, ${bytesText(bytes)}, about ${eta}\n`,
    );
    lines.push(table(stepColumns, steps));
  } else lines.push(`${nothing(show(plan["reason"]), blockers.length > 0)}\n`);
  if (blockers.length > 0) lines.push("in the way:\n", ...blockers.map((each) => `  ${blockerText(each)}\n`));
  if (before !== undefined) lines.push(`imbalance ${percent(before)} → ${percent(after)}\n`);
  if (steps.length > 0 && typeof plan["reason"] === "string" && plan["reason"] !== "") {
    lines.push(`${plan["reason"]}\n`);
  }
  if (dry && steps.length > 0 && blockers.length === 0 && typeof plan["plan"] === "string") {
    lines.push(`nothing was changed; exactly this is done by the same command with --plan ${plan["plan"]}\n`);
  }
  return lines.join("");
}

function nothing(reason: string, blocked: boolean): string {
  return blocked || reason.startsWith("nothing to do") ? reason : `nothing to do: ${reason}`;
}

function percent(share: unknown): string {
  return typeof share === "number" ? `${(share * 100).toFixed(1)} %` : show(share);
}

/** `1 h 20 m`, `40 s`, `0.5 s` */
export function durationText(ms: unknown): string {
  if (typeof ms !== "number") return show(ms);
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} m` : `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
}
