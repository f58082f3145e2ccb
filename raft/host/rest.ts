import type { Clock } from "#runtime";

/** Of a thread that works at nothing else, such slices take a quarter. */
const restsPerWork = 3;
const leastRestMs = 1;

/**
 * Runs the next slice of work that can wait once the thread has had a multiple of the last slice's time for
 * what cannot (R13).
 * @param startMs - when the last slice began
 */
export function restAfter(clock: Clock, startMs: number, next: () => void): void {
  const tookMs = clock.nowMs() - startMs;
  clock.after(Math.max(leastRestMs, tookMs * restsPerWork), next);
}
