import { setTimeout as delay } from "node:timers/promises";
import { type ConnectionOptions, connect, type NatsConnection } from "@nats-io/transport-node";
import type { Logger } from "#runtime";
import type { Wire, WireHandler } from "./wire.ts";

export interface NatsOptions {
  /** `nats://host:port` or `tls://…`; several are servers of one NATS cluster. */
  readonly servers: readonly string[];
  /** Shown in the server's monitoring. */
  readonly name: string;
  readonly logger: Logger;
  /** How long the first connect is tried; default: until `signal` ends it. */
  readonly timeoutMs?: number;
  /** Gives up the first connect. */
  readonly signal?: AbortSignal;
  /** Credentials and TLS, as the NATS client takes them. */
  readonly auth?: Pick<ConnectionOptions, "authenticator" | "user" | "pass" | "token" | "tls">;
}

const dialTimeoutMs = 2_000;
const retryEveryMs = 100;
const closeFlushMs = 500;
/** Less would cut every packet into crumbs. */
const maxPayloadBytesMin = 16 * 1024;

/**
 * Connects to NATS, once per call; every wire is a connection of its own. The first connect is retried until it succeeds or is given up; after that the client
 * reconnects by itself for ever.
 * @throws Error, with the last failure as its cause, when given up
 */
export async function connectNats(options: NatsOptions): Promise<Wire> {
  const { servers, logger, signal } = options;
  const giveUpMs = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
  for (let tries = 1; ; tries++) {
    try {
      signal?.throwIfAborted();
      return wireOf(await connect(connectionOptions(options)), logger);
    } catch (error) {
      const over = signal?.aborted === true || performance.now() + retryEveryMs >= giveUpMs;
      if (over) throw new Error(`no connection to NATS at ${servers.join(", ")}`, { cause: error });
      if (tries === 1) logger.warn({ err: error, servers }, "NATS does not answer yet");
    }
    await delay(retryEveryMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  }
}

async function wireOf(connection: NatsConnection, logger: Logger): Promise<Wire> {
  const maxPayloadBytes = connection.info?.max_payload ?? 0;
  if (maxPayloadBytes >= maxPayloadBytesMin) return new NatsWire(connection, logger, maxPayloadBytes);
  await connection.close();
  throw new Error(`the NATS server's max_payload is ${maxPayloadBytes}, below ${maxPayloadBytesMin}`);
}

/**
 * Quick to notice and to come back: the client's defaults take seconds to minutes. Authorization errors do
 * not end the reconnecting, or a server that starts with an old configuration would silence a node for good.
 */
function connectionOptions(options: NatsOptions): ConnectionOptions {
  return {
    servers: [...options.servers],
    name: options.name,
    timeout: dialTimeoutMs,
    reconnectTimeWait: 50,
    reconnectJitter: 20,
    reconnectJitterTLS: 50,
    maxReconnectAttempts: -1,
    ignoreAuthErrorAbort: true,
    pingInterval: 1_000,
    maxPingOut: 2,
    ...options.auth,
  };
}

/** One NATS connection as a `Wire`. */
class NatsWire implements Wire {
  #connected = true;
  #epoch = 1;
  #maxPayloadBytes: number;
  readonly #connection: NatsConnection;
  readonly #logger: Logger;
  readonly #statusHandlers = new Set<(connected: boolean) => void>();

  constructor(connection: NatsConnection, logger: Logger, maxPayloadBytes: number) {
    this.#connection = connection;
    this.#logger = logger;
    this.#maxPayloadBytes = maxPayloadBytes;
    void this.#followStatus();
    void connection.closed().then((error) => {
      this.#setConnected(false);
      if (error instanceof Error) logger.error({ err: error }, "the NATS connection ended for good");
    });
  }

  get connected(): boolean {
    return this.#connected;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get maxPayloadBytes(): number {
    return this.#maxPayloadBytes;
  }

  publish(subject: string, data: Uint8Array, reply?: string): boolean {
    if (!this.#connected) return false;
    try {
      if (reply === undefined) this.#connection.publish(subject, data);
      else this.#connection.publish(subject, data, { reply });
      return true;
    } catch (error) {
      this.#logger.error({ err: error, subject, bytes: data.length }, "NATS refused a publish");
      return false;
    }
  }

  subscribe(subject: string, handler: WireHandler): () => void {
    const subscription = this.#connection.subscribe(subject, {
      callback: (error, message) => {
        // An exception that left here would stop the client's reader, in silence, until its ping timer.
        try {
          if (error !== null) this.#logger.warn({ err: error, subject }, "a NATS subscription failed");
          else handler(message.subject, message.data, message.headers?.code === 503);
        } catch (thrown) {
          this.#logger.error({ err: thrown, subject }, "a wire handler threw");
        }
      },
    });
    return () => subscription.unsubscribe();
  }

  onStatus(handler: (connected: boolean) => void): () => void {
    this.#statusHandlers.add(handler);
    return () => {
      this.#statusHandlers.delete(handler);
    };
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    if (connection.isClosed()) return;
    if (this.#connected) {
      const stop = new AbortController();
      const flushed = connection.flush().catch(() => undefined);
      // A server that does not answer must not hold up a stop.
      const late = delay(closeFlushMs, undefined, { signal: stop.signal }).catch(() => undefined);
      await Promise.race([flushed, late]);
      stop.abort();
    }
    this.#statusHandlers.clear();
    this.#connected = false;
    await connection.close();
  }

  async #followStatus(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === "disconnect") this.#setConnected(false);
      else if (status.type === "reconnect") this.#setConnected(true);
      else if (status.type === "error") this.#logger.warn({ err: status.error }, "NATS reported an error");
    }
  }

  #setConnected(connected: boolean): void {
    if (connected === this.#connected || (connected && this.#connection.isClosed())) return;
    this.#connected = connected;
    if (connected) {
      this.#epoch++;
      this.#maxPayloadBytes = this.#connection.info?.max_payload ?? this.#maxPayloadBytes;
    }
    for (const handler of [...this.#statusHandlers]) {
      try {
        handler(connected);
      } catch (error) {
        this.#logger.error({ err: error }, "a wire status handler threw");
      }
    }
  }
}
