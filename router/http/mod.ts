/**
 * The HTTP front: what /openapi.json describes, over a `Router`. Imports `#router/routing`, `#proto`, `#runtime`,
 * fastify and prom-client alone.
 * @module
 */
export { type AccessLevel, parseTokenFile, type TokenRule } from "./access.ts";
export { errorsMarkdown } from "./error-texts.ts";
export { counterSamples, type Sample } from "./metrics.ts";
export { openApi } from "./openapi.ts";
export { type HttpLimits, HttpServer, type HttpServerOptions, type Readiness } from "./server.ts";
