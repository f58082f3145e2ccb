/** One node or router on real parts: RocksDB, NATS, the real clock, fastify. @module */
import { mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { type Clock, cryptoRandom, type Logger, realClock } from "#runtime";
import { createBallast, type Engine, openRocks } from "#storage";
import { connectNats, type Wire } from "#transport";
import { type AssembledNode, type AssembledRouter, assembleNode, assembleRouter } from "./assemble.ts";
import { packageVersion } from "./cli/version.ts";
import type { NodeOptions, RouterOptions, RunningNode, RunningServer, ServerOptions } from "./options.ts";
import { type Front, serveHttp } from "./start/front.ts";

/** The first connection to NATS is tried for so long before the start fails. */
const connectTimeoutMs = 30_000;

/**
 * Starts a node.
 * @throws Error whose message is one line for people: refused at joining, the directory is in use, NATS cannot
 *   be reached, the HTTP port is taken…
 */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { logger, dataDir } = options;
  const clock = realClock();
  const http = await reservePort(options);
  await mkdir(dataDir, { recursive: true });
  const engine = await openRocks(dataDir, { logger, clock });
  const closers: Closer[] = [() => engine.close()];
  try {
    await createBallast(dataDir, { logger });
    const wires = await connectBoth(options, options.name);
    closers.unshift(...wires.map((wire) => () => wire.close()));
    const fatal = new FatalLatch();
    const node = await assemble(options, http, engine, wires, clock, fatal);
    closers.unshift(() => new Promise((resolve) => node.stop({ handOver: false }, resolve)));
    const front = await serveHttp({ ...options, http }, { kind: "node", name: options.name, node });
    return running(front, node, engine, wires, fatal);
  } catch (error) {
    await closeAll(closers, logger);
    throw error;
  }
}

/** Starts a stateless router. @throws Error as `startNode` */
export async function startRouter(options: RouterOptions): Promise<RunningServer> {
  const { logger } = options;
  const clock = realClock();
  const http = await reservePort(options);
  const wire = await connectNats({
    servers: options.natsUrls,
    name: "router",
    logger,
    timeoutMs: connectTimeoutMs,
  });
  const closers: Closer[] = [() => wire.close()];
  try {
    const router = await new Promise<AssembledRouter>((resolve) => {
      assembleRouter(
        { cluster: options.cluster, wire, clock, random: cryptoRandom(), logger, ...limitsOf(options) },
        resolve,
      );
    });
    closers.unshift(() => Promise.resolve(router.kill()));
    const front = await serveHttp({ ...options, http }, { kind: "router", name: "router", router });
    return {
      httpUrl: front.url,
      ready: () => router.ready(),
      stop: async () => {
        await front.close();
        await closeAll(closers, logger);
      },
      onFatal: () => {},
    };
  } catch (error) {
    await closeAll(closers, logger);
    throw error;
  }
}

type Closer = () => Promise<void>;

async function closeAll(closers: readonly Closer[], logger: Logger): Promise<void> {
  for (const close of closers) {
    try {
      await close();
    } catch (err) {
      logger.warn({ err }, "something did not close cleanly");
    }
  }
}

/** Told once, whether it is listened to yet or not. */
class FatalLatch {
  #error: Error | undefined;
  #handler: ((error: Error) => void) | undefined;

  readonly raise = (error: Error): void => {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#handler?.(error);
  };

  listen(handler: (error: Error) => void): void {
    this.#handler = handler;
    if (this.#error !== undefined) handler(this.#error);
  }
}

/**
 * The address to tell the others must be known, and free, before a node joins; it serves only after. Port 0
 * becomes a free one.
 */
async function reservePort({ http }: ServerOptions): Promise<{ host: string; port: number }> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "EADDRINUSE" ? "is in use" : `cannot be used: ${error.message}`;
      reject(new Error(`the HTTP address ${http.host}:${http.port} ${why}`));
    });
    server.listen(http.port, http.host, () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : http.port;
      server.close(() => resolve({ host: http.host, port }));
    });
  });
}

/** Messages, and snapshots on a connection of their own. */
async function connectBoth(options: ServerOptions, name: string): Promise<readonly [Wire, Wire]> {
  const { natsUrls: servers, logger } = options;
  const one = (suffix: string): Promise<Wire> =>
    connectNats({ servers, name: `${name}${suffix}`, logger, timeoutMs: connectTimeoutMs });
  return [await one(""), await one("-bulk")];
}

function limitsOf(options: ServerOptions): { transportLimits: { natsMaxPendingBytes: number } } {
  return { transportLimits: { natsMaxPendingBytes: options.natsMaxPendingBytes } };
}

async function assemble(
  options: NodeOptions,
  http: { readonly host: string; readonly port: number },
  engine: Engine,
  [wire, bulkWire]: readonly [Wire, Wire],
  clock: Clock,
  fatal: FatalLatch,
): Promise<AssembledNode> {
  const { name, cluster, labels, bootstrap, logger } = options;
  return await new Promise((resolve, reject) => {
    assembleNode(
      {
        name,
        cluster,
        http: `${http.host.includes(":") ? `[${http.host}]` : http.host}:${http.port}`,
        labels,
        ...(bootstrap === undefined ? {} : { bootstrap }),
        engine,
        wire,
        bulkWire,
        clock,
        random: cryptoRandom(),
        logger,
        ...limitsOf(options),
        pid: process.pid,
        version: packageVersion(),
        onFatal: fatal.raise,
      },
      (result) => (result.ok ? resolve(result.node) : reject(new Error(result.refusal))),
    );
  });
}

function running(
  front: Front,
  node: AssembledNode,
  engine: Engine,
  wires: readonly Wire[],
  fatal: FatalLatch,
): RunningNode {
  return {
    nodeId: node.nodeId,
    httpUrl: front.url,
    ready: () => node.ready(),
    stop: async ({ handOver }) => {
      // Leaderships go first, while requests in flight still find their way; then the door is shut.
      if (handOver) await new Promise<void>((resolve) => node.handOver(resolve));
      await front.close();
      await new Promise<void>((resolve) => node.stop({ handOver: false }, resolve));
      for (const wire of wires) await wire.close();
      await engine.close();
    },
    onFatal: (handler) => fatal.listen(handler),
  };
}
