import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync } from "node:fs";

export interface ChildOptions {
  /** For messages. */
  readonly name: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What it prints goes there too. */
  readonly logPath?: string;
}

const keptCharacters = 8192;
const stopLimitMs = 15_000;

/** A server that the benchmark runs. What it prints last is told when it ends by itself. */
export class Child {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #gone: Promise<void>;
  #output = "";
  #end: string | undefined;
  readonly #listeners: Set<() => void> = new Set();

  constructor({ name, command, environment, logPath }: ChildOptions) {
    this.name = name;
    const [program = "", ...args] = command;
    // A process group of its own: Ctrl-C reaches the benchmark, which stops its servers in order.
    const child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: environment,
      detached: true,
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        if (logPath !== undefined) appendFileSync(logPath, text);
        this.#output = (this.#output + text).slice(-keptCharacters);
        this.#tell();
      });
    }
    this.#gone = new Promise((resolve) => {
      const onEnd = (how: string): void => {
        this.#end ??= how;
        this.#tell();
        resolve();
      };
      child.once("exit", (code, signal) => onEnd(`ended (${signal ?? `exit code ${code}`})`));
      child.once("error", (error) => onEnd(error.message));
    });
  }

  /** @throws Error when it has not even started */
  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error(`${this.name} could not be started`);
    return pid;
  }

  /** The end of what it has printed. */
  get lastWords(): string {
    return this.#output;
  }

  /** @throws Error when it has ended */
  demandAlive(): void {
    if (this.#end !== undefined) throw new Error(`${this.name} ${this.#end}:\n${this.#output}`);
  }

  /** Waits until what it prints matches. @throws Error when it ends before, or after `limitMs` */
  async printed(pattern: RegExp, limitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const look = (): void => {
          if (pattern.test(this.#output)) resolve();
          else if (this.#end !== undefined) reject(new Error(`${this.name} ${this.#end}:\n${this.#output}`));
        };
        timer = setTimeout(() => {
          reject(new Error(`${this.name} printed no ${pattern} in ${limitMs} ms:\n${this.#output}`));
        }, limitMs);
        this.#listeners.add(look);
        look();
      });
    } finally {
      clearTimeout(timer);
      this.#listeners.clear();
    }
  }

  /** Kills it when it takes too long. */
  async stop(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), stopLimitMs);
    await this.#gone;
    clearTimeout(timer);
  }

  /** Without a chance to end in order. */
  async kill(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#child.kill("SIGKILL");
    await this.#gone;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
