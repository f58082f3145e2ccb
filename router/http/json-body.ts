import { isName, isSettingName, keyBytesMax } from "#proto";
import type { Exchange } from "./exchange.ts";
import { Problem } from "./problem.ts";
import { parseDurationMs } from "./query.ts";

/** Bodies of the admin API: settings, labels, one key. */
export const jsonBytesMax: number = 64 * 1024;
const depthMax = 8;
/** A drain's. */
const durationMsMax = 365 * 86_400_000;
const labelsMax = 32;

/** What a field may hold: `read` gives what placement gets, undefined when the value will not do. */
export interface Field {
  readonly required: boolean;
  readonly wants: string;
  /** Its JSON schema, roughly. */
  readonly schema: Readonly<Record<string, unknown>>;
  readonly read: (value: unknown) => unknown;
}

export type Fields = Readonly<Record<string, Field>>;

/**
 * A JSON object without fields but these.
 * @param body - of no bytes: an object without fields
 * @throws Problem naming what is wrong
 */
export function readFields(exchange: Exchange, body: Uint8Array, fields: Fields): Record<string, unknown> {
  const object = readObject(exchange, body);
  const known = Object.keys(fields);
  for (const name of Object.keys(object)) {
    if (known.includes(name)) continue;
    const there = known.length === 0 ? "there are no fields here" : `known are ${known.join(", ")}`;
    throw bad(name, there);
  }
  const parameters: Record<string, unknown> = {};
  for (const [name, { required, wants, read }] of Object.entries(fields)) {
    const value = object[name];
    if (value === undefined) {
      if (required) throw bad(name, `it is missing: ${wants}`);
      continue;
    }
    const taken = read(value);
    if (taken === undefined) throw bad(name, `it must be ${wants}`);
    parameters[name] = taken;
  }
  return parameters;
}

/** Settings by name; their values are placement's to judge. @throws Problem */
export function readSettings(exchange: Exchange, body: Uint8Array): Record<string, unknown> {
  const object = readObject(exchange, body);
  for (const name of Object.keys(object)) {
    if (!isSettingName(name)) throw bad(name, "there is no such setting");
  }
  return object;
}

function readObject(exchange: Exchange, body: Uint8Array): Record<string, unknown> {
  if (body.length === 0) return {};
  demandJsonType(exchange.contentType);
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(body));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Problem("bad_request", `the body is not JSON: ${why}`);
  }
  if (!isObject(value)) throw new Problem("bad_request", "the body must be a JSON object");
  if (isDeeper(value, depthMax)) {
    throw new Problem("bad_request", `the body has more than ${depthMax} levels`);
  }
  return value;
}

function demandJsonType(contentType: string | undefined): void {
  const [type = "", ...parameters] = (contentType ?? "").split(";").map((part) => part.trim().toLowerCase());
  const foreign = parameters.some((part) => part.startsWith("charset=") && !/^charset="?utf-8"?$/.test(part));
  if (type !== "application/json" || foreign) {
    throw new Problem("unsupported_media_type", "the body must be application/json, in UTF-8");
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((part) => isDeeper(part, levels - 1));
}

function bad(name: string, why: string): Problem {
  return new Problem("bad_parameter", `field ${JSON.stringify(name.slice(0, 128))}: ${why}`);
}

// Kinds of fields

export function required(field: Field): Field {
  return { ...field, required: true };
}

function field(type: string | object, wants: string, read: (value: unknown) => unknown): Field {
  return { required: false, wants, schema: typeof type === "string" ? { type } : { ...type }, read };
}

export const nameField: Field = field("string", "a name of [a-z0-9_-], 63 characters at most", (value) =>
  typeof value === "string" && isName(value) ? value : undefined,
);

export function wholeField(min: number, max: number): Field {
  return field(
    { type: "integer", minimum: min, maximum: max },
    `a whole number from ${min} to ${max}`,
    (value) =>
      Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max ? value : undefined,
  );
}

export function choiceField(choices: readonly string[]): Field {
  return field({ type: "string", enum: choices }, `one of ${choices.join(", ")}`, (value) =>
    choices.find((choice) => choice === value),
  );
}

/** Text, or `{"base64":"…"}` for keys that are none. */
export const keyField: Field = field(
  { oneOf: [{ type: "string" }, { type: "object", properties: { base64: { type: "string" } } }] },
  `a key of 1 to ${keyBytesMax} bytes, as text or {"base64":"…"}`,
  (value) => {
    const bytes = keyBytes(value);
    return bytes !== undefined && bytes.length > 0 && bytes.length <= keyBytesMax ? bytes : undefined;
  },
);

function keyBytes(value: unknown): Buffer | undefined {
  // Half of a surrogate pair has no UTF-8: it would become another key.
  if (typeof value === "string") return /\p{Surrogate}/u.test(value) ? undefined : Buffer.from(value, "utf8");
  if (!isObject(value) || Object.keys(value).length !== 1) return undefined;
  const { base64 } = value;
  if (typeof base64 !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return undefined;
  return Buffer.from(base64, "base64");
}

/** Stays text. */
export const durationField: Field = field(
  "string",
  "a whole number with its unit (ms, s, m, h or d), 365 days at most",
  (value) => {
    const ms = typeof value === "string" ? parseDurationMs(value) : undefined;
    return ms !== undefined && ms > 0 && ms <= durationMsMax ? value : undefined;
  },
);

export const weightField: Field = field("number", "a number above 0, at most 1000", (value) =>
  typeof value === "number" && value > 0 && value <= 1_000 ? value : undefined,
);

/** The same names and values as `--labels` takes. */
export const labelsField: Field = field(
  { type: "object", additionalProperties: { type: "string" } },
  `an object of at most ${labelsMax} labels, both sides text of letters, digits and . _ / : -`,
  (value) => {
    if (!isObject(value)) return undefined;
    const labels = Object.entries(value);
    const fit = labels.every(
      ([name, label]) =>
        /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/.test(name) &&
        typeof label === "string" &&
        /^[A-Za-z0-9._/:-]{1,128}$/.test(label),
    );
    return fit && labels.length <= labelsMax ? value : undefined;
  },
);

export const idField: Field = field("string", "an id, as text", (value) =>
  typeof value === "string" && /^[\x21-\x7e]{1,64}$/.test(value) ? value : undefined,
);
