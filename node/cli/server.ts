/** `kvorum node` and `kvorum router`: from settings to a process that serves. @module */
import { Socket } from "node:net";
import { resolve as resolvePath } from "node:path";
import { realClock } from "#runtime";
import type { Setting } from "../config.ts";
import { UsageError, type Values } from "../config.ts";
import { serveUntilStopped } from "../lifecycle.ts";
import { stderrLogger } from "../logger.ts";
import type {
  BootstrapOptions,
  NodeOptions,
  RouterOptions,
  RunningServer,
  ServerOptions,
} from "../options.ts";
import type { Context, Run } from "./command.ts";
import * as set from "./settings.ts";

/** Number of the file that the dev cluster keeps open for its nodes; not for people. */
export const stopFdVariable = "KVORUM_STOP_FD";

const natsMaxPendingBytes = 64 * 2 ** 20;

/** `kvorum node` */
export const node: Run = (context) => {
  const options = nodeOptions(context.values);
  return serve(context, options, async () => (await import("../start.ts")).startNode(options));
};

/** `kvorum router` */
export const router: Run = (context) => {
  const options = routerOptions(context.values);
  return serve(context, options, async () => (await import("../start.ts")).startRouter(options));
};

/** @throws UsageError naming what is missing or does not go together */
export function nodeOptions(values: Values): NodeOptions {
  const made = bootstrapOptions(values);
  const name = required(values, set.name);
  return {
    ...serverOptions(values, { node: name }),
    name,
    dataDir: resolvePath(required(values, set.nodeData)),
    labels: values.get(set.labels, {}),
    ...(made === undefined ? {} : { bootstrap: made }),
  };
}

/** @throws UsageError naming what is missing or does not go together */
export function routerOptions(values: Values): RouterOptions {
  return serverOptions(values, { router: true });
}

function serverOptions(values: Values, logFields: object): ServerOptions {
  const http = required(values, set.http);
  const insecure = values.get(set.insecure, false);
  const tokenFile = values.get(set.tokenFile);
  if (!isLoopback(http.host) && tokenFile === undefined && !insecure) {
    throw new UsageError(
      `--http ${http.host}: off loopback anybody could read and write: give --token-file or --insecure`,
    );
  }
  return {
    cluster: required(values, set.cluster),
    natsUrls: required(values, set.nats),
    http,
    corsOrigins: values.get(set.corsOrigin, []),
    hosts: values.get(set.host, []),
    ...(tokenFile === undefined ? {} : { tokenFile: resolvePath(tokenFile) }),
    insecure,
    natsMaxPendingBytes: values.get(set.natsMaxPending, natsMaxPendingBytes),
    logger: stderrLogger({
      level: values.get(set.logLevel, "info"),
      pretty: values.get(set.logPretty, false),
      fields: logFields,
    }),
  };
}

function bootstrapOptions(values: Values): BootstrapOptions | undefined {
  if (values.get(set.bootstrap, false)) {
    return {
      shards: values.get(set.shards, 16),
      replicas: values.get(set.replicas, 3),
      partition: values.get(set.partition, "hash"),
    };
  }
  for (const setting of [set.shards, set.replicas, set.partition]) {
    // In a file or the environment it may be meant for another node; as a flag it would be ignored.
    if (values.source(setting) === "flag") throw new UsageError(`--${setting.flag} needs --bootstrap`);
  }
  return undefined;
}

function required<T>(values: Values, setting: Setting<T>): T {
  const value = values.get(setting);
  if (value === undefined) throw new UsageError(`--${setting.flag} is needed: ${setting.help}`);
  return value;
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

function serve(
  context: Context,
  options: ServerOptions,
  start: () => Promise<RunningServer>,
): Promise<number> {
  const { environment, io } = context;
  const { logger } = options;
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    process.on(event, (error: unknown) => {
      // The state of the turn that threw is unknown: stop, and let recovery start from the disk (R8).
      logger.error({ err: error }, event);
      io.err(`kvorum: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exit(1);
    });
  }
  const fd = Number(environment[stopFdVariable] ?? Number.NaN);
  const pipe = Number.isInteger(fd) ? new Socket({ fd, readable: true, writable: false }) : undefined;
  return serveUntilStopped({
    start,
    signals: process,
    ...(pipe === undefined ? {} : { stopPipe: pipe }),
    clock: realClock(),
    logger,
    exitNow: (code) => process.exit(code),
    complain: (line) => io.err(`${line}\n`),
  });
}
