import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "#runtime";
import type { Cluster, Member } from "../integration/support/cluster.ts";
import { Load } from "../integration/support/load.ts";
import { Recorder } from "../integration/support/recorder.ts";
import { until } from "../integration/support/wait.ts";
import { drawFault, type Target } from "./faults.ts";

export interface RoundResult {
  readonly faults: readonly string[];
  readonly calls: number;
  readonly acknowledged: number;
  /** Everything that must not be; empty when all is well. */
  readonly wrong: readonly string[];
}

/** Load on keys of its own, faults, an end to all faults, and a look at what clients were told. */
export async function runRound(
  number: number,
  cluster: Cluster,
  router: Member,
  random: Random,
): Promise<RoundResult> {
  const recorder = new Recorder();
  const everybody = [...cluster.clients, router.client];
  const load = new Load({
    servers: () => everybody,
    recorder,
    keys: 24,
    prefix: `round${number}`,
    seed: random.hex(8),
    limits: { serverMs: 3000, clientMs: 8000 },
  });
  const injected: string[] = [];
  const wrong: string[] = [];
  load.start();
  try {
    await until("the load runs", () => load.succeeded() > 100);
    const taken = new Set<Target>();
    // Two after each other and at the same time as two others: faults meet each other, too.
    const chains = ["first", "second"].map((label) =>
      faultChain(random.fork(label), cluster, taken, injected),
    );
    await Promise.all(chains);
    await cluster.untilWhole();
    await router.untilReady();
    const healedMs = performance.now();
    await until("all is well again", () => load.succeeded(healedMs) > 200);
  } catch (error) {
    wrong.push(error instanceof Error ? error.message : String(error));
  } finally {
    await load.stop();
  }
  if (wrong.length === 0) await recorder.readAll(everybody);
  for (const { surprise } of [...cluster.members, router]) if (surprise !== undefined) wrong.push(surprise);
  return {
    faults: injected,
    calls: recorder.history.operations.length,
    acknowledged: recorder.acknowledged,
    wrong: [...wrong, ...recorder.verdict()],
  };
}

async function faultChain(
  random: Random,
  cluster: Cluster,
  taken: Set<Target>,
  injected: string[],
): Promise<void> {
  for (let i = random.below(3); i >= 0; i--) {
    await delay(random.below(3000));
    const fault = drawFault(random);
    const targets = fault.takes(random, cluster);
    if (targets.some((target) => taken.has(target))) continue;
    for (const target of targets) taken.add(target);
    injected.push(`${fault.name} (${targets.map((t) => (t === "nats" ? t : t.name)).join(" ")})`);
    await fault.run(random, targets, cluster);
    for (const target of targets) taken.delete(target);
  }
}

/** Different errors in the servers' own logs, with how often each stands there. */
export function loggedErrors(members: readonly Member[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { logPath } of members) {
    for (const line of readFileSync(logPath, "utf8").split("\n")) {
      if (!line.startsWith('{"level":"error"')) continue;
      const { msg, err } = JSON.parse(line);
      const what = err?.message === undefined ? msg : `${msg}: ${err.message}`;
      counts.set(what, (counts.get(what) ?? 0) + 1);
    }
  }
  return counts;
}
