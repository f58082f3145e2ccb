/** How long this process stood still: then nothing that it measured is of the servers. @module */

const everyMs = 50;

export class Pauses {
  #longestMs = 0;
  #lastMs: number = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.#look(), everyMs);
    this.#timer.unref();
  }

  /** Beyond what it should have slept, ms. */
  get longestMs(): number {
    return this.#longestMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const nowMs = performance.now();
    this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs - everyMs);
    this.#lastMs = nowMs;
  }
}
