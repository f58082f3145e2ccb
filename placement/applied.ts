import type { Command, CommandResult } from "./commands.ts";
import type { NewEvent } from "./events.ts";

export type CommandOf<N extends Command["name"]> = Extract<Command, { readonly name: N }>;

/** What came of one command. */
export interface Applied {
  readonly result: CommandResult;
  readonly events: readonly NewEvent[];
}

export function done(value = 0, ...events: readonly NewEvent[]): Applied {
  return { result: { ok: true, value }, events };
}

export function refused(detail: string): Applied {
  return { result: { ok: false, detail }, events: [] };
}

export const nameRule = "1 to 63 of a-z 0-9 _ -, the first a letter or digit";
