/**
 * Many Raft groups on one node: one turn loop, one synced write batch a turn, one body per destination.
 * @module
 */
export { defaultLimits, defaultTiming, type HostLimits, type HostTiming } from "./config.ts";
export type { MakeCore } from "./core-config.ts";
export { Host } from "./host.ts";
export type { HostOptions, HostStats } from "./options.ts";
export { leastShare as slowestStreamShare } from "./pace.ts";
export type {
  Absorb,
  Birth,
  GroupHost,
  GroupView,
  ProposeOutcome,
  ReadOutcome,
  ReplicaInit,
  StateMachine,
  StateMachineFactory,
} from "./types.ts";
