import type { Cancel, Clock, Logger } from "#runtime";
import type { Engine } from "#storage";

const pollMs = 5000;
/** R36: writes but deletes are refused below 5 % or 2 GiB free, whichever is less. */
const freeShareMin = 0.05;
const freeBytesMin = 2 * 2 ** 30;

/** Watches the disk's free space, so that it never fills: a failed write stops the node (R8, R36). */
export class DiskGuard {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #nearlyFull = false;
  #cancel: Cancel = () => {};

  constructor(engine: Engine, clock: Clock, logger: Logger) {
    this.#engine = engine;
    this.#clock = clock;
    this.#logger = logger;
  }

  get nearlyFull(): boolean {
    return this.#nearlyFull;
  }

  start(): void {
    this.#poll();
  }

  close(): void {
    this.#cancel();
  }

  #poll(): void {
    const { freeBytes, totalBytes } = this.#engine.diskSpace();
    const nearlyFull = freeBytes < Math.min(totalBytes * freeShareMin, freeBytesMin);
    if (nearlyFull !== this.#nearlyFull) {
      this.#nearlyFull = nearlyFull;
      this.#logger.warn({ freeBytes, nearlyFull }, "the disk's free space crossed the limit for writes");
    }
    this.#cancel = this.#clock.after(pollMs, () => this.#poll());
  }
}
