/** What the death of a node costs. @module */
import { setTimeout as delay } from "node:timers/promises";
import { Caller } from "./load/caller.ts";
import type { HostPort } from "./load/requests.ts";
import { MixedLoad } from "./mixed-load.ts";
import { processTree } from "./proc.ts";
import { Admin, type Kvorum, type NodeRow, type ShardRow } from "./servers/kvorum.ts";
import { median } from "./statistics.ts";

export interface FailoverOptions {
  readonly kills: number;
  readonly shards: number;
  readonly say: (line: string) => void;
}

export interface Kill {
  /** Shards that the dead node led. */
  readonly led: number;
  /**
   * How long a write had to wait, of all shards the longest. One to each shard that the dead node led is sent
   * in the moment of the kill, one to each other shard soon after.
   */
  readonly gapMs: number;
  /** The same for the median of the shards that the dead node led. */
  readonly medianShardMs: number;
  /** From the kill until the node was back and every shard had all its replicas again, under load. */
  readonly wholeMs: number;
}

export interface FailoverResult {
  readonly kills: readonly Kill[];
  readonly acknowledged: number;
  readonly failed: number;
  readonly lost: number;
  readonly readsBehind: number;
}

/** With the rest at most 800 requests a second: load, not overload. */
const clients = 16;
const restMs = 20;
/** Longer than a request's own time limit in Kvorum. */
const timeoutMs = 6000;
/** Before the first kill, and after each: leaders spread out again. */
const calmMs = 3000;
const wholeLimitMs = 180_000;
const gapLimitMs = 60_000;
const probeRetryMs = 10;
/** The other shards are written to over so long a time: a thousand writes at once would be a load of their own. */
const othersSpreadMs = 250;

/** `kill -9` of the node that leads most shards, under mixed load; it comes back; again. */
export async function measureFailover(kvorum: Kvorum, options: FailoverOptions): Promise<FailoverResult> {
  const { kills, shards, say } = options;
  const admin = new Admin(kvorum);
  say("looking for a key of every shard");
  const probes = await findProbeKeys(admin, shards);
  const load = new MixedLoad({ hosts: kvorum.hosts, clients, restMs, timeoutMs, prefix: "load" });
  load.start();
  const results: Kill[] = [];
  try {
    await untilWhole(kvorum, admin, shards);
    for (let number = 1; number <= kills; number++) {
      await delay(calmMs);
      const kill = await killOnce(kvorum, admin, probes);
      results.push(kill);
      say(`kill ${number}/${kills}: ${describe(kill)}`);
    }
  } finally {
    await load.stop();
  }
  const result = { kills: results, ...load.count(), lost: await load.lost() };
  const { acknowledged, failed, lost, readsBehind } = result;
  say(`${acknowledged} writes acknowledged, ${lost} lost, ${readsBehind} reads behind, ${failed} failed`);
  return result;
}

async function killOnce(kvorum: Kvorum, admin: Admin, probes: ReadonlyMap<number, string>): Promise<Kill> {
  const shards = await admin.shards();
  const nodes = await admin.nodes();
  const victim = leadsMost(nodes, shards);
  // Process ids come from an answer; what is killed must be ours.
  if (!processTree(kvorum.supervisor).some(({ pid }) => pid === victim.pid)) {
    throw new Error(`process ${victim.pid} of ${victim.name} is none of the cluster's`);
  }
  const survivors = kvorum.hosts.filter((_, at) => nodes[at]?.name !== victim.name);
  const led = new Set(shards.filter(({ leader }) => leader === victim.name).map(({ id }) => id));
  const callers = await openCallers(survivors, probes, led);
  const startedMs = performance.now();
  process.kill(victim.pid, "SIGKILL");
  const gaps = await Promise.all(
    callers.map(async ({ shard, caller, key }, at) => {
      if (!led.has(shard)) await delay(((at - led.size + 1) / callers.length) * othersSpreadMs);
      return { shard, ms: await gapOf(caller, key) };
    }),
  );
  for (const { caller } of callers) caller.close();
  await untilWhole(kvorum, admin, probes.size);
  const wholeMs = performance.now() - startedMs;
  const ofLed = gaps.filter(({ shard }) => led.has(shard)).map(({ ms }) => ms);
  return {
    led: led.size,
    gapMs: Math.max(...gaps.map(({ ms }) => ms)),
    medianShardMs: median(ofLed),
    wholeMs,
  };
}

