import type { Random, VirtualClock } from "#runtime";
import type { SimNetwork } from "#transport";
import type { Assembly } from "./assembly.ts";
import type { Mutant } from "./mutants/mutant.ts";
import type { Plan } from "./plan.ts";
import type { Trace } from "./trace.ts";
import type { Monitor } from "./watch/monitor.ts";

/** What all machines of a run share. */
export interface World {
  readonly plan: Plan;
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly network: SimNetwork;
  readonly trace: Trace;
  readonly monitor: Monitor;
  readonly assembly: Assembly;
  /** A deliberate bug, to see it caught. */
  readonly mutant: Mutant | undefined;
}

/** NATS subjects carry it. */
export const clusterName = "sim";
