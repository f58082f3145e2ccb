/** What each kind of work on a cluster costs its users. @module */
import { setTimeout as delay } from "node:timers/promises";
import { type MixedCount, MixedLoad } from "../mixed-load.ts";
import { Admin, type Asked } from "../servers/kvorum.ts";
import { Operator } from "./operator.ts";
import { type Phase, Phases } from "./phases.ts";

export interface WorkOptions {
  readonly shards: number;
  /** Each work is measured against this long without any, right before it. */
  readonly quietMs: number;
  readonly say: (line: string) => void;
}

export interface WorkRow {
  readonly name: string;
  readonly before: Phase;
  readonly during: Phase;
}

export interface WorkResult extends MixedCount {
  readonly rows: readonly WorkRow[];
  readonly lost: number;
}

export const loadClients = 32;
export const loadRestMs = 20;
const timeoutMs = 10_000;
/** What a work leaves behind must not count as quiet. */
const settleMs = 1500;

/** On four nodes; ends with all of them as they were. */
export async function measureWork(cluster: Asked, options: WorkOptions): Promise<WorkResult> {
  const { say, quietMs } = options;
  const operator = new Operator(new Admin(cluster));
  const phases = new Phases();
  const load = new MixedLoad({
    hosts: cluster.hosts,
    clients: loadClients,
    restMs: loadRestMs,
    timeoutMs,
    prefix: "work",
    onFailure: say,
    onRequest: (kind, us, fine) => phases.record(kind, us, fine),
  });
  // Nothing moves but what is measured.
  await operator.configure({ rebalance_enabled: false });
  load.start();
  const rows: WorkRow[] = [];
  try {
    await delay(quietMs);
    for (const { name, run } of works(operator)) {
      await delay(settleMs);
      phases.cut();
      await delay(quietMs);
      const before = phases.cut();
      await run();
      const row = { name, before, during: phases.cut() };
      say(describe(row));
      rows.push(row);
    }
  } finally {
    await load.stop();
  }
  await operator.configure({ rebalance_enabled: true });
  const result = { rows, ...load.count(), lost: await load.lost() };
  say(`${result.acknowledged} writes acknowledged, ${result.lost} lost, ${result.failed} failed`);
  return result;
}

interface Work {
  readonly name: string;
  readonly run: () => Promise<void>;
}

function works(operator: Operator): readonly Work[] {
  return [
    { name: "split 8 shards in two", run: () => splitAll(operator, 8) },
    { name: "transfer 16 leaders", run: () => transferAll(operator, 16) },
    { name: "move 8 replicas", run: () => moveAll(operator, 8) },
    { name: "scatter 8 shards", run: () => scatterAll(operator, 8) },
    { name: "rebalance", run: () => operator.work("rebalance") },
    { name: "drain a node", run: () => operator.work("nodes/n2/drain", { for: "10m" }) },
    { name: "undrain it, rebalance", run: () => undrain(operator) },
    { name: "decommission a node", run: () => operator.work("nodes/n4/decommission") },
    { name: "recommission it, rebalance", run: () => recommission(operator) },
  ];
}

/** One after the other, so that each is seen; of the shards there are now, in turn. */
async function splitAll(operator: Operator, count: number): Promise<void> {
  const shards = await operator.shards();
  for (const { id } of shards.slice(0, count)) await operator.work(`shards/${id}/split`);
}

async function transferAll(operator: Operator, count: number): Promise<void> {
  for (const { id, leader, replicas } of (await operator.shards()).slice(0, count)) {
    const to = replicas.find(({ node }) => node !== leader)?.node;
    await operator.work(`shards/${id}/transfer-leader`, { to });
  }
}

/** The leader's own replica each time: that is the most there is to do. */
async function moveAll(operator: Operator, count: number): Promise<void> {
  const names = (await operator.nodes()).map(({ name }) => name);
  for (const { id, leader, replicas } of (await operator.shards()).slice(0, count)) {
    const to = names.find((name) => !replicas.some(({ node }) => node === name));
    await operator.work(`shards/${id}/move`, { from: leader, to });
  }
}

async function scatterAll(operator: Operator, count: number): Promise<void> {
  for (const { id } of (await operator.shards()).slice(0, count)) await operator.work(`shards/${id}/scatter`);
}

async function undrain(operator: Operator): Promise<void> {
  await operator.work("nodes/n2/undrain");
  await operator.work("rebalance");
}

async function recommission(operator: Operator): Promise<void> {
  await operator.work("nodes/n4/recommission");
  await operator.work("rebalance");
}

function describe({ name, before, during }: WorkRow): string {
  const p99 = (phase: Phase, kind: "reads" | "writes"): string =>
    (phase[kind].quantileUs(0.99) / 1000).toFixed(1);
  return `${name}: ${during.seconds.toFixed(1)} s, p99 of reads ${p99(before, "reads")} → ${p99(during, "reads")} ms, of writes ${p99(before, "writes")} → ${p99(during, "writes")} ms, ${during.failed} failed`;
}
