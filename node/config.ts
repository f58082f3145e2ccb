/**
 * Settings from the command line, the environment and a config file: one table entry per flag says all of
 * them. Precedence: flag > environment > file > default. Pure: the sources are handed in.
 * @module
 */

/** Where a setting's value came from. */
export type Source = "flag" | "environment" | "file" | "default";

/** One setting: `--data-dir` on the command line, `KVORUM_DATA_DIR` in the environment, `data_dir` in a file. */
export interface Setting<T> {
  /** Long flag without the dashes. */
  readonly flag: string;
  /** Placeholder of the value in help texts; absent for a switch. */
  readonly value?: string;
  readonly help: string;
  /** May be given several times; in the environment and the file a comma list, or an array in the file. */
  readonly repeats: boolean;
  /** @throws BadValue naming what is expected */
  readonly parse: (texts: readonly string[]) => T;
  /** Choices a shell may complete. */
  readonly choices?: readonly string[];
}

/** What was wrong with a value, without naming the setting: `resolve` adds that. */
export class BadValue extends Error {}

/** A wrong flag, variable, key or value; the message names it. Exit code 2. */
export class UsageError extends Error {}

/** Raw values by flag, as given on the command line; a switch is `"true"` or `"false"`. */
export type FlagTexts = ReadonlyMap<string, readonly string[]>;

export interface Sources {
  readonly flags: FlagTexts;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The parsed config file and its path, for messages. */
  readonly file?: { readonly path: string; readonly keys: Readonly<Record<string, unknown>> };
}

export function environmentName(flag: string): string {
  return `KVORUM_${flag.replaceAll("-", "_").toUpperCase()}`;
}

export function fileKey(flag: string): string {
  return flag.replaceAll("-", "_");
}

/** The values of one run, found once per setting. */
export interface Values {
  /** The setting's value, or undefined when nobody gave one. */
  get<T>(setting: Setting<T>): T | undefined;
  get<T>(setting: Setting<T>, otherwise: T): T;
  /** Where it came from. */
  source(setting: Setting<unknown>): Source;
}

/**
 * Checks every source against the command's settings and gives access to the values.
 * @param known - keys that some command knows: in a file they may stand without this command using them
 * @throws UsageError for an unknown key or a bad value, naming it
 */
export function resolve(
  settings: readonly Setting<unknown>[],
  sources: Sources,
  known: readonly string[],
): Values {
  checkFileKeys(sources, known);
  const found = new Map<string, { readonly value: unknown; readonly source: Source }>();
  for (const setting of settings) {
    const given = find(setting, sources);
    if (given === undefined) continue;
    found.set(setting.flag, { value: parseNamed(setting, given), source: given.source });
  }
  return {
    // The map holds, under a setting's flag, what that setting's own `parse` returned.
    get: <T>(setting: Setting<T>, otherwise?: T): T => (found.get(setting.flag)?.value ?? otherwise) as T,
    source: (setting) => found.get(setting.flag)?.source ?? "default",
  };
}

interface Given {
  readonly texts: readonly string[];
  readonly source: Source;
  readonly name: string;
}

function find(setting: Setting<unknown>, sources: Sources): Given | undefined {
  const { flag } = setting;
  const flagged = sources.flags.get(flag);
  if (flagged !== undefined) return { texts: flagged, source: "flag", name: `--${flag}` };
  const variable = environmentName(flag);
  const text = sources.environment[variable];
  // An empty variable is how a shell takes one away for a single command.
  if (text !== undefined && text !== "") {
    return { texts: setting.repeats ? commaList(text) : [text], source: "environment", name: variable };
  }
  const key = fileKey(flag);
  const value = sources.file?.keys[key];
  if (value === undefined) return undefined;
  const name = `${key} in ${sources.file?.path}`;
  return { texts: fileTexts(setting, value, name), source: "file", name };
}

function fileTexts(setting: Setting<unknown>, value: unknown, name: string): readonly string[] {
  if (Array.isArray(value) && setting.repeats) return value.map(String);
  if (isPlainObject(value) && setting.repeats)
    return Object.entries(value).map(([key, text]) => `${key}=${text}`);
  if (typeof value === "string") return setting.repeats ? commaList(value) : [value];
  if (typeof value === "number" || typeof value === "boolean") return [String(value)];
  throw new UsageError(`${name}: expected ${setting.repeats ? "a list" : "a text, a number or a boolean"}`);
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseNamed(setting: Setting<unknown>, given: Given): unknown {
  try {
    return setting.parse(given.texts);
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    throw new UsageError(`${given.name}: ${error.message}`);
  }
}

function checkFileKeys(sources: Sources, known: readonly string[]): void {
  for (const key of Object.keys(sources.file?.keys ?? {})) {
    if (!known.includes(key)) throw new UsageError(`${sources.file?.path}: unknown key ${key}`);
  }
}

function commaList(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

/** @throws UsageError when the file cannot be read as a JSON object */
export function parseConfigFile(path: string, text: string): NonNullable<Sources["file"]> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${path}: not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isPlainObject(parsed)) throw new UsageError(`${path}: expected a JSON object`);
  return { path, keys: parsed };
}

