import { readFile } from "node:fs/promises";
import { CommanderError, Option, type Command as Parser, Command as Program } from "commander";
import {
  environmentName,
  type FlagTexts,
  fileKey,
  parseConfigFile,
  resolve,
  type Sources,
  UsageError,
} from "../config.ts";
import type { Command, Io } from "./command.ts";
import { commands } from "./commands.ts";
import { CommandError, exitCodes } from "./outcome.ts";
import { config, restart, wait } from "./settings.ts";
import { packageVersion } from "./version.ts";

/** What `run` needs of the process. */
export interface Invocation {
  /** Arguments without the program and the script. */
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly io: Io;
}

/** Runs one command to its end; every expected failure becomes a line on stderr and an exit code. */
export async function run(invocation: Invocation): Promise<number> {
  const { io } = invocation;
  try {
    return await parseAndRun(invocation);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    if (error instanceof UsageError) {
      io.err(`kvorum: ${error.message}\n`);
      return exitCodes.usage;
    }
    if (error instanceof CommandError) {
      io.err(`kvorum: ${error.message}\n`);
      return error.exitCode;
    }
    throw error;
  }
}

async function parseAndRun(invocation: Invocation): Promise<number> {
  const { io } = invocation;
  const { own, passed } = splitPassed(invocation.argv);
  let chosen:
    | { readonly command: Command; readonly args: readonly string[]; readonly flags: FlagTexts }
    | undefined;
  const program = new Program("kvorum")
    .description("A sharded, replicated key-value store")
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .version(packageVersion(), "--version", "print the version")
    .helpCommand(false);
  for (const command of commands) {
    addCommand(program, command, (args, flags) => {
      chosen = { command, args, flags };
    });
  }
  program.parse(own, { from: "user" });
  if (chosen === undefined) throw new UsageError("no command given: see kvorum --help");
  const { command, args, flags } = chosen;
  const sources = await withFile({ flags, environment: invocation.environment }, io);
  const values = resolve(command.settings, sources, allFileKeys());
  const execute = await command.load();
  return execute({ values, args, passed, environment: invocation.environment, io, commands });
}

/** What stands behind `--` is somebody else's command for `dev`; for the others, commander's own affair. */
function splitPassed(argv: readonly string[]): {
  readonly own: readonly string[];
  readonly passed: readonly string[];
} {
  const passes = commands.some((command) => command.passes && command.name === argv[0]);
  const at = argv.indexOf("--");
  if (!passes || at < 0) return { own: argv, passed: [] };
  return { own: argv.slice(0, at), passed: argv.slice(at + 1) };
}

function addCommand(
  program: Parser,
  command: Command,
  choose: (args: readonly string[], flags: FlagTexts) => void,
): void {
  const parser = program.command(command.name).description(command.summary);
  if (command.passes) parser.usage("[options] [-- CMD...]");
  for (const argument of command.args) parser.argument(argument);
  for (const setting of command.settings) {
    const help = `${setting.help} [${environmentName(setting.flag)}]`;
    if (setting.value === undefined) {
      parser.addOption(new Option(`--${setting.flag}`, help));
      parser.addOption(new Option(`--no-${setting.flag}`).hideHelp(!onByDefault.includes(setting)));
    } else {
      const collect = (text: string, before: unknown): string[] => [
        ...(Array.isArray(before) ? before : []),
        text,
      ];
      parser.addOption(new Option(`--${setting.flag} <${setting.value}>`, help).argParser(collect));
    }
  }
  parser.action(() => {
    const flags = new Map<string, readonly string[]>();
    for (const { flag } of command.settings) {
      const value: unknown = parser.getOptionValue(new Option(`--${flag}`).attributeName());
      if (Array.isArray(value)) flags.set(flag, value.map(String));
      else if (typeof value === "boolean") flags.set(flag, [String(value)]);
    }
    choose(parser.args, flags);
  });
}

/** Adds the config file that a flag or the environment names. */
async function withFile(sources: Sources, io: Io): Promise<Sources> {
  const path = resolve([config], sources, []).get(config);
  if (path === undefined) return sources;
  let text: string;
  try {
    text = new TextDecoder().decode(await io.readFile(path));
  } catch (error) {
    throw new UsageError(
      `the config file cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  return { ...sources, file: parseConfigFile(path, text) };
}

/** Of these it is the `--no-` form that people need to know. */
const onByDefault: readonly unknown[] = [restart, wait];

function allFileKeys(): readonly string[] {
  return commands.flatMap((command) => command.settings.map(({ flag }) => fileKey(flag)));
}

/** The real terminal, pipes and files. */
export function processIo(): Io {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    outIsTerminal: process.stdout.isTTY === true,
    errIsTerminal: process.stderr.isTTY === true,
    // Some terminals do not know how wide they are.
    errColumns: process.stderr.columns || 80,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    async readInput() {
      const chunks: Buffer[] = [];
      for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
      return Buffer.concat(chunks);
    },
    readFile: (path) => readFile(path),
  };
}
