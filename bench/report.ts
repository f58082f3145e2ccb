/** Results as the Markdown of docs/benchmarks.md. @module */
import type { System, Workload } from "./load/requests.ts";
import type { Environment } from "./machine.ts";
import type { ShardsResult } from "./shards.ts";
import { median, medianRatio } from "./statistics.ts";
import { type Column, formatNumber, markdownTable } from "./table.ts";
import type { Sample } from "./throughput.ts";

export interface ThroughputRun {
  readonly environment: Environment;
  readonly versions: readonly { readonly system: System; readonly version: string }[];
  readonly samples: readonly Sample[];
  readonly repetitions: number;
  readonly seconds: number;
  readonly keys: number;
  readonly valueBytes: number;
  readonly shards: number;
}

const workloadNames: Readonly<Record<Workload, string>> = {
  put: "PUT",
  get: "linearizable GET",
  stale: "stale GET",
};

export function throughputReport(run: ThroughputRun): string {
  const { environment, versions, repetitions, seconds, keys, valueBytes, shards, samples } = run;
  const systems = versions.map(
    ({ system, version }) => `${system} ${version}${system === "kvorum" ? ` with ${shards} shards` : ""}`,
  );
  const about = [
    ...describeEnvironment(environment),
    `- ${systems.join(" and ")}, three nodes each, on this one machine together with the load generator`,
    `- ${valueBytes}-byte values, ${formatNumber(keys)} keys drawn evenly, each measurement ${repetitions} × ${seconds} s`,
  ];
  return [about.join("\n"), throughputTable(samples), ...failureNote(samples)].join("\n\n");
}

const throughputColumns: readonly Column[] = [
  { title: "request", align: "left" },
  { title: "connections" },
  { title: "system", align: "left" },
  { title: "req/s" },
  { title: "from … to" },
  { title: "p50 ms" },
  { title: "p99 ms" },
  { title: "server CPU µs/op" },
  { title: "client CPU µs/op" },
  { title: "req/s ÷ etcd's" },
  { title: "p99 ÷ etcd's" },
  { title: "server CPU ÷ etcd's" },
];

export function throughputTable(samples: readonly Sample[]): string {
  const rows = groupSamples(samples).map((group) => {
    const rivals = samples.filter(
      ({ system, workload, connections }) =>
        system === "etcd" && workload === group[0]?.workload && connections === group[0]?.connections,
    );
    return throughputRow(group, group[0]?.system === "etcd" ? [] : rivals);
  });
  return markdownTable(throughputColumns, rows);
}

