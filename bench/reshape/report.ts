/** What came out, as the Markdown of docs/benchmarks.md. @module */
import { Histogram } from "../histogram.ts";
import type { Environment } from "../machine.ts";
import type { MixedCount } from "../mixed-load.ts";
import { describeEnvironment } from "../report.ts";
import { type Column, formatNumber, markdownTable } from "../table.ts";
import type { Step } from "./growth.ts";
import type { ReshapeResult } from "./measure.ts";
import type { Phase } from "./phases.ts";
import type { WorkRow } from "./work.ts";
import { loadClients, loadRestMs } from "./work.ts";

export interface ReshapeRun {
  readonly environment: Environment;
  readonly version: string;
  readonly result: ReshapeResult;
  readonly shards: number;
  readonly valueBytes: number;
  readonly limitBytesPerS: number;
  readonly quietSeconds: number;
}

export function reshapeReport(run: ReshapeRun): string {
  const { environment, version, result, valueBytes } = run;
  const about = [
    ...describeEnvironment(environment),
    `- kvorum ${version}, all nodes and a nats-server on this one machine; values of ${formatNumber(valueBytes / 1024)} KiB`,
    `- the load generator itself waited for the CPU for at most ${formatNumber(result.pauseMs)} ms`,
  ];
  const work = result.work === undefined ? [] : workReport(result.work, run);
  const growth = result.growth === undefined ? [] : growthReport(result.growth, run);
  return [about.join("\n"), ...work, ...growth].join("\n\n");
}

function workReport(
  { bytes, users, lostNode }: ReshapeResult["work"] & object,
  { quietSeconds }: ReshapeRun,
): readonly string[] {
  const repairMs = lostNode.wholeMs - lostNode.downAfterMs;
  return [
    "### Work on four nodes, seen by users",
    `${mebibytes(bytes)} in three replicas, ${loadClients} clients that write and read small values through all nodes, resting ${loadRestMs} ms after each request. Each work beside the ${formatNumber(quietSeconds)} s right before it.`,
    workTable(users.rows),
    summary(users),
    "### One of four nodes killed for good",
    listOf([
      ["`down_after_ms`", formatNumber(lostNode.downAfterMs)],
      ["replicas it had", `${formatNumber(lostNode.replicas)}, ${mebibytes(lostNode.bytes)}`],
      ["planned by a dry run before, s", formatNumber(lostNode.plannedMs / 1000, 1)],
      ["from the kill until each shard had three live voters, s", formatNumber(lostNode.wholeMs / 1000, 1)],
      ["of these after `down_after_ms`, s", formatNumber(repairMs / 1000, 1)],
    ]),
    summary(lostNode),
  ];
}

function growthReport(
  growth: ReshapeResult["growth"] & object,
  { shards, limitBytesPerS }: ReshapeRun,
): readonly string[] {
  return [
    "### From three nodes to five and back to three",
    `${mebibytes(growth.bytes)} in ${shards} shards of three replicas, \`move_bytes_per_s\` ${mebibytes(limitBytesPerS)}.`,
    growthTable(growth.steps),
    `*At least*: what the nodes lack of an equal share. *Within*: how far the fullest and the emptiest are apart, as a share of the mean. ${summary(growth)}`,
  ];
}

function summary({
  acknowledged,
  lost,
  readsBehind,
  failed,
}: MixedCount & { readonly lost: number }): string {
  return `${formatNumber(acknowledged)} writes acknowledged meanwhile, ${lost} lost, ${readsBehind} linearizable reads behind, ${failed} requests failed.`;
}

const workColumns: readonly Column[] = [
  { title: "work", align: "left" },
  { title: "s" },
  { title: "requests" },
  { title: "failed" },
  { title: "read p50 ms" },
  { title: "read p99 ms" },
  { title: "p99 ÷ before" },
  { title: "write p50 ms" },
  { title: "write p99 ms" },
  { title: "p99 ÷ before" },
];

export function workTable(rows: readonly WorkRow[]): string {
  const all: WorkRow = {
    name: "all together",
    before: together(rows.map(({ before }) => before)),
    during: together(rows.map(({ during }) => during)),
  };
  return markdownTable(workColumns, [...rows, all].map(workCells));
}

function workCells({ name, before, during }: WorkRow): readonly string[] {
  const cells = (kind: "reads" | "writes"): readonly string[] => [
    arrow(before, during, kind, 0.5),
    arrow(before, during, kind, 0.99),
    formatNumber(during[kind].quantileUs(0.99) / before[kind].quantileUs(0.99), 1),
  ];
  const requests = during.reads.total + during.writes.total + during.failed;
  return [
    name,
    formatNumber(during.seconds, 1),
    formatNumber(requests),
    formatNumber(during.failed),
    ...cells("reads"),
    ...cells("writes"),
  ];
}

function arrow(before: Phase, during: Phase, kind: "reads" | "writes", share: number): string {
  const ms = (phase: Phase): string => formatNumber(phase[kind].quantileUs(share) / 1000, 1);
  return `${ms(before)} → ${ms(during)}`;
}

function together(phases: readonly Phase[]): Phase {
  const [reads, writes] = [new Histogram(), new Histogram()];
  for (const phase of phases) {
    reads.add(phase.reads);
    writes.add(phase.writes);
  }
  const sum = (of: (phase: Phase) => number): number => phases.reduce((all, phase) => all + of(phase), 0);
  return { reads, writes, seconds: sum(({ seconds }) => seconds), failed: sum(({ failed }) => failed) };
}

export function growthTable(steps: readonly Step[]): string {
  const percent = (share: number): string => `${formatNumber(share * 100, 1)} %`;
  const lines: readonly (readonly [string, (step: Step) => string])[] = [
    ["planned, s", ({ plannedSeconds }) => formatNumber(plannedSeconds, 1)],
    ["took, s", ({ seconds }) => formatNumber(seconds, 1)],
    ["replicas moved", ({ moves }) => formatNumber(moves)],
    ["moved", ({ movedBytes }) => mebibytes(movedBytes)],
    ["at least", ({ leastBytes }) => mebibytes(leastBytes)],
    ["moved ÷ at least", ({ movedBytes, leastBytes }) => formatNumber(movedBytes / leastBytes, 2)],
    ["most that a node sent in a second", ({ peakBytesPerS }) => mebibytes(peakBytesPerS)],
    ["bytes within", ({ bytesSpread }) => percent(bytesSpread)],
    ["replicas within", ({ replicasSpread }) => percent(replicasSpread)],
    ["leaders within", ({ leadersSpread }) => percent(leadersSpread)],
  ];
  return markdownTable(
    [{ title: "nodes", align: "left" }, ...steps.map(({ from, to }) => ({ title: `${from} → ${to}` }))],
    lines.map(([title, of]) => [title, ...steps.map(of)]),
  );
}

function listOf(lines: readonly (readonly [string, string])[]): string {
  return markdownTable([{ title: "", align: "left" }, { title: "" }], lines);
}

function mebibytes(bytes: number): string {
  return `${formatNumber(bytes / 2 ** 20)} MiB`;
}
