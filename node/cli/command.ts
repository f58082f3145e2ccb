import type { Setting, Values } from "../config.ts";
import type { ExitCode } from "./outcome.ts";

/** The terminal, pipes and files as a command sees them. */
export interface Io {
  out(text: string | Uint8Array): void;
  err(text: string): void;
  readonly outIsTerminal: boolean;
  /** Progress is drawn there, so that stdout holds results only. */
  readonly errIsTerminal: boolean;
  /** Columns of that terminal. */
  readonly errColumns: number;
  sleep(ms: number): Promise<void>;
  /** All of stdin. */
  readInput(): Promise<Uint8Array>;
  readFile(path: string): Promise<Uint8Array>;
}

/** What a command gets to run. */
export interface Context {
  readonly values: Values;
  /** Positional arguments; absent optional ones are missing at the end. */
  readonly args: readonly string[];
  /** What stood behind `--`, of commands that take it. */
  readonly passed: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly io: Io;
  /** All there are, for commands about commands. */
  readonly commands: readonly Command[];
}

/** How a command ends: an exit code, or a program's own that it ran. */
export type Run = (context: Context) => Promise<ExitCode | number>;

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Positional arguments as help texts write them: `<key>` is needed, `[value]` is not. */
  readonly args: readonly string[];
  /** What the first argument may be, where it says what to do. */
  readonly actions?: readonly string[];
  /** Takes `-- CMD…`. */
  readonly passes: boolean;
  readonly settings: readonly Setting<unknown>[];
  /** Loads the command's code: what other commands need stays unread, so that each starts quickly. */
  readonly load: () => Promise<Run>;
}
