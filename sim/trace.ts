import { createHash, type Hash } from "node:crypto";

/** What happened in a run: the last notable events as text, and a hash over everything. */
export class Trace {
  readonly #lines: string[] = [];
  readonly #linesMax: number;
  readonly #hash: Hash | undefined;
  #next = 0;

  /** @param hashing - off, `digest` is undefined and `feed` costs nothing */
  constructor(hashing: boolean, linesMax = 400) {
    this.#hash = hashing ? createHash("sha256") : undefined;
    this.#linesMax = linesMax;
  }

  /** Keeps a line for people; part of the hash too. */
  note(nowMs: number, text: string): void {
    const line = `${nowMs.toFixed(3).padStart(10)} ${text}`;
    this.#lines[this.#next % this.#linesMax] = line;
    this.#next += 1;
    this.#hash?.update(line);
  }

  /** Adds to the hash alone: a delivered packet, say. */
  feed(nowMs: number, what: string, data: Uint8Array): void {
    this.#hash?.update(`${nowMs.toFixed(3)} ${what} `);
    this.#hash?.update(data);
  }

  /** The last lines, oldest first. */
  timeline(): readonly string[] {
    if (this.#next <= this.#linesMax) return this.#lines.slice(0, this.#next);
    const start = this.#next % this.#linesMax;
    return [...this.#lines.slice(start), ...this.#lines.slice(0, start)];
  }

  /** 16 hex digits; the trace goes on afterwards. */
  digest(): string | undefined {
    return this.#hash?.copy().digest("hex").slice(0, 16);
  }
}
