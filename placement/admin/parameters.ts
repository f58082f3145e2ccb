import { type Code, keyBytesMax } from "#proto";

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const durationMsMax = 365 * 86_400_000;

/** A request that cannot be answered as asked. */
export class Refusal extends Error {
  readonly code: Code;
  readonly extra: Readonly<Record<string, unknown>> | undefined;

  constructor(code: Code, detail: string, extra?: Readonly<Record<string, unknown>>) {
    super(detail);
    this.code = code;
    this.extra = extra;
  }
}

/** Reads the parameters of one request; whatever is left over or of another type is refused by name. */
export class Parameters {
  readonly #left: Map<string, unknown>;

  constructor(parameters: Readonly<Record<string, unknown>>) {
    this.#left = new Map(Object.entries(parameters).filter(([, value]) => value != null));
  }

  take(name: string): unknown {
    const value = this.#left.get(name);
    this.#left.delete(name);
    return value;
  }

  text(name: string): string | undefined {
    const value = this.take(name);
    if (value === undefined || typeof value === "string") return value;
    throw new Refusal("bad_parameter", `${name}: must be text`);
  }

  /** A whole number of at least `min`, as such or in decimal. */
  whole(name: string, min: number, max: number = Number.MAX_SAFE_INTEGER): number | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    const number = typeof value === "string" && /^\d{1,16}$/.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isSafeInteger(number) && number >= min && number <= max) {
      return number;
    }
    throw new Refusal("bad_parameter", `${name}: must be a whole number of at least ${min}`);
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name);
    const found = choices.find((choice) => choice === value);
    if (value === undefined || found !== undefined) return found;
    throw new Refusal("bad_parameter", `${name}: must be one of ${choices.join(", ")}`);
  }

  /** Text that must be there. */
  need(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw new Refusal("bad_parameter", `${name}: missing`);
    return value;
  }

  truth(name: string): boolean | undefined {
    const value = this.take(name);
    if (value === undefined || typeof value === "boolean") return value;
    if (value === "true" || value === "false") return value === "true";
    throw new Refusal("bad_parameter", `${name}: must be true or false`);
  }

  /** A length of time such as `30m`, in ms. */
  durationMs(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const [, count, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(value) ?? [];
    const ms = Number(count) * (unitMs[unit ?? ""] ?? Number.NaN);
    if (Number.isSafeInteger(ms) && ms > 0 && ms <= durationMsMax) return ms;
    throw new Refusal("bad_parameter", `${name}: must be a time such as 30s, 30m or 12h, at most 365d`);
  }

  /** A user's key: text, bytes, or bytes as JSON has them. */
  key(name: string): Uint8Array | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    const bytes = keyBytes(value);
    if (bytes === undefined) throw new Refusal("bad_parameter", `${name}: must be a key`);
    if (bytes.length === 0) throw new Refusal("key_empty", "the key is empty");
    if (bytes.length > keyBytesMax) throw new Refusal("key_too_large", `the key has ${bytes.length} bytes`);
    return bytes;
  }

  end(): void {
    for (const name of this.#left.keys()) throw new Refusal("bad_parameter", `${name}: unknown parameter`);
  }
}

function keyBytes(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (typeof value !== "object" || value === null) return undefined;
  const text: unknown = Reflect.get(value, "base64");
  if (typeof text !== "string" || Object.keys(value).length !== 1) return undefined;
  const bytes = Buffer.from(text, "base64");
  // What is no base64 is dropped without a word: only what comes out the same again was whole.
  return bytes.toString("base64").replace(/=+$/, "") === text.replace(/=+$/, "") ? bytes : undefined;
}
