import { UsageError } from "../config.ts";
import type { Partition } from "../options.ts";

/** What somebody asked of `kvorum dev`; undefined: left to us. */
export interface DevWishes {
  readonly nodes: number | undefined;
  readonly shards: number | undefined;
  readonly replicas: number | undefined;
  readonly partition: Partition | undefined;
  readonly httpPort: number;
  readonly natsPort: number;
}

/** What the data directory holds from earlier starts. */
export interface HeldData {
  readonly nodes: number;
  readonly shards: number;
  readonly replicas: number;
  readonly partition: Partition;
}

/** The cluster that will run. */
export interface DevPlan {
  readonly nodes: number;
  readonly shards: number;
  readonly replicas: number;
  readonly partition: Partition;
  readonly httpPort: number;
  readonly natsPort: number;
  /** What was asked and will not be, a line each. */
  readonly notes: readonly string[];
}

const defaultNodes = 3;
const defaultShards = 16;

/** The largest odd number that is at most 3 and at most `nodes`: a group never rests at an even size (R10). */
export function defaultReplicas(nodes: number): number {
  return nodes >= 3 ? 3 : 1;
}

/** @throws UsageError for what cannot be */
export function planDev(wishes: DevWishes, held: HeldData | undefined): DevPlan {
  const nodes = wishes.nodes ?? Math.max(defaultNodes, held?.nodes ?? 0);
  if (held !== undefined && nodes < held.nodes) {
    throw new UsageError(
      `--nodes ${nodes}: the data is that of ${held.nodes} nodes: give --nodes ${held.nodes}, or --fresh to start anew`,
    );
  }
  const replicas = held?.replicas ?? wishes.replicas ?? defaultReplicas(nodes);
  for (const count of [replicas, wishes.replicas ?? replicas]) {
    if (count > nodes)
      throw new UsageError(`--replicas ${count}: there are only ${nodes} nodes to hold them`);
  }
  checkPorts(wishes, nodes);
  return {
    nodes,
    shards: held?.shards ?? wishes.shards ?? defaultShards,
    replicas,
    partition: held?.partition ?? wishes.partition ?? "hash",
    httpPort: wishes.httpPort,
    natsPort: wishes.natsPort,
    notes: held === undefined ? [] : notesOn(wishes, held),
  };
}

function checkPorts(wishes: DevWishes, nodes: number): void {
  const last = wishes.httpPort + nodes - 1;
  if (last > 65_535)
    throw new UsageError(`--http-port ${wishes.httpPort}: ${nodes} nodes would need ports up to ${last}`);
  if (wishes.natsPort >= wishes.httpPort && wishes.natsPort <= last) {
    throw new UsageError(
      `--nats-port ${wishes.natsPort}: the nodes serve HTTP on ${wishes.httpPort} to ${last}`,
    );
  }
}

function notesOn(wishes: DevWishes, held: HeldData): readonly string[] {
  return (["shards", "replicas", "partition"] as const)
    .filter((what) => wishes[what] !== undefined && wishes[what] !== held[what])
    .map(
      (what) =>
        `--${what} ${wishes[what]} is for a new cluster: this one was made with ${held[what]} (--fresh starts anew)`,
    );
}

/** A node that keeps dying at its start is restarted ever later; one that had lived gets the plain delay. */
export function restartDelayMs(livedMs: number, deathsInARow: number): number {
  const first = 2000;
  return livedMs > 5000 ? first : Math.min(30_000, first * 2 ** Math.max(0, deathsInARow - 1));
}
