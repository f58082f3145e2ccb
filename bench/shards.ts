/** What many shards cost: time to ready, memory, idle CPU, failover. @module */
import { setTimeout as delay } from "node:timers/promises";
import { type FailoverResult, measureFailover } from "./failover.ts";
import { cpuUs, processTree, residentBytes } from "./proc.ts";
import { Admin, type Kvorum } from "./servers/kvorum.ts";

export interface ShardsOptions {
  readonly shards: number;
  readonly kills: number;
  readonly idleMs: number;
  readonly say: (line: string) => void;
}

export interface ShardsResult {
  readonly shards: number;
  readonly readyMs: number;
  /** Of the largest node. */
  readonly nodeResidentBytes: number;
  readonly natsResidentBytes: number;
  /** Mean over the nodes, in percent of one core. */
  readonly nodeIdlePercent: number;
  readonly natsIdlePercent: number;
  readonly failover: FailoverResult;
}

/** Before idle is measured: groups fall asleep, caches and code settle. */
const settleMs = 10_000;

export async function measureShards(kvorum: Kvorum, options: ShardsOptions): Promise<ShardsResult> {
  const { shards, kills, idleMs, say } = options;
  say(`ready after ${Math.round(kvorum.readyMs)} ms; idle for ${(settleMs + idleMs) / 1000} s`);
  await delay(settleMs);
  const idle = await measureIdle(kvorum, idleMs);
  say(
    `a node: ${Math.round(idle.nodeResidentBytes / 2 ** 20)} MiB, ${idle.nodeIdlePercent.toFixed(1)} % of a core; ` +
      `nats-server: ${Math.round(idle.natsResidentBytes / 2 ** 20)} MiB, ${idle.natsIdlePercent.toFixed(1)} %`,
  );
  const failover = await measureFailover(kvorum, { kills, shards, say });
  return { shards, readyMs: kvorum.readyMs, ...idle, failover };
}

type Idle = Pick<
  ShardsResult,
  "nodeResidentBytes" | "natsResidentBytes" | "nodeIdlePercent" | "natsIdlePercent"
>;

async function measureIdle(kvorum: Kvorum, idleMs: number): Promise<Idle> {
  const tree = processTree(kvorum.supervisor);
  const nats = tree.filter(({ name }) => name === "nats-server").map(({ pid }) => pid);
  const nodes = (await new Admin(kvorum).nodes()).map(({ pid }) => pid);
  const percent = async (pids: readonly number[]): Promise<number> => {
    const before = cpuUs(pids);
    const startedMs = performance.now();
    await delay(idleMs);
    return (cpuUs(pids) - before) / (performance.now() - startedMs) / 10;
  };
  const [nodesPercent, natsIdlePercent] = await Promise.all([percent(nodes), percent(nats)]);
  return {
    nodeResidentBytes: Math.max(...nodes.map(residentBytes)),
    natsResidentBytes: Math.max(...nats.map(residentBytes)),
    nodeIdlePercent: nodesPercent / nodes.length,
    natsIdlePercent,
  };
}
