import type { RouteCache } from "#router/routing";

/** What a router without the routes it needs waits for, in words. */
export function routesWaitFor(routes: RouteCache): string[] {
  if (!routes.loaded) return ["the routes are not loaded"];
  return routes.keyspace("default") === undefined ? ["the default keyspace is not there yet"] : [];
}
