import type { Plan } from "./plan.ts";
import type { RunResult } from "./run.ts";

/** One line for people: what kind of run this was. */
export function describePlan(plan: Plan): string {
  const { nodes, replicas, shards, partition, clients, keys, timing, faultKinds } = plan;
  return `seed ${plan.seed}: ${nodes} nodes, ${replicas} replicas, ${shards} ${partition} shards, ${plan.statelessRouters} routers, ${clients} clients, ${keys} keys, election ${timing.electionMinMs} ms, faults ${faultKinds.join(" ") || "none"}`;
}

const timelineLines = 60;

/** What a failure prints: the seed, what broke, how to see it again, and what went on before. */
export function describeFailure(result: RunResult): string {
  const { plan, violation, timeline, virtualMs } = result;
  return [
    `seed ${plan.seed} FAILED at ${virtualMs.toFixed(1)} ms: ${violation?.message ?? ""}`,
    `  ${describePlan(plan)}`,
    "  timeline (virtual ms):",
    ...timeline.slice(-timelineLines).map((line) => `  ${line}`),
    `  replay: npm run sim -- --seeds 1 --from ${plan.seed}`,
  ].join("\n");
}
