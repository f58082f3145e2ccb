import { setTimeout as delay } from "node:timers/promises";

export interface UntilOptions {
  /** Generous: it only ends what would never end. */
  readonly limitMs?: number;
  readonly everyMs?: number;
}

/**
 * Asks until the answer is neither undefined nor false; what `ask` throws counts as "not yet".
 * @param what - the condition in words, for the failure
 */
export async function until<T>(
  what: string,
  ask: () => T | Promise<T>,
  { limitMs = 60_000, everyMs = 50 }: UntilOptions = {},
): Promise<Exclude<T, undefined | false>> {
  const endMs = performance.now() + limitMs;
  let last: unknown = "it does not hold";
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
    } catch (error) {
      last = error instanceof Error ? error.message : error;
    }
    if (performance.now() > endMs) throw new Error(`gave up waiting until ${what}: ${String(last)}`);
    await delay(everyMs);
  }
}
