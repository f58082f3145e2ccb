import { decodeBytes, decodeText } from "./escapes.ts";
import { Problem } from "./problem.ts";

/** A request's parameters, each at most once. Values stay raw until asked for: keys are bytes, the rest text. */
export class Query {
  readonly #raw: ReadonlyMap<string, string>;

  private constructor(raw: ReadonlyMap<string, string>) {
    this.#raw = raw;
  }

  /**
   * @param text - what stands behind the `?`, undecoded
   * @param known - the parameters this resource has
   * @throws Problem bad_parameter: unknown, repeated, badly escaped
   */
  static parse(text: string, known: readonly string[]): Query {
    if (text === "") return empty;
    const raw = new Map<string, string>();
    for (const part of text.split("&")) {
      if (part === "") continue;
      const equals = part.indexOf("=");
      const rawName = equals < 0 ? part : part.slice(0, equals);
      const name = decodeText(rawName, true);
      if (name === undefined || !known.includes(name)) {
        throw bad(
          name ?? rawName,
          known.length === 0 ? "there are no parameters here" : `known are ${known.join(", ")}`,
        );
      }
      if (raw.has(name)) throw bad(name, "it is given more than once");
      raw.set(name, equals < 0 ? "" : part.slice(equals + 1));
    }
    return new Query(raw);
  }

  static none(): Query {
    return empty;
  }

  has(name: string): boolean {
    return this.#raw.has(name);
  }

  /** @throws Problem bad_parameter */
  bytes(name: string): Buffer | undefined {
    const raw = this.#raw.get(name);
    if (raw === undefined) return undefined;
    return decodeBytes(raw, true) ?? fail(name, "a % must be followed by two hex digits");
  }

  /** @throws Problem bad_parameter */
  text(name: string): string | undefined {
    const raw = this.#raw.get(name);
    if (raw === undefined) return undefined;
    return decodeText(raw, true) ?? fail(name, "it is badly escaped, or not UTF-8");
  }

  /** @throws Problem bad_parameter */
  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    return (
      choices.find((choice) => choice === value) ?? fail(name, `it must be one of ${choices.join(", ")}`)
    );
  }

  /** A whole number. @throws Problem bad_parameter */
  integer(name: string, min: number, max: number = Number.MAX_SAFE_INTEGER): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const number = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    const fits = Number.isSafeInteger(number) && number >= min && number <= max;
    return fits ? number : fail(name, `it must be a whole number from ${min} to ${max}`);
  }

  /** `true` or `false`; absent: false. @throws Problem bad_parameter */
  truth(name: string): boolean {
    return this.choice(name, ["true", "false"]) === "true";
  }

  /** Such as `500ms` or `30s`, in ms. @throws Problem bad_parameter */
  durationMs(name: string, minMs: number, maxMs: number): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const ms = parseDurationMs(value);
    if (ms === undefined) return fail(name, "it must be a whole number with its unit: ms, s, m, h or d");
    return ms >= minMs && ms <= maxMs ? ms : fail(name, `it must be from ${minMs}ms to ${maxMs}ms`);
  }
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @returns undefined when it is no duration; the unit must be there */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d{1,15})(ms|s|m|h|d)$/.exec(text);
  if (match === null) return undefined;
  const ms = Number(match[1]) * (unitsMs[match[2] ?? ""] ?? Number.NaN);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

function bad(name: string, why: string): Problem {
  return new Problem("bad_parameter", `parameter ${JSON.stringify(name)}: ${why}`);
}

function fail(name: string, why: string): never {
  throw bad(name, why);
}

const empty: Query = Query.parse("&", []);
