import { execFileSync } from "node:child_process";
import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { arch, cpus, loadavg, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { Histogram } from "./histogram.ts";

/** What a result depends on besides the code. */
export interface Environment {
  readonly date: string;
  readonly machine: string;
  readonly node: string;
  readonly commit: string;
  readonly seed: number;
  /** Median time of writing and syncing 4 KiB where the servers' data lies: the floor under every durable write. */
  readonly syncUs: number;
  /** Over the last minute before the start: more than a little means that somebody else was measured too. */
  readonly loadAverage: number;
}

/** @param dataDirectory - where the servers' data will lie */
export function describeEnvironment(root: string, dataDirectory: string, seed: number): Environment {
  const processors = cpus();
  const gibibytes = Math.round(totalmem() / 2 ** 30);
  const model = (processors[0]?.model ?? arch()).trim();
  return {
    date: new Date().toISOString(),
    machine: `${processors.length} × ${model}, ${gibibytes} GiB, ${type()} ${release()} ${arch()}`,
    node: process.version,
    commit: commitOf(root),
    seed,
    loadAverage: loadavg()[0] ?? Number.NaN,
    syncUs: measureSyncUs(dataDirectory),
  };
}

export function versionOf(root: string): string {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  return version;
}

/** With `+changes` when the tree differs from it; "unknown" outside a repository. */
function commitOf(root: string): string {
  const git = (...args: string[]): string =>
    execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return git("rev-parse", "--short=12", "HEAD") + (changed ? "+changes" : "");
  } catch {
    return "unknown";
  }
}

function measureSyncUs(directory: string): number {
  const path = join(directory, "sync-probe");
  const block = Buffer.alloc(4096, 1);
  const times = new Histogram();
  const file = openSync(path, "w");
  try {
    for (let round = 0; round < 200; round++) {
      const startMs = performance.now();
      writeSync(file, block);
      fdatasyncSync(file);
      times.record((performance.now() - startMs) * 1000);
    }
  } finally {
    closeSync(file);
    rmSync(path);
  }
  return times.quantileUs(0.5);
}