// Kinds of settings

interface Named {
  readonly flag: string;
  readonly help: string;
}

interface Valued extends Named {
  readonly value: string;
}

function last(texts: readonly string[]): string {
  return texts.at(-1) ?? "";
}

function single<T>(named: Valued, parse: (text: string) => T): Setting<T> {
  return { ...named, repeats: false, parse: (texts) => parse(last(texts)) };
}

export function textSetting(
  named: Valued,
  check: (text: string) => string | undefined = () => undefined,
): Setting<string> {
  return single(named, (text) => {
    const problem = check(text);
    if (problem !== undefined) throw new BadValue(problem);
    return text;
  });
}

export function switchSetting(named: Named): Setting<boolean> {
  return {
    ...named,
    repeats: false,
    parse(texts) {
      const text = last(texts).toLowerCase();
      if (["true", "1", "yes", "on"].includes(text)) return true;
      if (["false", "0", "no", "off"].includes(text)) return false;
      throw new BadValue(`expected true or false, got ${quote(last(texts))}`);
    },
  };
}

export function integerSetting(named: Valued, lowest: number, highest: number): Setting<number> {
  return single(named, (text) => {
    const number = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(number) && number >= lowest && number <= highest) return number;
    throw new BadValue(`expected an integer from ${lowest} to ${highest}, got ${quote(text)}`);
  });
}

export function choiceSetting<const T extends string>(named: Valued, choices: readonly T[]): Setting<T> {
  const setting = single(named, (text) => {
    const choice = choices.find((each) => each === text);
    if (choice === undefined) throw new BadValue(`expected ${choices.join(" or ")}, got ${quote(text)}`);
    return choice;
  });
  return { ...setting, choices };
}

/** One of these numbers. */
export function numberChoiceSetting(named: Valued, choices: readonly number[]): Setting<number> {
  const setting = single(named, (text) => {
    const choice = choices.find((each) => String(each) === text);
    if (choice === undefined) throw new BadValue(`expected ${choices.join(", ")}; got ${quote(text)}`);
    return choice;
  });
  return { ...setting, choices: choices.map(String) };
}

/** A list: given several times or comma-separated. */
export function listSetting(
  named: Valued,
  check: (text: string) => string | undefined = () => undefined,
): Setting<readonly string[]> {
  return {
    ...named,
    repeats: true,
    parse(texts) {
      const parts = texts.flatMap(commaList);
      if (parts.length === 0) throw new BadValue("expected at least one");
      for (const part of parts) {
        const problem = check(part);
        if (problem !== undefined) throw new BadValue(problem);
      }
      return parts;
    },
  };
}

/** `zone=a,host=h1`. */
export function labelsSetting(named: Valued): Setting<Readonly<Record<string, string>>> {
  return {
    ...named,
    repeats: true,
    parse(texts) {
      const labels: Record<string, string> = {};
      for (const part of texts.flatMap(commaList)) {
        const match = /^([A-Za-z0-9][A-Za-z0-9._/-]{0,62})=([A-Za-z0-9._/:-]{1,128})$/.exec(part);
        if (match?.[1] === undefined || match[2] === undefined)
          throw new BadValue(`expected KEY=VALUE, got ${quote(part)}`);
        if (match[1] in labels) throw new BadValue(`${match[1]} stands twice`);
        labels[match[1]] = match[2];
      }
      return labels;
    },
  };
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `127.0.0.1:7401`, `[::1]:7401`. */
export function addressSetting(named: Valued): Setting<HostPort> {
  return single(named, (text) => {
    const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text);
    const host = match?.[1] ?? match?.[2];
    const port = Number(match?.[3]);
    if (host === undefined || port > 65_535) throw new BadValue(`expected HOST:PORT, got ${quote(text)}`);
    return { host, port };
  });
}

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds of `30s`, `500ms`, `2h`; a unit is needed, zero is none. */
export function durationSetting(named: Valued): Setting<number> {
  return single(named, (text) => {
    const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text);
    const ms = Number(match?.[1]) * (durationUnits[match?.[2] ?? ""] ?? Number.NaN);
    if (Number.isSafeInteger(ms) && ms > 0) return ms;
    throw new BadValue(`expected a duration as 500ms, 30s, 5m, 2h or 1d, got ${quote(text)}`);
  });
}

const byteUnits: Readonly<Record<string, number>> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Bytes of `64MiB` or `67108864`. */
export function bytesSetting(named: Valued, lowest: number): Setting<number> {
  return single(named, (text) => {
    const match = /^(\d{1,15})(KiB|MiB|GiB)?$/.exec(text);
    const bytes = Number(match?.[1]) * (byteUnits[match?.[2] ?? ""] ?? Number.NaN);
    if (Number.isSafeInteger(bytes) && bytes >= lowest) return bytes;
    throw new BadValue(`expected a size of at least ${lowest} bytes, as 64MiB, got ${quote(text)}`);
  });
}

function quote(text: string): string {
  return JSON.stringify(text);
}
