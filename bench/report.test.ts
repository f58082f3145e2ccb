import { describe, expect, it } from "vitest";
import { shardsReport, throughputReport, throughputTable } from "./report.ts";
import type { Sample } from "./throughput.ts";

const environment = {
  date: "2026-11-21T08:45:59.000Z",
  machine: "2 × Some CPU, 8 GiB, Linux 6 x64",
  node: "v20.20.0",
  commit: "0123456789ab",
  seed: 1,
  syncUs: 900,
  loadAverage: 0.1,
};

function sample(system: "kvorum" | "etcd", repetition: number, perSecond: number): Sample {
  return {
    workload: "put",
    connections: 64,
    system,
    repetition,
    perSecond,
    p50Us: 4000,
    p99Us: system === "etcd" ? 20_000 : 10_000,
    serverCpuUs: system === "etcd" ? 400 : 300,
    clientCpuUs: 20,
    operations: perSecond * 5,
    failures: 0,
  };
}

const cells = (line: string | undefined): string[] => (line ?? "").split("|").map((cell) => cell.trim());

describe("the throughput table", () => {
  const samples = [1, 2, 3].flatMap((at) => [sample("kvorum", at, at * 3000), sample("etcd", at, at * 2000)]);

  it("shows medians, their range, and ratios of what was measured side by side", () => {
    const [, , ours, theirs, ...more] = throughputTable(samples).split("\n");
    expect(cells(ours).slice(1, -1)).toEqual([
      "PUT",
      "64",
      "kvorum",
      "6,000",
      "3,000 … 9,000",
      "4.0",
      "10.0",
      "300",
      "20",
      "1.50",
      "0.50",
      "0.75",
    ]);
    expect(cells(theirs).slice(3, 5)).toEqual(["etcd", "4,000"]);
    expect(cells(theirs).slice(-4, -1)).toEqual(["", "", ""]);
    expect(more).toEqual([]);
  });

  it("has no ratios without etcd", () => {
    const rows = throughputTable(samples.filter(({ system }) => system === "kvorum")).split("\n");
    expect(rows.length).toBe(3);
    expect(cells(rows[2]).slice(-4, -1)).toEqual(["", "", ""]);
  });
});

it("a report says what the figures depend on, and what failed", () => {
  const report = throughputReport({
    environment,
    versions: [{ system: "kvorum", version: "0.1.0" }],
    samples: [{ ...sample("kvorum", 1, 1000), failures: 3 }],
    repetitions: 1,
    seconds: 5,
    keys: 100_000,
    valueBytes: 128,
    shards: 16,
  });
  for (const part of ["Some CPU", "v20.20.0", "0123456789ab", "seed 1", "2026-11-21 08:45", "kvorum 0.1.0"]) {
    expect(report).toContain(part);
  }
  expect(report).toContain("3 of 5,000 requests failed");
});

it("the table of shards has a column for each cluster", () => {
  const kill = (gapMs: number) => ({ led: 334, gapMs, medianShardMs: gapMs / 2, wholeMs: gapMs * 10 });
  const failover = { acknowledged: 5000, failed: 12, lost: 0, readsBehind: 0 };
  const result = (shards: number) => ({
    shards,
    readyMs: 4200,
    nodeResidentBytes: 200 * 2 ** 20,
    natsResidentBytes: 20 * 2 ** 20,
    nodeIdlePercent: 1.25,
    natsIdlePercent: 0.5,
    failover: { ...failover, kills: [kill(300), kill(900), kill(400)] },
  });
  const report = shardsReport({
    environment,
    version: "0.1.0",
    idleSeconds: 20,
    results: [result(16), result(1000)],
  });
  const rows = report.split("\n").filter((line) => line.startsWith("|"));
  expect(cells(rows[0]).slice(1, -1)).toEqual(["shards", "16", "1,000"]);
  const row = (title: string): string[] => cells(rows.find((line) => line.includes(title))).slice(2, -1);
  expect(row("time to ready")).toEqual(["4.2", "4.2"]);
  expect(row("gap until all shards take writes, median")).toEqual(["400", "400"]);
  expect(row("gap until all shards take writes, largest")).toEqual(["900", "900"]);
  expect(row("gap of the median shard")).toEqual(["200", "200"]);
  expect(row("until the node is back")).toEqual(["4.0", "4.0"]);
  expect(row("acknowledged writes lost")).toEqual(["0", "0"]);
});
