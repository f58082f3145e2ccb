/** From three nodes to five and back, with data. @module */
import { type MixedCount, MixedLoad } from "../mixed-load.ts";
import { Admin } from "../servers/kvorum.ts";
import type { Nodes } from "../servers/nodes.ts";
import { type FullShardRow, Operator } from "./operator.ts";
import { Traffic } from "./traffic.ts";

export interface GrowthOptions {
  readonly shards: number;
  /** What each shard holds, as the writer counted. */
  readonly bytesOf: ReadonlyMap<number, number>;
  readonly limitBytesPerS: number;
  readonly say: (line: string) => void;
}

/** One change of the number of nodes. */
export interface Step {
  readonly from: number;
  readonly to: number;
  readonly seconds: number;
  /** What the plan said before. */
  readonly plannedSeconds: number;
  readonly moves: number;
  readonly movedBytes: number;
  /** What must move at least for a perfect balance. */
  readonly leastBytes: number;
  /** The most that a node sent in a second. */
  readonly peakBytesPerS: number;
  /** (most − least) / mean over the nodes that stay. */
  readonly bytesSpread: number;
  readonly replicasSpread: number;
  readonly leadersSpread: number;
}

export interface GrowthResult extends MixedCount {
  readonly steps: readonly Step[];
  readonly lost: number;
}

/** Little: what is measured is the moving. */
const clients = 8;
const restMs = 50;
const timeoutMs = 10_000;

/** Begins with three nodes that hold the data, ends with three. */
export async function measureGrowth(nodes: Nodes, options: GrowthOptions): Promise<GrowthResult> {
  const { say, limitBytesPerS, shards } = options;
  const operator = new Operator(new Admin(nodes));
  await operator.configure({ rebalance_enabled: false, move_bytes_per_s: limitBytesPerS });
  await operator.untilWhole(shards);
  const load = new MixedLoad({
    hosts: nodes.hosts,
    clients,
    restMs,
    timeoutMs,
    prefix: "growth",
    onFailure: say,
  });
  load.start();
  const steps: Step[] = [];
  try {
    const three = nodes.names;
    const five = [...three, await nodes.add(), await nodes.add()];
    steps.push(await grow(nodes, operator, five, options));
    say(describe(steps.at(-1)));
    steps.push(await shrink(nodes, operator, three, options));
    say(describe(steps.at(-1)));
  } finally {
    await load.stop();
  }
  const result = { steps, ...load.count(), lost: await load.lost() };
  say(`${result.acknowledged} writes acknowledged, ${result.lost} lost, ${result.failed} requests failed`);
  return result;
}

async function grow(
  nodes: Nodes,
  operator: Operator,
  names: readonly string[],
  options: GrowthOptions,
): Promise<Step> {
  await operator.until("the new nodes are up", async () => {
    const up = (await operator.nodes()).filter(({ liveness }) => liveness === "up");
    return up.length === names.length;
  });
  const plan = await operator.dryRun("rebalance");
  return await step(nodes, operator, names, plan.eta_ms, options, async () => {
    const id = await operator.begin("rebalance", { plan: plan.plan });
    await operator.configure({ rebalance_enabled: true });
    await operator.end(id);
  });
}

async function shrink(
  nodes: Nodes,
  operator: Operator,
  names: readonly string[],
  options: GrowthOptions,
): Promise<Step> {
  const leaving = nodes.names.filter((name) => !names.includes(name));
  const plans = await Promise.all(leaving.map((name) => operator.dryRun(`nodes/${name}/decommission`)));
  const plannedMs = Math.max(...plans.map(({ eta_ms }) => eta_ms));
  return await step(nodes, operator, names, plannedMs, options, async () => {
    // Both at once: neither must be where the other's replicas go.
    const ids = [];
    for (const name of leaving) ids.push(await operator.begin(`nodes/${name}/decommission`));
    await operator.configure({ rebalance_enabled: true });
    for (const id of ids) await operator.end(id);
  });
}

/** @param names - the nodes that hold everything in the end */
async function step(
  nodes: Nodes,
  operator: Operator,
  names: readonly string[],
  plannedMs: number,
  { shards, bytesOf }: GrowthOptions,
  run: () => Promise<void>,
): Promise<Step> {
  const before = await operator.shards();
  const traffic = new Traffic(() => nodes.hosts);
  await traffic.start();
  const startedMs = performance.now();
  await run();
  await operator.untilWhole(shards);
  const calmMs = await operator.untilCalm();
  const seconds = (performance.now() - startedMs - calmMs) / 1000;
  await traffic.stop();
  await operator.configure({ rebalance_enabled: false });
  const after = await operator.shards();
  return {
    from: holders(before).size,
    to: names.length,
    seconds,
    plannedSeconds: plannedMs / 1000,
    moves: countMoves(before, after),
    movedBytes: traffic.sentBytes,
    leastBytes: leastToMove(held(before, bytesOf), names),
    peakBytesPerS: traffic.peakBytesPerS,
    bytesSpread: spreadOver(names, held(after, bytesOf)),
    replicasSpread: spreadOver(names, held(after, undefined)),
    leadersSpread: spreadOver(names, led(after)),
  };
}

function holders(shards: readonly FullShardRow[]): ReadonlySet<string> {
  return new Set(shards.flatMap(({ replicas }) => replicas.map(({ node }) => node)));
}

/** By node: bytes of its replicas, or their number. */
function held(
  shards: readonly FullShardRow[],
  bytesOf: ReadonlyMap<number, number> | undefined,
): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const { id, replicas } of shards) {
    const weight = bytesOf === undefined ? 1 : (bytesOf.get(id) ?? 0);
    for (const { node } of replicas) sums.set(node, (sums.get(node) ?? 0) + weight);
  }
  return sums;
}

function led(shards: readonly FullShardRow[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { leader } of shards) if (leader != null) counts.set(leader, (counts.get(leader) ?? 0) + 1);
  return counts;
}

function countMoves(before: readonly FullShardRow[], after: readonly FullShardRow[]): number {
  const had = new Set(before.flatMap(({ id, replicas }) => replicas.map(({ node }) => `${id}/${node}`)));
  const has = after.flatMap(({ id, replicas }) => replicas.map(({ node }) => `${id}/${node}`));
  return has.filter((place) => !had.has(place)).length;
}

/** What nodes lack of an equal share: so much must reach them, however it is done. */
export function leastToMove(held: ReadonlyMap<string, number>, names: readonly string[]): number {
  const total = [...held.values()].reduce((sum, bytes) => sum + bytes, 0);
  const share = total / names.length;
  return names.reduce((sum, name) => sum + Math.max(0, share - (held.get(name) ?? 0)), 0);
}

/** (most − least) / mean */
export function spreadOver(names: readonly string[], values: ReadonlyMap<string, number>): number {
  const all = names.map((name) => values.get(name) ?? 0);
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
  return (Math.max(...all) - Math.min(...all)) / mean;
}

function describe(step: Step | undefined): string {
  if (step === undefined) return "";
  const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  return `${step.from} to ${step.to} nodes: ${step.seconds.toFixed(1)} s (planned ${step.plannedSeconds.toFixed(1)} s), ${step.moves} moves, ${mib(step.movedBytes)} moved, at least ${mib(step.leastBytes)}; peak ${mib(step.peakBytesPerS)}/s; bytes within ${percent(step.bytesSpread)}, replicas ${percent(step.replicasSpread)}, leaders ${percent(step.leadersSpread)}`;
}
