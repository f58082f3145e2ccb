import { writeSync } from "node:fs";
import { pino } from "pino";
import type { Logger } from "#runtime";

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface LogOptions {
  readonly level: LogLevel;
  /** A line for people instead of a JSON object. */
  readonly pretty: boolean;
  /** Fields on every line. */
  readonly fields: object;
}

/**
 * pino on stderr. Written synchronously: the last lines before an exit are the ones somebody will look for.
 */
export function stderrLogger({ level, pretty, fields }: LogOptions): Logger {
  const options = { level, base: fields, formatters: { level: (label: string) => ({ level: label }) } };
  return pino(options, { write: (line: string) => writeAll(pretty ? prettyLine(line) : line) });
}

/** A reader that went away, or is slow, must not take the node with it: such a line is dropped. */
function writeAll(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // EAGAIN on a full pipe, EPIPE on a closed one.
  }
}

/** @param line - a log line as pino writes it */
export function prettyLine(line: string): string {
  const { time, level, msg, ...fields }: Record<string, unknown> = JSON.parse(line);
  const at = new Date(Number(time)).toISOString().slice(11, 23);
  const rest = Object.entries(fields).map(([key, value]) => `${key}=${fieldText(value)}`);
  return `${[at, String(level).toUpperCase().padEnd(5), msg, ...rest].join(" ")}\n`;
}

function fieldText(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  // pino's form of an error: its stack tells more than a line of JSON would.
  if ("stack" in value && typeof value.stack === "string") return value.stack;
  return JSON.stringify(value);
}
