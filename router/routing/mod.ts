/**
 * From a key to an answer: the route cache and the smart router. No clock, chance or network of its own, so
 * the simulator runs it as it is. Imports `#transport` (types), `#proto` and `#runtime` alone.
 * @module
 */
export type { AdminOutcome } from "./admin-call.ts";
export type { Failure, ReadOutcome, RouterStats, Served, WriteOutcome } from "./outcome.ts";
export type { ReadSpec } from "./read-call.ts";
export { Registration, type RegistrationOptions } from "./registration.ts";
export {
  compareVersions,
  isWhole,
  RouteCache,
  type RouteCacheOptions,
  type RouteStats,
} from "./route-cache.ts";
export { type KeyspaceRoutes, type RouteEntry, RouteMap } from "./route-map.ts";
export {
  defaultRouterLimits,
  type ReadIntent,
  Router,
  type RouterLimits,
  type RouterOptions,
  type WriteIntent,
} from "./router.ts";
export { Session } from "./session.ts";
export { TimerWheel, WheelTimer } from "./timer-wheel.ts";
