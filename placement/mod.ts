/**
 * Which node holds which shard: the replicated state of group 0, the leader's planning, every node's agent,
 * and the read side of the admin API. See README.md.
 * @module
 */
export { EventRing, type PlacementEvent } from "./events.ts";
export {
  type AskParts,
  askAsRouter,
  askToJoin,
  type JoinOutcome,
  probeCluster,
  type RouterWelcome,
} from "./join.ts";
export { type BootstrapNode, bootstrapNodeId, bootstrapReplica } from "./machine.ts";
export type {
  Capacity,
  PlacementEvents,
  PlacementParts,
  RouteSink,
  ShardOrders,
  ShardReporter,
  ShardStats,
  SplitAnswer,
  SplitQuestion,
} from "./parts.ts";
export { Placement } from "./placement.ts";
export type { KeyspaceWish } from "./state.ts";