function describe({ led, gapMs, medianShardMs, wholeMs }: Kill): string {
  const [gap, middle, whole] = [gapMs, medianShardMs, wholeMs].map(Math.round);
  return `led ${led}, gap ${gap} ms, of the median shard ${middle} ms, whole again after ${whole} ms`;
}

/** @throws Error when there is no node */
export function leadsMost(nodes: readonly NodeRow[], shards: readonly ShardRow[]): NodeRow {
  const count = (node: NodeRow): number => shards.filter(({ leader }) => leader === node.name).length;
  const [most] = nodes.toSorted((a, b) => count(b) - count(a));
  if (most === undefined) throw new Error("the cluster lists no nodes");
  return most;
}

interface Probe {
  readonly shard: number;
  readonly key: string;
  readonly caller: Caller;
}

/** Connected before the kill, so that connecting is no part of the gap; those that wait for a leader go first. */
async function openCallers(
  survivors: readonly HostPort[],
  probes: ReadonlyMap<number, string>,
  led: ReadonlySet<number>,
): Promise<readonly Probe[]> {
  const list = [...probes]
    .toSorted(([a], [b]) => Number(led.has(b)) - Number(led.has(a)))
    .map(([shard, key], at) => ({ shard, key, caller: new Caller(survivors, at, timeoutMs) }));
  await Promise.all(list.map(({ caller }) => caller.open()));
  return list;
}

/** As a client would: again until it works. */
async function gapOf(caller: Caller, key: string): Promise<number> {
  const startedMs = performance.now();
  for (;;) {
    const reply = await caller.call("PUT", `/v1/kv/${key}`, "probe");
    const ms = performance.now() - startedMs;
    if (reply.kind === "answer" && reply.status === 200) return ms;
    if (ms > gapLimitMs) throw new Error(`no write of ${key} in ${gapLimitMs} ms after the kill`);
    await delay(probeRetryMs);
  }
}

/** @returns shard to a key of it, for all of `count` shards */
async function findProbeKeys(admin: Admin, count: number): Promise<ReadonlyMap<number, string>> {
  const found = new Map<number, string>();
  // About count × ln(count) keys are needed on average; hardly ever so many.
  const keysMax = Math.ceil(count * (Math.log(count) + 20));
  let next = 0;
  const searchers = Array.from({ length: 16 }, async () => {
    while (found.size < count && next < keysMax) {
      const key = `probe/${next++}`;
      found.set(await admin.shardOf(key), key);
    }
  });
  await Promise.all(searchers);
  if (found.size < count) throw new Error(`found keys of ${found.size} of ${count} shards`);
  return found;
}

async function untilWhole(kvorum: Kvorum, admin: Admin, shards: number): Promise<void> {
  const giveUpMs = performance.now() + wholeLimitMs;
  while (!(await isWhole(admin, shards))) {
    kvorum.demandAlive();
    if (performance.now() > giveUpMs) throw new Error(`the cluster was not whole in ${wholeLimitMs} ms`);
    await delay(250);
  }
}

async function isWhole(admin: Admin, count: number): Promise<boolean> {
  const nodes = await admin.nodes();
  if (nodes.length < 3 || nodes.some(({ liveness }) => liveness !== "up")) return false;
  const shards = await admin.shards();
  const healthy = shards.filter(({ health, leader }) => health === "healthy" && leader != null);
  return shards.length >= count && healthy.length === shards.length;
}
