/** The HTTP listener of a node or a stateless router, made from what it fronts. @module */
import { readFile } from "node:fs/promises";
import { placementGroup } from "#proto";
import {
  counterSamples,
  HttpServer,
  type HttpServerOptions,
  parseTokenFile,
  type Sample,
  type TokenRule,
} from "#router/http";
import { cryptoRandom } from "#runtime";
import type { AssembledNode, AssembledRouter } from "../assemble.ts";
import { packageVersion } from "../cli/version.ts";
import type { ServerOptions } from "../options.ts";

export type Behind =
  | { readonly kind: "node"; readonly name: string; readonly node: AssembledNode }
  | { readonly kind: "router"; readonly name: string; readonly router: AssembledRouter };

export interface Front {
  readonly url: string;
  /** From now on requests are refused as shutting down; those under way go on, for a moment. */
  close(): Promise<void>;
}

/** @throws Error when the token file cannot be read, or the address cannot be listened on */
export async function serveHttp(options: ServerOptions, behind: Behind): Promise<Front> {
  const { http, logger, corsOrigins, hosts, tokenFile } = options;
  const front = behind.kind === "node" ? behind.node : behind.router;
  const tokens = tokenFile === undefined ? undefined : await readTokens(tokenFile);
  const settings: HttpServerOptions = {
    name: behind.name,
    version: packageVersion(),
    router: front.router,
    cache: front.routes,
    logger,
    random: cryptoRandom(),
    limits: () => {
      const { max_value_bytes: maxValueBytes, max_inflight_bytes: maxInflightBytes } = front.settings;
      return { maxValueBytes, maxInflightBytes };
    },
    readiness: () => {
      const reasons = front.waitsFor();
      return { ready: reasons.length === 0, reasons };
    },
    collect: () => (behind.kind === "node" ? nodeSamples(behind.node) : routerSamples(behind.router)),
    corsOrigins,
    hosts,
    ...(tokens === undefined ? {} : { tokens }),
  };
  const server = new HttpServer(settings);
  const { port } = await server.listen(http.host, http.port);
  const host = http.host.includes(":") ? `[${http.host}]` : http.host;
  return { url: `http://${host}:${port}`, close: () => server.close() };
}

async function readTokens(path: string): Promise<TokenRule[]> {
  const rules = parseTokenFile(await readFile(path, "utf8"));
  if (typeof rules === "string") throw new Error(`the token file ${path}: ${rules}`);
  return rules;
}

function gauge(name: string, help: string, value: number): Sample {
  return { name, help, type: "gauge", value };
}

function routerSamples({ mesh, rpc }: AssembledRouter): Sample[] {
  return [...counterSamples("transport", mesh.stats), ...counterSamples("rpc", rpc.stats)];
}

function nodeSamples(node: AssembledNode): Sample[] {
  const { host, engine, mesh, rpc } = node;
  const { freeBytes } = engine.diskSpace();
  return [
    ...counterSamples("transport", mesh.stats),
    ...counterSamples("rpc", rpc.stats),
    ...counterSamples("raft", host.stats),
    {
      name: "kvorum_storage_syncs_total",
      help: "Synced writes since the start",
      type: "counter",
      value: engine.syncs,
    },
    gauge("kvorum_storage_sync_p99_seconds", "99th percentile of the last syncs", engine.syncP99Ms / 1000),
    gauge("kvorum_storage_free_bytes", "Free bytes of the data directory's disk", freeBytes),
    gauge("kvorum_raft_groups", "Raft groups on this node", host.size.groups),
    gauge("kvorum_raft_groups_awake", "Raft groups that do not sleep", host.size.awake),
    gauge("kvorum_shards_led", "Shards this node leads", node.shards.ledShards().length),
    gauge("kvorum_placement_leader", "1 while this node leads placement", node.placement.leads ? 1 : 0),
    gauge("kvorum_placement_member", "1 where a replica of placement is", memberOf(node)),
  ];
}

function memberOf(node: AssembledNode): number {
  return node.host.view(placementGroup) === undefined ? 0 : 1;
}
