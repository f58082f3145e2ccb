import type { Clock } from "#runtime";

/** ms; a rate covers the last one to two of these. */
const windowMs = 10_000;

/**
 * Events per second over a sliding window: the running one and what still counts of the one before. Plain
 * arithmetic, since placement decides by it (R37).
 */
export class LoadMeter {
  readonly #clock: Clock;
  #windowStartMs: number;
  #current = 0;
  #previous = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#windowStartMs = clock.nowMs();
  }

  add(count = 1): void {
    this.#roll();
    this.#current += count;
  }

  perSecond(): number {
    const elapsedMs = this.#roll();
    const weight = 1 - elapsedMs / windowMs;
    return (this.#current + this.#previous * weight) / (windowMs / 1000);
  }

  /** Starts a new window where the running one is over. @returns ms into the running one */
  #roll(): number {
    const elapsedMs = this.#clock.nowMs() - this.#windowStartMs;
    if (elapsedMs < windowMs) return elapsedMs;
    const windows = Math.floor(elapsedMs / windowMs);
    this.#previous = windows === 1 ? this.#current : 0;
    this.#current = 0;
    this.#windowStartMs += windows * windowMs;
    return elapsedMs - windows * windowMs;
  }
}
