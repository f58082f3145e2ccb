/** Throughput, latency and CPU under closed-loop load, system against system. @module */
import { setTimeout as delay } from "node:timers/promises";
import type { HostPort, System, Workload } from "./load/requests.ts";
import { type LoadSummary, runLoad } from "./load/run.ts";
import { cpuUs } from "./proc.ts";
import type { Served } from "./servers/served.ts";

export interface ThroughputOptions {
  readonly workloads: readonly Workload[];
  readonly connections: readonly number[];
  readonly repetitions: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  readonly keys: number;
  readonly valueBytes: number;
  readonly seed: number;
  readonly loadProcesses: number;
  readonly say: (line: string) => void;
}

/** One measurement. */
export interface Sample {
  readonly workload: Workload;
  readonly connections: number;
  readonly system: System;
  readonly repetition: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Of all the system's processes together. */
  readonly serverCpuUs: number;
  /** Of the load generator: near the system's own, it would be the generator that was measured. */
  readonly clientCpuUs: number;
  readonly operations: number;
  readonly failures: number;
}

/** More failures than this share of the requests make a figure worthless. */
const failureShareMax = 0.01;
const fillConnections = 64;
/** Lets what a measurement leaves behind (flushes, compaction) not fall wholly into the next one. */
const settleMs = 500;

/**
 * Measures all systems in turns: each repetition goes through all workloads, and measures the systems right
 * after each other, in an order that changes, so that what drifts on the machine hits them alike.
 * All of `served` run all the time; an idle one costs little.
 */
export async function measureThroughput(
  served: readonly Served[],
  options: ThroughputOptions,
): Promise<readonly Sample[]> {
  const { workloads, connections, repetitions, say } = options;
  for (const system of served) {
    say(`${system.system}: writing ${options.keys} keys`);
    await fill(system, options);
  }
  const samples: Sample[] = [];
  for (let repetition = 1; repetition <= repetitions; repetition++) {
    const order = repetition % 2 === 1 ? served : served.toReversed();
    for (const workload of workloads) {
      for (const count of connections) {
        for (const system of order) {
          await delay(settleMs);
          const sample = await measure(system, workload, count, repetition, options);
          say(describe(sample, repetitions));
          samples.push(sample);
        }
      }
    }
  }
  return samples;
}

async function fill(system: Served, options: ThroughputOptions): Promise<void> {
  const { keys, valueBytes } = options;
  await runLoad({
    spec: {
      ...target(system),
      workload: "fill",
      connections: fillConnections,
      keys,
      valueBytes,
      seed: "fill",
    },
    processes: 1,
    warmUpMs: 0,
    measureMs: 0,
    onMeasure: () => {},
  });
}

async function measure(
  served: Served,
  workload: Workload,
  connections: number,
  repetition: number,
  { keys, valueBytes, seed, warmUpMs, measureMs, loadProcesses }: ThroughputOptions,
): Promise<Sample> {
  const pids = served.pids();
  const cpuAt = { begin: 0, end: 0 };
  // Both systems are asked for the same keys in the same order.
  const run = `${seed}/${workload}/${connections}/${repetition}`;
  const summary = await runLoad({
    spec: { ...target(served), workload, connections, keys, valueBytes, seed: run },
    processes: loadProcesses,
    warmUpMs,
    measureMs,
    onMeasure: (phase) => {
      cpuAt[phase] = cpuUs(pids);
    },
  });
  demandSuccess(served, workload, summary);
  const { operations, failures, seconds, latencies } = summary;
  return {
    workload,
    connections,
    system: served.system,
    repetition,
    perSecond: operations / seconds,
    p50Us: latencies.quantileUs(0.5),
    p99Us: latencies.quantileUs(0.99),
    serverCpuUs: (cpuAt.end - cpuAt.begin) / operations,
    clientCpuUs: summary.cpuUs / operations,
    operations,
    failures,
  };
}

function target(served: Served): { readonly system: System; readonly hosts: readonly HostPort[] } {
  return { system: served.system, hosts: served.hosts };
}

function demandSuccess(served: Served, workload: Workload, summary: LoadSummary): void {
  const { operations, failures, lastFailure } = summary;
  if (operations > 0 && failures <= operations * failureShareMax) return;
  served.demandAlive();
  throw new Error(
    `${served.system} ${workload}: ${failures} failures beside ${operations} successes, the last: ${lastFailure}\n${served.lastWords()}`,
  );
}

function describe(sample: Sample, repetitions: number): string {
  const { workload, connections, system, repetition, perSecond, p50Us, p99Us } = sample;
  const figures = [
    `${Math.round(perSecond)}/s`,
    `p50 ${(p50Us / 1000).toFixed(2)} ms`,
    `p99 ${(p99Us / 1000).toFixed(2)} ms`,
    `server ${Math.round(sample.serverCpuUs)} µs/op`,
    `client ${Math.round(sample.clientCpuUs)} µs/op`,
  ];
  const failed = sample.failures > 0 ? `  ${sample.failures} FAILED` : "";
  return `${repetition}/${repetitions} ${workload} ${connections} ${system}: ${figures.join("  ")}${failed}`;
}
