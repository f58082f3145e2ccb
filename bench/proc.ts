/** What Linux says of processes, under /proc. @module */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessState {
  readonly pid: number;
  readonly parent: number;
  /** Its program's name, at most 15 characters. */
  readonly name: string;
  /** User and system time of all its threads, in clock ticks. */
  readonly cpuTicks: number;
}

/** One `/proc/PID/stat`. The name may hold blanks and parentheses, so fields are counted from its end. */
export function parseStat(text: string): ProcessState {
  const nameEnd = text.lastIndexOf(")");
  const fields = text.slice(nameEnd + 2).split(" ");
  return {
    pid: Number.parseInt(text, 10),
    name: text.slice(text.indexOf("(") + 1, nameEnd),
    parent: Number(fields[1]),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
  };
}

/** undefined: there is no such process any more. */
export function processState(pid: number): ProcessState | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return undefined;
  }
}

/** `root` and everything that descends from it. */
export function processTree(root: number): readonly ProcessState[] {
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => processState(Number(name)) ?? []);
  return descendants(root, all);
}

/** `root` first, parents before children. */
export function descendants(root: number, all: readonly ProcessState[]): readonly ProcessState[] {
  const found = all.filter(({ pid }) => pid === root);
  // The list grows while it is walked, by the children of what it holds.
  for (const { pid } of found) found.push(...all.filter(({ parent }) => parent === pid));
  return found;
}

/** Bytes of memory that are its own or shared and in use now. */
export function residentBytes(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kibibytes ?? Number.NaN) * 1024;
}

let ticksPerSecond: number | undefined;

/** CPU time that all of these have used so far, in microseconds; the kernel counts in steps of 10 ms. */
export function cpuUs(pids: readonly number[]): number {
  ticksPerSecond ??= Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  const ticks = pids.reduce((sum, pid) => sum + (processState(pid)?.cpuTicks ?? 0), 0);
  return (ticks / ticksPerSecond) * 1e6;
}
