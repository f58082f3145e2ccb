export { type HuntOptions, hunt } from "./hunt.ts";
export type { Mutant, Place } from "./mutant.ts";
