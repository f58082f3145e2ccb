import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type FastifyInstance, fastify, type InjectOptions, type LightMyRequestResponse } from "fastify";
import type { NodeId } from "#proto";
import type { RouteCache, Router } from "#router/routing";
import type { Logger, Random } from "#runtime";
import { authenticate, type TokenRule } from "./access.ts";
import { AdminHandlers, demandJson } from "./admin.ts";
import { BodyBudget, type BodyLimits, collectBody, noRoom, tooLarge } from "./body.ts";
import { DataHandlers } from "./data.ts";
import { docsPage, errorsPage } from "./error-texts.ts";
import { Exchange, type ExchangeOptions } from "./exchange.ts";
import { jsonBytesMax } from "./json-body.ts";
import { counterSamples, HttpMetrics, type Sample } from "./metrics.ts";
import { openApi } from "./openapi.ts";
import { OriginGuard, type OriginRules } from "./origin.ts";
import { Problem, problemJson } from "./problem.ts";
import { Query } from "./query.ts";
import { findTarget, type Resource, type ResourceName, resources } from "./routes.ts";

/** Request line, and headers: each at most this. */
const partBytesMax = 64 * 1024;
/** What Node's parser takes at all; between the two the answer can say which part is too large. */
const headBytesMax = 256 * 1024;
/** Bodies of refused requests up to this are read and thrown away, so that the connection can go on. */
const discardedBytesMax = 4 * 1024 * 1024;
/** A request must have come in whole within this, ms. */
const requestTimeoutMs = 300_000;
const keepAliveMs = 75_000;
const connectionsMax = 10_000;
const backlog = 4_096;

export interface Readiness {
  readonly ready: boolean;
  /** What it waits for; empty when ready. */
  readonly reasons: readonly string[];
}

export interface HttpLimits {
  readonly maxValueBytes: number;
  readonly maxInflightBytes: number;
}

export interface HttpServerOptions extends OriginRules {
  /** This node's or stateless router's name. */
  readonly name: string;
  readonly version: string;
  readonly router: Pick<Router, "read" | "write" | "admin" | "stats" | "inFlight" | "inFlightBytes">;
  readonly cache: Pick<RouteCache, "node" | "stats">;
  readonly logger: Logger;
  readonly random: Random;
  /** Asked for each request: these settings change while the server runs. */
  readonly limits: () => HttpLimits;
  readonly readiness: () => Readiness;
  /** Further values for `/metrics`. */
  readonly collect: () => readonly Sample[];
  /** Absent: no tokens are asked for. */
  readonly tokens?: readonly TokenRule[];
}

const exchangeOf = Symbol("exchange");
type Tagged = IncomingMessage & { [exchangeOf]?: Exchange };
/** Of Node's parser. */
interface ClientError extends Error {
  readonly code?: string | undefined;
  readonly rawPacket?: unknown;
}

type Handler = (exchange: Exchange, response: ServerResponse, body: unknown) => void;

