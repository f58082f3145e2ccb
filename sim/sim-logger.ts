import { KvorumError, ProtocolError } from "#proto";
import type { Logger } from "#runtime";
import { StorageError } from "#storage";
import { Violation } from "./checks/violation.ts";
import type { Trace } from "./trace.ts";

export interface SimLoggerOptions {
  readonly name: string;
  readonly trace: Trace;
  readonly nowMs: () => number;
  /** An error that no fault explains: a bug. */
  readonly onBug: (violation: Violation) => void;
}

/** Puts warnings into the timeline, and takes any unexpected exception that product code logs for a bug. */
export class SimLogger implements Logger {
  readonly #options: SimLoggerOptions;

  constructor(options: SimLoggerOptions) {
    this.#options = options;
  }

  debug(): void {}

  info(fields: object, message: string): void {
    this.#note(fields, message);
  }

  warn(fields: object, message: string): void {
    this.#note(fields, message);
  }

  error(fields: object, message: string): void {
    this.#note(fields, message);
  }

  child(): Logger {
    return this;
  }

  #note(fields: object, message: string): void {
    const { name, trace, nowMs, onBug } = this.#options;
    const { err, ...rest } = fields as { err?: unknown };
    const why = err instanceof Error ? `: ${err.message}` : "";
    const details = Object.keys(rest).length === 0 ? "" : ` ${JSON.stringify(rest)}`;
    trace.note(nowMs(), `${name} says ${message}${why}${details}`);
    if (!(err instanceof Error) || isOperating(err)) return;
    onBug(
      err instanceof Violation
        ? err
        : new Violation("no unexpected exception", `${name}: ${message}: ${err.stack ?? err.message}`),
    );
  }
}

/** Errors that faults cause in right code. */
function isOperating(error: Error): boolean {
  return error instanceof StorageError || error instanceof ProtocolError || error instanceof KvorumError;
}
