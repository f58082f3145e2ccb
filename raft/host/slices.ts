import type { Clock } from "#runtime";

/** Of a thread that works at nothing else, such slices take a quarter. */
const restsPerWork = 3;
const leastRestMs = 1;

/** What slices need of the host's shared parts. */
interface Sliced {
  readonly options: { readonly clock: Clock };
  guarded(run: () => void): void;
}

/**
 * Does work that can wait, a slice now and each other one once the thread has had a multiple of the last one's
 * time for what cannot (R13).
 * @param slice - does one; says whether more is left
 */
export function inSlices(shared: Sliced, slice: () => boolean): void {
  const { clock } = shared.options;
  const startMs = clock.nowMs();
  if (!slice()) return;
  const tookMs = clock.nowMs() - startMs;
  const restMs = Math.max(leastRestMs, tookMs * restsPerWork);
  clock.after(restMs, () => shared.guarded(() => inSlices(shared, slice)));
}
