/** `npm run bench`: starts the systems, measures them, writes down what came out. @module */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { CommanderError } from "commander";
import { seededRandom } from "#runtime";
import { describeEnvironment, type Environment, versionOf } from "./machine.ts";
import { shardsReport, throughputReport } from "./report.ts";
import { measureReshape } from "./reshape/measure.ts";
import { reshapeReport } from "./reshape/report.ts";
import { etcdVersion, startEtcd } from "./servers/etcd.ts";
import { startKvorum } from "./servers/kvorum.ts";
import type { Served, Stoppable } from "./servers/served.ts";
import {
  isCompleteReshape,
  isCompleteShards,
  isCompleteThroughput,
  parseSettings,
  type Settings,
  workloads,
} from "./settings.ts";
import { measureShards, type ShardsResult } from "./shards.ts";
import { replaceSection } from "./table.ts";
import { measureThroughput } from "./throughput.ts";

const root = findRoot(dirname(fileURLToPath(import.meta.url)));
const documentPath = join(root, "docs/benchmarks.md");

/** Everything that runs, for whatever end the run takes. */
let running: readonly Stoppable[] = [];

/** With the seconds since the start. */
function say(line: string): void {
  process.stdout.write(`${String(Math.round(performance.now() / 1000)).padStart(4)} s  ${line}\n`);
}

function keep(server: Stoppable): void {
  running = [...running, server];
}

async function stopAll(): Promise<void> {
  const servers = running;
  await Promise.all(servers.map((server) => server.stop()));
  running = running.filter((server) => !servers.includes(server));
}

async function run(settings: Settings): Promise<void> {
  if (!existsSync("/proc/self/stat")) throw new Error("CPU and memory are read from /proc: this needs Linux");
  mkdirSync(resolve(settings.data), { recursive: true });
  const directory = mkdtempSync(join(resolve(settings.data), "run-"));
  const onSignal = (): void => {
    void stopAll().then(() => {
      rmSync(directory, { recursive: true, force: true });
      process.exit(130);
    });
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, onSignal);
  try {
    const environment = describeEnvironment(root, directory, settings.seed);
    if (settings.only.some((part) => workloads.some((workload) => workload === part)))
      await runThroughput(settings, directory, environment);
    if (settings.only.includes("shards")) await runShards(settings, directory, environment);
    if (settings.only.includes("reshape")) await runReshape(settings, directory, environment);
  } finally {
    await stopAll();
  }
  // Kept after a failure: the logs tell why.
  rmSync(directory, { recursive: true, force: true });
}

async function runThroughput(settings: Settings, directory: string, environment: Environment): Promise<void> {
  const random = seededRandom(settings.seed).fork("ports");
  const { systems, seconds, warmUpSeconds, shards } = settings;
  const served: Served[] = [];
  if (systems.includes("kvorum")) {
    const version = versionOf(root);
    const options = { root, directory: join(directory, "kvorum"), version, shards, restart: false };
    served.push(await startKvorum(options, random, keep));
  }
  const version = systems.includes("etcd") ? etcdVersion() : undefined;
  if (version !== undefined) served.push(await startEtcd(join(directory, "etcd"), version, random, keep));
  else if (systems.includes("etcd")) say("etcd is not installed: measuring without it");
  const samples = await measureThroughput(served, {
    ...settings,
    workloads: workloads.filter((workload) => settings.only.includes(workload)),
    warmUpMs: warmUpSeconds * 1000,
    measureMs: seconds * 1000,
    say,
  });
  await stopAll();
  const report = throughputReport({ ...settings, environment, versions: served, samples });
  publish("throughput", report, settings.docs && isCompleteThroughput(settings));
}

async function runShards(settings: Settings, directory: string, environment: Environment): Promise<void> {
  const random = seededRandom(settings.seed).fork("ports of shards");
  const version = versionOf(root);
  const results: ShardsResult[] = [];
  for (const shards of settings.shardCounts) {
    say(`${shards} shards`);
    const options = { root, directory: join(directory, `shards-${shards}`), version, shards, restart: true };
    const kvorum = await startKvorum(options, random, keep);
    const { kills, idleSeconds } = settings;
    results.push(await measureShards(kvorum, { shards, kills, idleMs: idleSeconds * 1000, say }));
    await stopAll();
  }
  const report = shardsReport({ environment, version, idleSeconds: settings.idleSeconds, results });
  publish("shards", report, settings.docs && isCompleteShards(settings));
}

async function runReshape(settings: Settings, directory: string, environment: Environment): Promise<void> {
  const mebibyte = 2 ** 20;
  const limitBytesPerS = settings.reshapeLimitMib * mebibyte;
  const valueBytes = settings.reshapeValueKib * 1024;
  const { reshapeShards: shards, reshapeQuietSeconds: quietSeconds, seed } = settings;
  const result = await measureReshape({
    parts: settings.reshapeParts,
    root,
    directory,
    seed,
    bytes: settings.reshapeMib * mebibyte,
    valueBytes,
    shards,
    limitBytesPerS,
    quietMs: quietSeconds * 1000,
    say,
    keep,
    stopAll,
  });
  const version = versionOf(root);
  const run = { environment, version, result, shards, valueBytes, limitBytesPerS, quietSeconds };
  publish("reshape", reshapeReport(run), settings.docs && isCompleteReshape(settings));
}

function publish(section: string, report: string, write: boolean): void {
  process.stdout.write(`\n${report}\n\n`);
  if (!write) return;
  writeFileSync(documentPath, replaceSection(readFileSync(documentPath, "utf8"), section, report));
  say(`written to docs/benchmarks.md, section ${section}`);
}

/** The folder of package.json, from sources as from what is built of them. */
function findRoot(from: string): string {
  return existsSync(join(from, "package.json")) || dirname(from) === from ? from : findRoot(dirname(from));
}

try {
  await run(parseSettings(process.argv.slice(2)));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
