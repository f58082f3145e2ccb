import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "../config.ts";
import { DevFailure } from "./failure.ts";
import type { HeldData } from "./plan.ts";

const markerName = "dev.json";

/** What `dev` remembers of a cluster, beside the nodes' own directories. */
export interface Marker extends HeldData {
  readonly format: 1;
  /** Node 1 has made the cluster: never bootstrap it again, not even on an emptied directory (R30). */
  readonly bootstrapped: boolean;
  /** The `dev` that runs it; 0: none. */
  readonly pid: number;
}

/**
 * @returns undefined when nothing is there yet
 * @throws UsageError when it holds something that `dev` has not made
 * @throws DevFailure while a running `dev` uses it
 */
export function readMarker(directory: string): Marker | undefined {
  if (!existsSync(directory) || readdirSync(directory).length === 0) return undefined;
  const path = join(directory, markerName);
  if (!existsSync(path)) {
    throw new UsageError(
      `--data ${directory}: it holds other things and no dev cluster: give an empty or a new directory`,
    );
  }
  let marker: Marker;
  try {
    marker = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    throw new UsageError(`${path} cannot be read: remove ${directory} to start anew`);
  }
  if (marker.format !== 1) throw new UsageError(`${path} is of another version of Kvorum`);
  if (isRunningDev(marker.pid)) {
    throw new DevFailure(`--data ${directory} is in use by the dev cluster with process id ${marker.pid}`);
  }
  return marker;
}

/** Written aside and renamed, so that a kill leaves the old one or the new one. */
export function writeMarker(directory: string, marker: Marker): void {
  const path = join(directory, markerName);
  writeFileSync(`${path}.new`, `${JSON.stringify(marker)}\n`);
  renameSync(`${path}.new`, path);
}

/** Removes what `dev` made, and only that. */
export function wipe(directory: string): void {
  for (const name of existsSync(directory) ? readdirSync(directory) : []) {
    if (/^n\d+$/.test(name) || ["logs", "nats", markerName].includes(name)) {
      rmSync(join(directory, name), { recursive: true, force: true });
    }
  }
}

export interface NodePaths {
  readonly data: string;
  readonly log: string;
}

export function nodePaths(directory: string, name: string): NodePaths {
  return { data: join(directory, name), log: join(directory, "logs", `${name}.log`) };
}

export function natsFolder(directory: string): string {
  const folder = join(directory, "nats");
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Sets the log of the last start aside; the one before that goes. */
export function rotateLog(path: string): void {
  mkdirSync(join(path, ".."), { recursive: true });
  if (existsSync(path)) renameSync(path, `${path}.1`);
}

/** A process id is used again, in containers soon: on Linux the command line tells whether it is `dev`. */
function isRunningDev(pid: number): boolean {
  if (pid === 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes("dev");
  } catch {
    return true;
  }
}
