/**
 * Deliberate bugs and the search that shows them caught.
 * @module
 */
import { coreMutants } from "./core-mutants.ts";
import { mergeMutants } from "./merge-mutants.ts";
import type { Mutant } from "./mutant.ts";
import { reshapeMutants } from "./reshape-mutants.ts";
import { stateMutants } from "./state-mutants.ts";
import { storageMutants } from "./storage-mutants.ts";

export { type HuntOptions, hunt } from "./hunt.ts";
export type { Mutant, Place } from "./mutant.ts";

export const mutants: readonly Mutant[] = [
  ...storageMutants,
  ...coreMutants,
  ...stateMutants,
  ...reshapeMutants,
  ...mergeMutants,
];
