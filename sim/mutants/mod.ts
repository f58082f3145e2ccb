import type { Mutant } from "./mutant.ts";

export { type HuntOptions, hunt } from "./hunt.ts";
export type { Mutant, Place } from "./mutant.ts";

export const mutants: readonly Mutant[] = [];
