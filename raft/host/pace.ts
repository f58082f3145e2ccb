import type { Cancel, Clock } from "#runtime";

/** What was not used of the rate may be made up for over so long: timers come late, a rest earns no flood. */
const burstMs = 20;
/** A piece that took so much longer than the fastest one has stood in queues that users' requests stand in, too. */
const queueMs = 5;
/** The rate never falls below this part of the limit: what only waited would never be done. */
export const leastShare: number = 1 / 8;
const firstShare = 1 / 4;
const slower = 0.9;
const fasterShare = 1 / 64;

/**
 * Spreads what can wait over time, so that what cannot wait meets only little of it at once (R13): a token
 * bucket that may be overdrawn by one piece. Its rate gives way: below the limit it rises while pieces arrive
 * promptly, and falls while they queue, wherever that is: the sender's loop, the wire, the receiver's loop or
 * disk. The idea is that of LEDBAT (RFC 6817).
 */
export class Pace {
  readonly #clock: Clock;
  readonly #limitPerS: () => number;
  readonly #resume: () => void;
  #share = firstShare;
  #budget: number;
  #refilledMs: number;
  #cancel: Cancel | undefined;

  /**
   * @param limitPerS - of what is spent; may change at any time
   * @param resume - called when a piece may go after `mayGo` has said no
   */
  constructor(clock: Clock, limitPerS: () => number, resume: () => void) {
    this.#clock = clock;
    this.#limitPerS = limitPerS;
    this.#resume = resume;
    this.#refilledMs = clock.nowMs();
    this.#budget = this.#burst;
  }

  /** Per second, now. */
  get rate(): number {
    return this.#limitPerS() * this.#share;
  }

  get #burst(): number {
    return (this.rate * burstMs) / 1000;
  }

  mayGo(): boolean {
    const nowMs = this.#clock.nowMs();
    const { rate } = this;
    this.#budget = Math.min(this.#burst, this.#budget + (rate * (nowMs - this.#refilledMs)) / 1000);
    this.#refilledMs = nowMs;
    if (this.#budget >= 0) return true;
    // Whole and never nothing: what rounding leaves open must not be waited for again and again at one instant.
    const waitMs = Math.max(1, Math.ceil((-this.#budget / rate) * 1000));
    this.#cancel ??= this.#clock.after(waitMs, () => {
      this.#cancel = undefined;
      this.#resume();
    });
    return false;
  }

  /** A piece of so much has gone. */
  spend(amount: number): void {
    this.#budget -= amount;
  }

  /** A piece was acknowledged, so much later than the fastest of its stream. */
  arrived(laterMs: number): void {
    this.#share =
      laterMs > queueMs ? Math.max(leastShare, this.#share * slower) : Math.min(1, this.#share + fasterShare);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
