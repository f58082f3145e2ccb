import { randomBytes } from "node:crypto";

/** All the chance there is. */
export interface Random {
  /** An integer in [0, bound), bound at most 2^48. */
  below(bound: number): number;
  /** True with probability `p`. */
  chance(p: number): boolean;
  /** `bytes` random bytes as lower-case hex. */
  hex(bytes: number): string;
  /** An own stream for `label`, so that a new draw elsewhere moves nothing here. */
  fork(label: string): Random;
}

abstract class BaseRandom implements Random {
  abstract below(bound: number): number;
  abstract fork(label: string): Random;

  chance(p: number): boolean {
    return this.below(2 ** 32) < p * 2 ** 32;
  }

  hex(bytes: number): string {
    let text = "";
    for (let i = 0; i < bytes; i++) text += this.below(256).toString(16).padStart(2, "0");
    return text;
  }
}

class CryptoRandom extends BaseRandom {
  below(bound: number): number {
    return randomBytes(6).readUIntBE(0, 6) % bound;
  }

  fork(): Random {
    return this;
  }
}

/** Chance from the operating system. */
export function cryptoRandom(): Random {
  return new CryptoRandom();
}

/** sfc32 (Chris Doty-Humphrey's small fast counting generator): 128 bits of state, plain integer steps. */
class SeededRandom extends BaseRandom {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  readonly #seed: string;

  constructor(seed: string) {
    super();
    this.#seed = seed;
    const hash = fnv1a(seed);
    this.#a = hash;
    this.#b = fnv1a(`${seed}/b`);
    this.#c = fnv1a(`${seed}/c`);
    for (let i = 0; i < 12; i++) this.#next();
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }

  below(bound: number): number {
    if (bound <= 2 ** 32) return Math.floor((this.#next() / 2 ** 32) * bound);
    return ((this.#next() & 0xffff) * 2 ** 32 + this.#next()) % bound;
  }

  fork(label: string): Random {
    return new SeededRandom(`${this.#seed}/${label}`);
  }
}

/** The same seed gives the same draws on every machine and Node version. */
export function seededRandom(seed: number | string): Random {
  return new SeededRandom(String(seed));
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash ^= text.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
}
