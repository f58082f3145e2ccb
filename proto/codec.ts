import { Decoder, Encoder } from "@msgpack/msgpack";
import { announcesOnlyWhatItHolds } from "./token-walk.ts";

/** Bytes from a wire or a disk that do not say what they should. The message names what was expected. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

const encoder = new Encoder({ initialBufferSize: 4096, ignoreUndefined: false });
const decoder = new Decoder();

/** MessagePack of `value`, as a copy of its own. */
export function encode(value: unknown): Uint8Array {
  return encoder.encode(value);
}

/**
 * The value in `bytes`; binary parts are views into them.
 * @throws ProtocolError when they are not one whole MessagePack value
 */
export function decode(bytes: Uint8Array): unknown {
  if (!announcesOnlyWhatItHolds(bytes))
    throw new ProtocolError("not MessagePack: it announces more than it holds");
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new ProtocolError("not MessagePack", { cause });
  }
}

/**
 * Reads an array field by field, checking each type once, at the border: a safe integer, bytes, text…
 * Further fields than are read are allowed (a newer sender), fewer are not unless read as optional.
 */
export class FieldReader {
  readonly #fields: readonly unknown[];
  readonly #what: string;
  #at = 0;

  constructor(value: unknown, what: string) {
    if (!Array.isArray(value)) throw new ProtocolError(`${what}: not an array`);
    this.#fields = value;
    this.#what = what;
  }

  static of(bytes: Uint8Array, what: string): FieldReader {
    return new FieldReader(decode(bytes), what);
  }

  /** The next field, unchecked. */
  any(): unknown {
    return this.#fields[this.#at++];
  }

  /** A safe integer of at least `min`. */
  integer(min = 0): number {
    const value = this.any();
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= min) return value;
    return this.#fail(`an integer of at least ${min}`);
  }

  number(): number {
    const value = this.any();
    return typeof value === "number" && Number.isFinite(value) ? value : this.#fail("a finite number");
  }

  bytes(): Uint8Array {
    const value = this.any();
    return value instanceof Uint8Array ? value : this.#fail("bytes");
  }

  text(): string {
    const value = this.any();
    return typeof value === "string" ? value : this.#fail("text");
  }

  boolean(): boolean {
    const value = this.any();
    return typeof value === "boolean" ? value : this.#fail("a boolean");
  }

  /** One of `choices`. */
  choice<T extends string | number>(choices: readonly T[]): T {
    const value = this.any();
    const found = choices.find((choice) => choice === value);
    return found ?? this.#fail(`one of ${choices.join(", ")}`);
  }

  /** An array, each element read by `read`. */
  list<T>(read: (element: unknown) => T): T[] {
    const value = this.any();
    return Array.isArray(value) ? value.map(read) : this.#fail("an array");
  }

  /** A plain object, unchecked inside. */
  record(): Record<string, unknown> {
    const value = this.any();
    const plain = typeof value === "object" && value !== null && !Array.isArray(value);
    return plain && !(value instanceof Uint8Array)
      ? (value as Record<string, unknown>)
      : this.#fail("an object");
  }

  /** What `read` gives, or undefined where the field is null or missing. */
  optional<T>(read: (reader: FieldReader) => T): T | undefined {
    if (this.#fields[this.#at] == null) {
      this.#at += 1;
      return undefined;
    }
    return read(this);
  }

  #fail(expected: string): never {
    throw new ProtocolError(`${this.#what}: field ${this.#at - 1} is not ${expected}`);
  }
}
