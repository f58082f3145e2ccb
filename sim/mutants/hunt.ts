import type { Assembly } from "../assembly.ts";
import { type RunResult, runSeed } from "../run.ts";
import type { Mutant } from "./mutant.ts";

export interface HuntOptions {
  readonly from: number;
  readonly seedsMax: number;
  readonly assembly: Assembly;
}

/**
 * Runs seeds with the bug in until one fails. Only a failure that the same run without the bug does not have
 * counts.
 * @returns undefined when no seed showed it
 */
export function hunt(
  mutant: Mutant,
  options: HuntOptions,
): { readonly seed: number; readonly result: RunResult } | undefined {
  const { from, seedsMax, assembly } = options;
  for (let seed = from; seed < from + seedsMax; seed++) {
    const result = runSeed(seed, { assembly, mutant });
    if (result.violation === undefined) continue;
    const { plan } = mutant;
    const sane = runSeed(seed, { assembly, ...(plan === undefined ? {} : { adjust: plan }) });
    if (sane.violation === undefined) return { seed, result };
  }
  return undefined;
}