/** Samples that differ in their repetition alone; in the order of their first. */
function groupSamples(samples: readonly Sample[]): readonly (readonly Sample[])[] {
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const name = `${sample.workload} ${sample.connections} ${sample.system}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [sample]);
    else group.push(sample);
  }
  return [...groups.values()];
}

function throughputRow(group: readonly Sample[], rivals: readonly Sample[]): readonly string[] {
  const [first] = group;
  if (first === undefined) return [];
  const all = (of: (sample: Sample) => number): readonly number[] => group.map(of);
  const rates = all(({ perSecond }) => perSecond);
  const ratio = (of: (sample: Sample) => number): string =>
    rivals.length === 0 ? "" : formatNumber(pairedRatio(group, rivals, of), 2);
  return [
    workloadNames[first.workload],
    String(first.connections),
    first.system,
    formatNumber(median(rates)),
    `${formatNumber(Math.min(...rates))} … ${formatNumber(Math.max(...rates))}`,
    formatNumber(median(all(({ p50Us }) => p50Us / 1000)), 1),
    formatNumber(median(all(({ p99Us }) => p99Us / 1000)), 1),
    formatNumber(median(all(({ serverCpuUs }) => serverCpuUs))),
    formatNumber(median(all(({ clientCpuUs }) => clientCpuUs))),
    ratio(({ perSecond }) => perSecond),
    ratio(({ p99Us }) => p99Us),
    ratio(({ serverCpuUs }) => serverCpuUs),
  ];
}

/** Of the samples that were taken side by side, in one repetition. */
function pairedRatio(
  ours: readonly Sample[],
  theirs: readonly Sample[],
  of: (sample: Sample) => number,
): number {
  const pairs = ours.flatMap((sample) => {
    const rival = theirs.find(({ repetition }) => repetition === sample.repetition);
    return rival === undefined ? [] : [{ our: of(sample), their: of(rival) }];
  });
  return medianRatio(
    pairs.map(({ our }) => our),
    pairs.map(({ their }) => their),
  );
}

function failureNote(samples: readonly Sample[]): readonly string[] {
  const failures = samples.reduce((sum, sample) => sum + sample.failures, 0);
  const operations = samples.reduce((sum, sample) => sum + sample.operations, 0);
  return failures === 0
    ? []
    : [`${formatNumber(failures)} of ${formatNumber(operations)} requests failed; they are in no figure.`];
}

export interface ShardsRun {
  readonly environment: Environment;
  readonly version: string;
  readonly idleSeconds: number;
  readonly results: readonly ShardsResult[];
}

export function shardsReport({ environment, version, idleSeconds, results }: ShardsRun): string {
  const about = [
    ...describeEnvironment(environment),
    `- kvorum ${version}, three nodes and a nats-server on this one machine; idle: ${idleSeconds} s`,
  ];
  return `${about.join("\n")}\n\n${shardsTable(results)}`;
}

export function shardsTable(results: readonly ShardsResult[]): string {
  const mebibytes = (bytes: number): string => formatNumber(bytes / 2 ** 20);
  const gaps = (result: ShardsResult): readonly number[] => result.failover.kills.map(({ gapMs }) => gapMs);
  const lines: readonly (readonly [string, (result: ShardsResult) => string])[] = [
    ["time to ready, s", ({ readyMs }) => formatNumber(readyMs / 1000, 1)],
    ["memory of a node (RSS), MiB", ({ nodeResidentBytes }) => mebibytes(nodeResidentBytes)],
    ["memory of nats-server (RSS), MiB", ({ natsResidentBytes }) => mebibytes(natsResidentBytes)],
    ["idle CPU of a node, % of a core", ({ nodeIdlePercent }) => formatNumber(nodeIdlePercent, 1)],
    ["idle CPU of nats-server, % of a core", ({ natsIdlePercent }) => formatNumber(natsIdlePercent, 1)],
    ["kills", ({ failover }) => formatNumber(failover.kills.length)],
    [
      "shards led by the killed node, median",
      ({ failover }) => formatNumber(median(failover.kills.map(({ led }) => led))),
    ],
    ["gap until all shards take writes, median, ms", (result) => formatNumber(median(gaps(result)))],
    ["gap until all shards take writes, largest, ms", (result) => formatNumber(Math.max(...gaps(result)))],
    [
      "gap of the median shard, median, ms",
      ({ failover }) => formatNumber(median(failover.kills.map(({ medianShardMs }) => medianShardMs))),
    ],
    [
      "until the node is back and all is whole, median, s",
      ({ failover }) => formatNumber(median(failover.kills.map(({ wholeMs }) => wholeMs / 1000)), 1),
    ],
    ["writes acknowledged meanwhile", ({ failover }) => formatNumber(failover.acknowledged)],
    ["acknowledged writes lost", ({ failover }) => formatNumber(failover.lost)],
    ["linearizable reads behind", ({ failover }) => formatNumber(failover.readsBehind)],
    ["requests failed", ({ failover }) => formatNumber(failover.failed)],
  ];
  return markdownTable(
    [{ title: "shards", align: "left" }, ...results.map(({ shards }) => ({ title: formatNumber(shards) }))],
    lines.map(([title, of]) => [title, ...results.map(of)]),
  );
}

/** What every result says of itself. */
export function describeEnvironment(environment: Environment): readonly string[] {
  const { date, machine, node, commit, seed, syncUs, loadAverage } = environment;
  return [
    `- ${date.slice(0, 16).replace("T", " ")} UTC, commit ${commit}, seed ${seed}`,
    `- ${machine}; Node ${node}`,
    `- a 4 KiB write with fdatasync: ${formatNumber(syncUs / 1000, 2)} ms; load average before: ${formatNumber(loadAverage, 1)}`,
  ];
}
