import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Writable } from "node:stream";

export interface NodeProcessOptions {
  readonly name: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Its stdout and stderr go straight to this file: a stopped or dead `dev` must not hold a node up. */
  readonly logPath: string;
  readonly onExit: (exit: NodeExit) => void;
}

export interface NodeExit {
  readonly name: string;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly livedMs: number;
  /** What it said last for people, at most three lines. */
  readonly lastWords: readonly string[];
}

/** The descriptor on which a node hears that it has to stop. */
export const stopFd = 3;

/**
 * One node of the dev cluster. It has a process group of its own, so that Ctrl-C reaches `dev` alone, and
 * a pipe that says "stop" by a word or by its end, when `dev` is gone (R35).
 */
export class NodeProcess {
  readonly #options: NodeProcessOptions;
  #child: ChildProcess | undefined;
  #gone: Promise<void> = Promise.resolve();

  constructor(options: NodeProcessOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    const { command, environment, logPath, name, onExit } = this.#options;
    const log = openSync(logPath, "a");
    const logStart = fstatSync(log).size;
    const startedMs = performance.now();
    const [program = "", ...args] = command;
    const child = spawn(program, args, {
      detached: true,
      env: environment,
      stdio: ["ignore", log, log, "pipe"],
    });
    closeSync(log);
    this.#child = child;
    // A node that dies while it is told to stop breaks the pipe; its exit is what counts.
    this.#stopPipe(child)?.on("error", () => {});
    this.#gone = new Promise((resolve) => {
      let over = false;
      const end = (code: number | null, signal: NodeJS.Signals | null, words: readonly string[]): void => {
        if (over) return;
        over = true;
        this.#child = undefined;
        resolve();
        onExit({ name, code, signal, livedMs: performance.now() - startedMs, lastWords: words });
      };
      child.once("exit", (code, signal) => end(code, signal, lastWords(logPath, logStart)));
      child.once("error", (error) => end(1, null, [error.message]));
    });
  }

  /** Tells it to stop without hand-over; after `limitMs` it is killed. Resolves once it is gone. */
  async stop(limitMs: number): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#stopPipe(child)?.end("stop\n");
    const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
    await this.#gone;
    clearTimeout(timer);
  }

  kill(): void {
    this.#child?.kill("SIGKILL");
  }

  #stopPipe(child: ChildProcess): Writable | undefined {
    const pipe = child.stdio[stopFd];
    return pipe !== null && pipe !== undefined && "write" in pipe ? pipe : undefined;
  }
}

const tailBytes = 8192;

/** The line meant for people, or, of a crash, the last lines that are no log objects. */
function lastWords(path: string, from: number): readonly string[] {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const start = Math.max(from, size - tailBytes);
    const tail = Buffer.alloc(Math.max(0, size - start));
    readSync(file, tail, 0, tail.length, start);
    const lines = tail
      .toString()
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.startsWith("{"));
    const told = lines.filter((line) => line.startsWith("kvorum: "));
    return (told.length > 0 ? told : lines).slice(-3);
  } finally {
    closeSync(file);
  }
}
