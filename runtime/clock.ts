/** Takes a timer back; calling it after the timer ran, or twice, does nothing. */
export type Cancel = () => void;

/** All the time there is. One instance per node; the simulator gives each node its own, skewable one. */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary zero; fractions allowed. Never goes back. */
  nowMs(): number;
  /** Wall clock in whole microseconds since 1970; may jump either way. A safe integer. */
  wallMicros(): number;
  /** Runs `run` once, no earlier than `delayMs` from now. */
  after(delayMs: number, run: () => void): Cancel;
  /**
   * Runs `run` after the sockets were polled once more: what was written has reached the kernel, and
   * what waited there has been read (R15, R16). `setImmediate` in the real form.
   */
  soon(run: () => void): void;
}

/** The real clock. Its timers do not keep a process alive by themselves. */
export function realClock(): Clock {
  return {
    nowMs: () => performance.now(),
    wallMicros: () => Math.floor((performance.timeOrigin + performance.now()) * 1000) + wallDriftMicros(),
    after(delayMs, run) {
      const timer = setTimeout(run, delayMs);
      timer.unref();
      return () => clearTimeout(timer);
    },
    soon(run) {
      setImmediate(run);
    },
  };
}

/**
 * `performance.timeOrigin` is fixed at start, so steps of the system clock since then would be missed;
 * beyond 1 ms of difference `Date.now()` is believed.
 */
function wallDriftMicros(): number {
  const differenceMs = Date.now() - (performance.timeOrigin + performance.now());
  return Math.abs(differenceMs) > 1 ? Math.round(differenceMs * 1000) : 0;
}
