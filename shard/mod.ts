/**
 * One shard's state machine and the node's service in front of it: see README.md.
 * @module
 */
export { decodeEntry, encodeEntry, type ShardEntry } from "./entry.ts";
export { type FloorResult, type Leadership, ShardStateMachine } from "./machine.ts";
export type { MergeOutcome } from "./merge.ts";
export { ShardService, type ShardServiceOptions } from "./service.ts";
export type { ShardReport } from "./shards.ts";
export type { SplitOutcome, SplitResult } from "./split.ts";
export { roundToSlot, type SplitSuggestion, type SplitWish } from "./split-keys.ts";
export { initialRows } from "./state-rows.ts";
export { decodeValueRow } from "./value-row.ts";
export type { ShardSettings } from "./writes.ts";
