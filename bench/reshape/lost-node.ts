/** A node that dies and never comes back. @module */
import { setTimeout as delay } from "node:timers/promises";
import { leadsMost } from "../failover.ts";
import { type MixedCount, MixedLoad } from "../mixed-load.ts";
import { Admin } from "../servers/kvorum.ts";
import type { Nodes } from "../servers/nodes.ts";
import { Operator } from "./operator.ts";
import { loadClients, loadRestMs } from "./work.ts";

export interface LostNodeResult extends MixedCount {
  readonly downAfterMs: number;
  /** Replicas that it had. */
  readonly replicas: number;
  /** What it had, by the leaders' estimates. */
  readonly bytes: number;
  /** What a dry run of its decommissioning said before. */
  readonly plannedMs: number;
  /** From the kill until every shard had three voters on live nodes again. */
  readonly wholeMs: number;
  readonly lost: number;
}

const downAfterMs = 3000;
const timeoutMs = 10_000;

/** Kills the node that leads most shards. */
export async function measureLostNode(nodes: Nodes, say: (line: string) => void): Promise<LostNodeResult> {
  const operator = new Operator(new Admin(nodes));
  await operator.configure({ down_after_ms: downAfterMs, rebalance_enabled: true });
  const shards = await operator.shards();
  await operator.untilWhole(shards.length);
  const victim = leadsMost(await operator.nodes(), shards).name;
  const held = shards.filter(({ replicas }) => replicas.some(({ node }) => node === victim));
  const plan = await operator.dryRun(`nodes/${victim}/decommission`);
  if (plan.blockers.length > 0) throw new Error(plan.blockers.map(({ reason }) => reason).join("; "));
  const load = new MixedLoad({
    hosts: nodes.hosts,
    clients: loadClients,
    restMs: loadRestMs,
    timeoutMs,
    prefix: "lost",
  });
  load.start();
  let wholeMs = Number.NaN;
  try {
    await delay(downAfterMs);
    const startedMs = performance.now();
    await nodes.kill(victim);
    await operator.until("no shard has a replica on the dead node", async () =>
      (await operator.shards()).every(({ replicas }) => replicas.every(({ node }) => node !== victim)),
    );
    await operator.untilWhole(shards.length);
    wholeMs = performance.now() - startedMs;
  } finally {
    await load.stop();
  }
  const bytes = held.reduce((sum, shard) => sum + (shard.bytes ?? 0), 0);
  const result = {
    downAfterMs,
    replicas: held.length,
    bytes,
    plannedMs: plan.eta_ms,
    wholeMs,
    ...load.count(),
    lost: await load.lost(),
  };
  say(
    `${victim} killed with ${held.length} replicas: whole after ${Math.round(wholeMs)} ms, ${result.lost} writes lost, ${result.failed} requests failed`,
  );
  return result;
}
