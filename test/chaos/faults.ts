import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "#runtime";
import type { Cluster, Member } from "../integration/support/cluster.ts";

/** What can be done to a cluster, and undone. */
export interface Fault {
  readonly name: string;
  /** How often it is drawn, against the others. */
  readonly weight: number;
  /** Whom it needs for itself: a fault never hits what another one has. */
  readonly takes: (random: Random, cluster: Cluster) => readonly Target[];
  /** Breaks its targets, waits, and brings them back. */
  readonly run: (random: Random, targets: readonly Target[], cluster: Cluster) => Promise<void>;
}

export type Target = Member | "nats";

const pause = (random: Random, fromMs: number, toMs: number): Promise<void> =>
  delay(fromMs + random.below(toMs - fromMs + 1));

function pick(random: Random, from: readonly Member[], count: number): Member[] {
  const rest = [...from];
  return Array.from({ length: count }, () => rest.splice(random.below(rest.length), 1)).flat();
}

const one = (random: Random, { members }: Cluster): readonly Target[] => pick(random, members, 1);
const members = (targets: readonly Target[]): Member[] =>
  targets.filter((target): target is Member => target !== "nats");

async function killAndStart(random: Random, targets: readonly Target[]): Promise<void> {
  await Promise.all(members(targets).map((member) => member.kill()));
  await pause(random, 0, 5000);
  for (const member of members(targets)) member.start();
}

export const faults: readonly Fault[] = [
  { name: "kill -9", weight: 5, takes: one, run: killAndStart },
  {
    name: "kill -9 of two at once",
    weight: 2,
    takes: (random, cluster) => pick(random, cluster.members, 2),
    run: killAndStart,
  },
  {
    name: "kill -9 while it comes back",
    weight: 2,
    takes: one,
    run: async (random, targets) => {
      for (let i = 0; i < 3; i++) {
        await killAndStart(random, targets);
        await pause(random, 100, 1500);
      }
    },
  },
  {
    name: "kill -9 of everything",
    weight: 1,
    takes: (_, cluster) => [...cluster.members, "nats"],
    run: async (random, targets, cluster) => {
      await cluster.killAll();
      await pause(random, 0, 1000);
      await cluster.nats.restart();
      for (const member of members(targets)) member.start();
    },
  },
  {
    name: "SIGSTOP",
    weight: 4,
    takes: one,
    run: async (random, targets) => {
      for (const member of members(targets)) member.process.signal("SIGSTOP");
      // Around L, an election timeout, and what makes a node down.
      await pause(random, 50, [500, 2000, 12_000][random.below(3)] ?? 500);
      for (const member of members(targets)) member.process.signal("SIGCONT");
    },
  },
  {
    name: "SIGSTOP, then kill -9",
    weight: 1,
    takes: one,
    run: async (random, targets) => {
      for (const member of members(targets)) member.process.signal("SIGSTOP");
      await pause(random, 100, 3000);
      await killAndStart(random, targets);
    },
  },
  {
    name: "SIGTERM",
    weight: 3,
    takes: one,
    run: async (random, targets) => {
      await Promise.all(members(targets).map((member) => member.terminate()));
      await pause(random, 0, 2000);
      for (const member of members(targets)) member.start();
    },
  },
  {
    name: "NATS killed",
    weight: 3,
    takes: () => ["nats"],
    run: async (random, _, { nats }) => {
      await nats.kill();
      await pause(random, 0, [50, 1000, 4000][random.below(3)] ?? 50);
      await nats.restart();
    },
  },
];

/** One by weight. */
export function drawFault(random: Random): Fault {
  const total = faults.reduce((sum, { weight }) => sum + weight, 0);
  let left = random.below(total);
  for (const fault of faults) {
    left -= fault.weight;
    if (left < 0) return fault;
  }
  throw new Error("weights add up");
}
