import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Random } from "#runtime";
import { processTree } from "../proc.ts";
import { Child } from "./child.ts";
import { freePorts } from "./ports.ts";
import { type Keep, type Served, urlOf } from "./served.ts";

const readyLimitMs = 300_000;
const nodeCount = 3;
/** Of an admin request. */
const triesMax = 10;

export interface KvorumOptions {
  /** The repository, built. */
  readonly root: string;
  /** Where its data goes, logs too. */
  readonly directory: string;
  readonly version: string;
  readonly shards: number;
  /** Whether a dead node is started again. */
  readonly restart: boolean;
}

export interface Kvorum extends Served {
  /** From the start of the command until every shard had a leader and all its replicas. */
  readonly readyMs: number;
  /** Process id of the supervisor; the others descend from it. */
  readonly supervisor: number;
}

/** The development cluster as users start it: three nodes, one nats-server, one supervisor. */
export async function startKvorum(options: KvorumOptions, random: Random, keep: Keep): Promise<Kvorum> {
  const { root, directory, version, shards, restart } = options;
  const port = await freePorts(nodeCount + 1, random);
  const startedMs = performance.now();
  const flags = {
    "--nodes": nodeCount,
    "--shards": shards,
    "--http-port": port,
    "--nats-port": port + nodeCount,
    "--data": directory,
  };
  const command = [
    process.execPath,
    join(root, "dist/node/main.js"),
    "dev",
    ...Object.entries(flags).flat().map(String),
    restart ? "--restart" : "--no-restart",
  ];
  // A KVORUM_ variable would make it another cluster than the one that is reported.
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("KVORUM_"));
  const child = new Child({ name: "kvorum", command, environment: Object.fromEntries(own) });
  keep(child);
  try {
    await child.printed(/^ready\b/m, readyLimitMs);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n(logs: ${join(directory, "logs")})`);
  }
  const supervisor = child.pid;
  return {
    system: "kvorum",
    version,
    hosts: Array.from({ length: nodeCount }, (_, at) => ({ host: "127.0.0.1", port: port + at })),
    readyMs: performance.now() - startedMs,
    supervisor,
    demandAlive: () => child.demandAlive(),
    lastWords: () => child.lastWords,
    pids: () => serverPids(supervisor),
  };
}

/** @throws Error when the processes are not those that a figure for the whole cluster needs */
function serverPids(supervisor: number): readonly number[] {
  const tree = processTree(supervisor);
  const natsServers = tree.filter(({ name }) => name === "nats-server").length;
  if (natsServers !== 1 || tree.length < nodeCount + 2) {
    throw new Error(`expected ${nodeCount} nodes and a nats-server, found ${tree.map(({ name }) => name)}`);
  }
  return tree.map(({ pid }) => pid);
}

export interface NodeRow {
  readonly name: string;
  readonly pid: number;
  readonly liveness: string;
  readonly leaders: number;
}

/** An answer of the admin API. */
export interface Told {
  readonly status: number;
  readonly body: string;
}

export interface ShardRow {
  readonly id: number;
  readonly leader?: string | null;
  readonly health: string;
}

/** The cluster that is asked, whose hosts may come and go. */
export type Asked = Pick<Kvorum, "hosts" | "demandAlive">;

/** Kvorum's admin API, asked through whichever node answers. */
export class Admin {
  readonly #kvorum: Asked;
  #next = 0;

  constructor(kvorum: Asked) {
    this.#kvorum = kvorum;
  }

  nodes<Row extends NodeRow = NodeRow>(): Promise<readonly Row[]> {
    return this.#list<Row>("/v1/admin/nodes");
  }

  shards<Row extends ShardRow = ShardRow>(): Promise<readonly Row[]> {
    return this.#list<Row>("/v1/admin/shards");
  }

  /** @throws Error when no node answers with success */
  async get<T>(path: string): Promise<T> {
    return (await this.#get(path)) as T;
  }

  /** Asks one node after the other until one answers; carried out once however often it is sent. */
  async send(method: "POST" | "PATCH", path: string, body?: unknown): Promise<Told> {
    const key = { "Idempotency-Key": randomUUID() };
    const json = { headers: { ...key, "Content-Type": "application/json" }, body: JSON.stringify(body) };
    for (let attempt = 1; ; attempt++) {
      const { hosts } = this.#kvorum;
      const host = hosts[this.#next++ % hosts.length];
      if (host === undefined) throw new Error("the cluster has no hosts");
      const init = { method, signal: AbortSignal.timeout(10_000) };
      try {
        const sent = body === undefined ? { ...init, headers: key } : { ...init, ...json };
        const answer = await fetch(`${urlOf(host)}${path}`, sent);
        const told = { status: answer.status, body: await answer.text() };
        if (answer.status < 500 || attempt === triesMax) return told;
      } catch (error) {
        this.#kvorum.demandAlive();
        if (attempt === triesMax) throw error;
      }
    }
  }

  /** The shard that a key belongs to, from the header of a read, which is far cheaper than asking placement. */
  async shardOf(key: string): Promise<number> {
    const { hosts } = this.#kvorum;
    const host = hosts[this.#next++ % hosts.length];
    if (host === undefined) throw new Error("the cluster has no hosts");
    const answer = await fetch(`${urlOf(host)}/v1/kv/${key}?consistency=stale`, { method: "HEAD" });
    const shard = Number(answer.headers.get("Kvorum-Shard") ?? Number.NaN);
    if (Number.isNaN(shard)) throw new Error(`no Kvorum-Shard in the answer for ${key} (${answer.status})`);
    return shard;
  }

  async #list<T>(path: string): Promise<readonly T[]> {
    const items: T[] = [];
    let cursor: string | null = null;
    do {
      const query: string = cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
      const page = (await this.#get(`${path}${query}`)) as { items: T[]; cursor: string | null };
      items.push(...page.items);
      cursor = page.cursor;
    } while (cursor !== null);
    return items;
  }

  /** @throws Error when no node answers with success */
  async #get(path: string): Promise<unknown> {
    let last = "";
    for (const host of this.#kvorum.hosts) {
      try {
        const answer = await fetch(`${urlOf(host)}${path}`, { signal: AbortSignal.timeout(5000) });
        const text = await answer.text();
        if (answer.ok) return JSON.parse(text);
        last = `${answer.status} ${text}`;
      } catch (error) {
        last = error instanceof Error ? error.message : String(error);
      }
    }
    this.#kvorum.demandAlive();
    throw new Error(`GET ${path}: ${last}`);
  }
}