/** The HTTP front of a node or stateless router: what /openapi.json describes, over a `Router`. */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #app: FastifyInstance;
  readonly #metrics = new HttpMetrics();
  readonly #guard: OriginGuard;
  readonly #budget = new BodyBudget();
  readonly #data: DataHandlers;
  readonly #admin: AdminHandlers;
  readonly #shared: ExchangeOptions;
  readonly #requestIdStart: string;
  #requests = 0;

  constructor(options: HttpServerOptions) {
    const { router, cache, name } = options;
    this.#options = options;
    this.#guard = new OriginGuard(options);
    const nodeName = (node: NodeId): string => cache.node(node)?.name ?? String(node);
    this.#data = new DataHandlers({ router, nodeName, ownName: name });
    this.#admin = new AdminHandlers({ router, nodeName, ownName: name });
    this.#shared = { ownName: name, metrics: this.#metrics, budget: this.#budget, closing: false };
    this.#requestIdStart = `${options.random.hex(4)}-`;
    this.#app = this.#build();
  }

  /** @param port - 0 for any free one */
  async listen(host: string, port: number): Promise<{ host: string; port: number }> {
    await this.#app.listen({ host, port, backlog });
    this.#guard.allow(host);
    const address = this.#app.server.address();
    return typeof address === "object" && address !== null
      ? { host: address.address, port: address.port }
      : { host, port };
  }

  /** From now on requests get `503`, but for /healthz; those under way go on. */
  drain(): void {
    this.#shared.closing = true;
    this.#admin.close();
  }

  /** Stops listening and waits for what is under way, at most `graceMs`; then connections are cut. */
  async close(graceMs = 2_000): Promise<void> {
    this.drain();
    const cut = setTimeout(() => this.#app.server.closeAllConnections(), graceMs);
    await this.#app.close();
    clearTimeout(cut);
  }

  /** A request without a socket, for tests. */
  inject(request: InjectOptions): Promise<LightMyRequestResponse> {
    return this.#app.inject(request);
  }

  #build(): FastifyInstance {
    const app = fastify({
      logger: false,
      keepAliveTimeout: keepAliveMs,
      requestTimeout: requestTimeoutMs,
      forceCloseConnections: "idle",
      return503OnClosing: false,
      exposeHeadRoutes: false,
      // Refused by this server with a problem of its own.
      http: { maxHeaderSize: headBytesMax, requireHostHeader: false },
      rewriteUrl: (request) => this.#receive(request as Tagged),
      clientErrorHandler: (error, socket) => this.#onClientError(error, socket),
    });
    app.server.maxHeadersCount = 0;
    app.server.maxConnections = connectionsMax;
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", (request, payload, done) => {
      const exchange = mustHave(request.raw);
      const limits = () => this.#bodyLimits(exchange);
      collectBody(payload as IncomingMessage, exchange, this.#budget, limits, done);
    });
    app.addHook("onRequest", (request, reply, done) => {
      const exchange = mustHave(request.raw);
      try {
        this.#check(exchange);
        done();
      } catch (error) {
        reply.hijack();
        this.#fail(exchange, reply.raw, error);
      }
    });
    const on = (name: ResourceName, methods: readonly string[], handler: Handler): void => {
      app.route({
        method: [...methods] as "GET"[],
        url: `/${name}`,
        handler: (request, reply) => {
          reply.hijack();
          this.#handle(mustHave(request.raw), reply.raw, request.body, handler);
        },
      });
    };
    this.#register(on);
    app.setNotFoundHandler((request, reply) => {
      reply.hijack();
      this.#handle(mustHave(request.raw), reply.raw, undefined, (exchange, response) =>
        this.#unrouted(exchange, response),
      );
    });
    app.setErrorHandler((error, request, reply) => {
      reply.hijack();
      this.#fail(mustHave(request.raw), reply.raw, error);
    });
    return app;
  }

  #register(on: (name: ResourceName, methods: readonly string[], handler: Handler) => void): void {
    const reading = ["GET", "HEAD"];
    for (const name of names) {
      const { kind }: Resource = resources[name];
      if (kind === "data") {
        on(name, reading, (exchange, response) => this.#data.get(exchange, response));
        on(name, ["PUT"], (exchange, response, body) => this.#data.put(exchange, response, body));
        on(name, ["DELETE"], (exchange, response) => this.#data.delete(exchange, response));
      } else if (kind === "admin") this.#registerAdmin(on, name);
    }
    on("healthz", reading, (exchange, response) => {
      plain(exchange);
      exchange.json(response, 200, noStore(), { status: "ok" });
    });
    on("readyz", reading, (exchange, response) => this.#readyz(exchange, response));
    on("metrics", reading, (exchange, response) => this.#metricsPage(exchange, response));
    on("openapi", reading, (exchange, response) => {
      plain(exchange);
      demandJson(exchange);
      exchange.json(response, 200, ["Cache-Control", "no-cache"], openApi(this.#options.version));
    });
    on("docs", reading, (exchange, response) => page(exchange, response, docsPage(this.#options.version)));
    on("docsErrors", reading, (exchange, response) => page(exchange, response, errorsPage()));
  }

  #registerAdmin(
    on: (name: ResourceName, methods: readonly string[], handler: Handler) => void,
    name: ResourceName,
  ): void {
    const { methods }: Resource = resources[name];
    const looking = methods.filter((method) => ["GET", "HEAD"].includes(method));
    if (looking.length > 0) on(name, looking, (exchange, response) => this.#admin.get(exchange, response));
    const changing = methods.filter((method) => !looking.includes(method));
    if (changing.length === 0) return;
    on(name, changing, (exchange, response, body) => this.#admin.change(exchange, response, body));
  }

  /** The first that is seen of a request. @returns the internal name under which fastify finds the handler */
  #receive(request: Tagged): string {
    const { headers } = request;
    const target = findTarget(request.url ?? "/");
    const requestId = this.#requestId(headers["x-request-id"]);
    const exchange = new Exchange(request, target, requestId, this.#shared);
    request[exchangeOf] = exchange;
    // Any type is kept with its value as it came; fastify would refuse those it cannot parse.
    if (exchange.contentType !== undefined) headers["content-type"] = "application/octet-stream";
    return target.name === undefined ? "/" : `/${target.name}`;
  }

  /** @throws Problem */
  #check(exchange: Exchange): void {
    const { request, resource } = exchange;
    const { headers } = request;
    checkHead(request);
    if (this.#shared.closing && resource?.path !== "/healthz") {
      throw new Problem("unavailable", "this node is shutting down", { retryAfterMs: 1_000, close: true });
    }
    const { host, origin } = headers;
    if (host !== undefined) this.#guard.checkHost(host, request.socket.localAddress);
    else if (request.httpVersion === "1.1") throw new Problem("bad_request", "the Host header is missing");
    if (origin !== undefined) exchange.allowedOrigin = this.#guard.checkOrigin(origin, host ?? "");
    if (this.#options.tokens !== undefined && resource?.kind !== "open" && request.method !== "OPTIONS") {
      exchange.grant = authenticate(this.#options.tokens, headers.authorization);
    }
    this.#checkLength(exchange, headers["content-length"]);
  }

  /** What is announced as too large need not be read first. */
  #checkLength(exchange: Exchange, contentLength: string | undefined): void {
    const bytes = Number(contentLength ?? 0);
    if (bytes === 0) return;
    const { bodyBytes, inflightBytes } = this.#bodyLimits(exchange);
    if (bytes > bodyBytes) throw closing(tooLarge(exchange, bodyBytes), bytes);
    if (!this.#budget.reserve(exchange, bytes, inflightBytes)) throw closing(noRoom(), bytes);
  }

  #bodyLimits({ resource }: Exchange): BodyLimits {
    const { maxValueBytes, maxInflightBytes } = this.#options.limits();
    const bodyBytes = resource?.kind === "admin" ? jsonBytesMax : maxValueBytes;
    return { bodyBytes, inflightBytes: maxInflightBytes };
  }

  #handle(exchange: Exchange, response: ServerResponse, body: unknown, handler: Handler): void {
    // A client that has gone gets no answer, but what it reserved comes back.
    if (exchange.reservedBytes > 0) response.once("close", () => this.#budget.release(exchange));
    try {
      handler(exchange, response, body);
    } catch (error) {
      this.#fail(exchange, response, error);
    }
  }

  #fail(exchange: Exchange, response: ServerResponse, error: unknown): void {
    if (error instanceof Problem) {
      exchange.fail(response, error);
      return;
    }
    const { requestId } = exchange;
    this.#options.logger.error({ err: error, request_id: requestId }, "a request failed inside the server");
    exchange.fail(
      response,
      new Problem("internal", "an unexpected fault; the log has it under the request_id"),
    );
  }

  /** No handler for this path, or not for this method. */
  #unrouted(exchange: Exchange, response: ServerResponse): void {
    const { request, resource } = exchange;
    const { method } = request;
    if (resource === undefined) throw new Problem("no_such_route", "there is no resource of this path");
    const allow = [...resource.methods, "OPTIONS"].join(", ");
    if (method !== "OPTIONS") {
      throw new Problem("method_not_allowed", `${method} is not one of ${allow}`, {
        headers: ["Allow", allow],
      });
    }
    const headers = ["Allow", allow];
    if (exchange.allowedOrigin !== undefined) {
      headers.push(
        "Access-Control-Allow-Methods",
        resource.methods.join(", "),
        "Access-Control-Max-Age",
        "600",
      );
      const asked = request.headers["access-control-request-headers"];
      if (asked !== undefined) headers.push("Access-Control-Allow-Headers", asked);
    }
    exchange.answer(response, 204, headers, "");
  }

  #readyz(exchange: Exchange, response: ServerResponse): void {
    plain(exchange);
    const { ready, reasons } = this.#options.readiness();
    if (!ready)
      throw new Problem("unavailable", reasons.join("; "), { fields: { reasons }, retryAfterMs: 1_000 });
    exchange.json(response, 200, noStore(), { status: "ready" });
  }

  #metricsPage(exchange: Exchange, response: ServerResponse): void {
    plain(exchange);
    const { router, cache, collect } = this.#options;
    const gauge = (name: string, help: string, value: number): Sample => ({
      name,
      help,
      type: "gauge",
      value,
    });
    const samples = [
      ...counterSamples("router", router.stats),
      ...counterSamples("routes", cache.stats),
      gauge("kvorum_router_inflight_requests", "Requests under way in the router", router.inFlight),
      gauge("kvorum_router_inflight_bytes", "Keys and values of requests under way", router.inFlightBytes),
      gauge("kvorum_http_event_stream_requests", "Event streams that are open", this.#admin.streams),
      gauge("kvorum_http_body_bytes", "Bodies being read or carried out", this.#budget.usedBytes),
      ...collect(),
    ];
    const headers = ["Content-Type", "text/plain; version=0.0.4; charset=utf-8", ...noStore()];
    this.#metrics.page(samples).then(
      (text) => exchange.answer(response, 200, headers, text),
      (error: unknown) => this.#fail(exchange, response, error),
    );
  }

  /** The caller's own where it can go into a header and a log. */
  #requestId(asked: string | string[] | undefined): string {
    if (typeof asked === "string" && /^[\x21-\x7e]{1,128}$/.test(asked)) return asked;
    this.#requests += 1;
    return this.#requestIdStart + this.#requests.toString(36);
  }

  /** What Node's parser refused; there is no request to answer, only a socket. */
  #onClientError(error: ClientError, socket: Socket): void {
    const busy = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage;
    if (error.code === "ECONNRESET" || !socket.writable || busy?.headersSent === true) {
      socket.destroy();
      return;
    }
    const problem = clientProblem(error);
    const id = this.#requestId(undefined);
    const body = problemJson(problem, id, undefined);
    const status = { uri_too_long: 414, headers_too_large: 431 }[problem.code as string] ?? 400;
    socket.end(
      [
        `HTTP/1.1 ${status} ${status === 400 ? "Bad Request" : status === 414 ? "URI Too Long" : "Request Header Fields Too Large"}`,
        "Content-Type: application/problem+json",
        `Content-Length: ${Buffer.byteLength(body)}`,
        `Kvorum-Code: ${problem.code}`,
        `Kvorum-Request-Id: ${id}`,
        `Kvorum-Served-By: ${this.#options.name}`,
        "Connection: close",
        "",
        body,
      ].join("\r\n"),
    );
  }
}

const names = Object.keys(resources) as ResourceName[];

function mustHave(request: Tagged): Exchange {
  const exchange = request[exchangeOf];
  if (exchange === undefined) throw new Error("every request is received before it is routed");
  return exchange;
}

/** @throws Problem uri_too_long, headers_too_large */
function checkHead({ url = "", originalUrl, rawHeaders }: IncomingMessage & { originalUrl?: string }): void {
  if ((originalUrl ?? url).length > partBytesMax) {
    throw new Problem("uri_too_long", `the request line has more than ${partBytesMax} bytes`);
  }
  let bytes = 0;
  for (const part of rawHeaders) bytes += part.length + 2;
  if (bytes > partBytesMax) {
    throw new Problem("headers_too_large", `the headers have more than ${partBytesMax} bytes`);
  }
}

/** Such a body may be thrown away as it comes, unless it is very long. */
function closing(problem: Problem, bytes: number): Problem {
  const close = bytes > discardedBytesMax;
  return new Problem(problem.code, problem.message, { ...problem.more, close });
}

function clientProblem(error: ClientError): Problem {
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT")
    return new Problem("bad_request", "the request came too slowly");
  if (error.code === "HPE_INVALID_URL") {
    return new Problem("bad_request", "the URL holds bytes that must be percent-escaped");
  }
  if (error.code !== "HPE_HEADER_OVERFLOW") return new Problem("bad_request", "this is not HTTP/1.1");
  const { rawPacket } = error;
  // The last piece that was read: without the end of a line it is most likely of the first.
  return rawPacket instanceof Uint8Array && rawPacket.includes(0x0a)
    ? new Problem("headers_too_large", `the headers have more than ${partBytesMax} bytes`)
    : new Problem("uri_too_long", `the request line has more than ${partBytesMax} bytes`);
}

/** No parameters here. @throws Problem bad_parameter */
function plain({ target }: Exchange): void {
  Query.parse(target.query, []);
}

function noStore(): string[] {
  return ["Cache-Control", "no-store"];
}

function page(exchange: Exchange, response: ServerResponse, html: string): void {
  plain(exchange);
  demandJson(exchange, "text/html");
  const headers = [
    "Content-Type",
    "text/html; charset=utf-8",
    "Content-Security-Policy",
    "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options",
    "nosniff",
  ];
  exchange.answer(response, 200, headers, html);
}
