/**
 * Composition of one node from its rooms, over seams that are passed in: the real node and the simulator both
 * come through here. Callbacks only; no clock, chance, disk or network of its own.
 * @module
 */
export { AssembledNode } from "./assembled-node.ts";
export { AssembledRouter, type AssembleRouterOptions, assembleRouter } from "./assembled-router.ts";
export type { AssembleOptions } from "./assembly-options.ts";
export { type AssembleResult, assembleNode } from "./entry.ts";
