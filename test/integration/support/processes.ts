import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import type { Writable } from "node:stream";
import { until } from "./wait.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface OwnProcessOptions {
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** stderr goes there; stdout too, unless `onLine` takes it. */
  readonly logPath: string;
  readonly onLine?: (line: string) => void;
  /** Gives the child the pipe on which a node hears that it has to stop: it then ends with this process. */
  readonly stopPipe?: boolean;
}

const stopFd = 3;

/** A process that a test started, and that does not outlive it. */
export class OwnProcess {
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #exit: Exit | undefined;

  constructor(options: OwnProcessOptions) {
    const { command, environment, logPath, onLine, stopPipe = false } = options;
    const [program = "", ...args] = command;
    const log = openSync(logPath, "a");
    const child = spawn(program, args, {
      // A group of its own: Ctrl-C on the tests reaches only what they then stop in order.
      detached: true,
      env: { ...cleanEnvironment(), ...(stopPipe ? { KVORUM_STOP_FD: `${stopFd}` } : {}), ...environment },
      stdio: ["ignore", onLine === undefined ? log : "pipe", log, stopPipe ? "pipe" : "ignore"],
    });
    closeSync(log);
    this.#child = child;
    (child.stdio[stopFd] as Writable | null)?.on("error", () => {});
    if (onLine !== undefined) readLines(child, onLine);
    this.exited = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
    this.exited.catch(() => {});
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get exit(): Exit | undefined {
    return this.#exit;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** `kill -9`; resolves once it is gone. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited;
  }
}

function readLines(child: ChildProcess, onLine: (line: string) => void): void {
  let rest = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
}

/** Not the test runner's own variables, nor those that would give settings to `kvorum`. */
export function cleanEnvironment(): Record<string, string> {
  const kept = ["PATH", "HOME", "TMPDIR", "LANG", "USER"];
  return Object.fromEntries(
    kept.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

export interface Found {
  readonly pid: number;
  readonly command: string;
}

/**
 * Processes whose command line names `folder`, a test's own temporary one: nodes, dev and nats-server all
 * do. Linux only; elsewhere it finds none.
 */
export function processesNaming(folder: string): readonly Found[] {
  const found: Found[] = [];
  for (const name of readFolder("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const command = readCommand(pid);
    if (command.includes(folder)) found.push({ pid, command });
  }
  return found;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return readState(pid) !== "Z";
  } catch {
    return false;
  }
}

/** `kill -9` of each, as if the machine had lost them at once; resolves once they are gone. */
export async function killAll(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone already.
    }
  }
  await until("killed processes are gone", () => pids.every((pid) => !isAlive(pid)), { everyMs: 5 });
}

function readCommand(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

/** The letter of /proc/PID/stat; a zombie is nobody's harm. */
function readState(pid: number): string {
  try {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1] ?? "";
  } catch {
    return "";
  }
}

function readFolder(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
