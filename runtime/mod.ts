/**
 * The seams through which Kvorum touches time, chance and the log. Imports nothing of ours.
 * Everything outside this room's real forms, `node/` and the adapters takes these as arguments, so that
 * the code that runs in production runs under a virtual clock and a seed in the simulator (R37).
 * @module
 */
export { type Cancel, type Clock, realClock } from "./clock.ts";
export { InvariantError, invariant, unreachable } from "./invariant.ts";
export { type Logger, silentLogger } from "./logger.ts";
export { cryptoRandom, type Random, seededRandom } from "./random.ts";
export { VirtualClock } from "./virtual-clock.ts";
