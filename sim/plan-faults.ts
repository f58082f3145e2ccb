import type { Random } from "#runtime";

/** Kinds that last for a whole run, then those that come as events. */
export const faultKinds = [
  "loss",
  "delay",
  "duplicate",
  "reorder",
  "drift",
  "partition",
  "isolate",
  "slowLink",
  "pause",
  "clockJump",
  "crash",
  "powerLoss",
  "slowDisk",
  "failingDisk",
  "fullDisk",
  "wipe",
  "disconnect",
  "natsRestart",
  "transferLeader",
  "split",
  "move",
  "drain",
  "decommission",
  "rebalance",
  "repair",
  "merge",
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** A node by its number, or whoever leads a shard by then: the one most worth hurting. */
export type Target = { readonly node: number } | { readonly leaderOf: number };

/** One thing that goes wrong at a time of the fault phase; `forMs` later it is set right again. */
export type Fault = { readonly atMs: number; readonly forMs: number } & (
  | {
      readonly kind: "partition";
      readonly side: readonly number[];
      readonly bothWays: boolean;
      readonly bridge?: number;
    }
  | { readonly kind: "isolate"; readonly target: Target }
  | {
      readonly kind: "slowLink";
      readonly from: Target;
      readonly to: number;
      readonly delayMsMax: number;
      readonly bytesPerMs: number;
    }
  | { readonly kind: "pause"; readonly target: Target }
  | { readonly kind: "clockJump"; readonly target: Target; readonly micros: number }
  /** The process dies, the machine lives on. */
  | { readonly kind: "crash"; readonly target: Target }
  /** The machine dies, and with it what was not synced; `all`: every node at once. */
  | {
      readonly kind: "powerLoss";
      readonly target: Target;
      readonly all: boolean;
      readonly keep: "random" | "none";
    }
  | { readonly kind: "slowDisk"; readonly target: Target; readonly syncMsMax: number }
  | { readonly kind: "failingDisk"; readonly target: Target; readonly fails: "writes" | "syncs" }
  | { readonly kind: "fullDisk"; readonly target: Target; readonly freeBytes: number }
  /** The disk is gone: the node's name must be refused, and a new one joins. */
  | { readonly kind: "wipe"; readonly node: number }
  | { readonly kind: "disconnect"; readonly target: Target }
  | { readonly kind: "natsRestart" }
  | { readonly kind: "transferLeader"; readonly shard: number; readonly to: number }
  | Reshape
);

/** What an operator asks placement for; no fault, but the worst time for one. Ended by its opposite, if it has one. */
export type Reshape =
  | { readonly kind: "split"; readonly shard: number; readonly ways: number }
  | { readonly kind: "move"; readonly shard: number; readonly to: number }
  | { readonly kind: "drain"; readonly node: number }
  | { readonly kind: "decommission"; readonly node: number }
  | { readonly kind: "rebalance" }
  /** With a neighbour: the one behind it, or the one before. */
  | { readonly kind: "merge"; readonly shard: number };

export interface FaultSetting {
  readonly nodes: number;
  readonly replicas: number;
  readonly shards: number;
  readonly faultMs: number;
  /** Faults of a kind come this many times as often. */
  readonly intensity: number;
  readonly windowBytes: number;
  readonly timing: {
    readonly electionMinMs: number;
    readonly electionMaxMs: number;
    readonly heartbeatMs: number;
  };
}

const lasting: ReadonlySet<FaultKind> = new Set(["loss", "delay", "duplicate", "reorder", "drift", "repair"]);

/** Draws the events of a run: more kinds mean fewer of each, so that the cluster also gets to work. */
export function planFaults(random: Random, kinds: readonly FaultKind[], setting: FaultSetting): Fault[] {
  const events = kinds.filter((kind) => !lasting.has(kind));
  const faults: Fault[] = [];
  for (const kind of events) {
    const own = random.fork(kind);
    const count =
      kind === "wipe" ? 1 : setting.intensity * (1 + own.below(Math.max(2, Math.ceil(10 / events.length))));
    for (let i = 0; i < count; i++) {
      const fault = planFault(own, kind, setting);
      if (fault !== undefined) faults.push(fault);
    }
  }
  return faults.sort((a, b) => a.atMs - b.atMs);
}

function planFault(random: Random, kind: FaultKind, setting: FaultSetting): Fault | undefined {
  const { nodes, faultMs, timing } = setting;
  const atMs = random.below(Math.floor(faultMs * 0.9));
  const target = planTarget(random, setting);
  const span = (min: number, max: number): number => min + random.below(Math.max(1, Math.floor(max - min)));
  const forMs = span(timing.heartbeatMs, 3 * timing.electionMaxMs);
  const base = { atMs, forMs };
  switch (kind) {
    case "partition":
      return planPartition(random, base, nodes);
    case "slowLink": {
      // What is under way must be through soon after the fault ends.
      const bytesPerMs = Math.ceil(setting.windowBytes / (100 + random.below(1000)));
      return {
        ...base,
        kind,
        from: target,
        to: random.below(nodes),
        delayMsMax: span(5, timing.electionMaxMs),
        bytesPerMs,
      };
    }
    case "clockJump":
      return { ...base, kind, target, micros: span(-2_000_000, 2_000_000) };
    case "powerLoss":
      return { ...base, kind, target, all: random.chance(0.2), keep: random.chance(0.5) ? "none" : "random" };
    case "slowDisk":
      return { ...base, kind, target, syncMsMax: span(5, 2 * timing.electionMaxMs) };
    case "failingDisk":
      return { ...base, kind, target, fails: random.chance(0.5) ? "writes" : "syncs" };
    case "fullDisk":
      return { ...base, kind, target, freeBytes: random.chance(0.5) ? 0 : 4000 };
    case "wipe":
      // Nothing replaces the lost replicas by itself: the others must stay a quorum of every group.
      return setting.replicas < 3 ? undefined : { ...base, kind, node: random.below(nodes) };
    case "natsRestart":
      return { atMs, forMs: span(20, timing.electionMaxMs), kind };
    case "transferLeader":
      return { ...base, kind, shard: random.below(setting.shards), to: random.below(nodes) };
    case "split":
      return { ...base, kind, shard: random.below(setting.shards), ways: 2 + random.below(2) };
    case "move":
      return { ...base, kind, shard: random.below(setting.shards), to: random.below(nodes) };
    case "drain":
    case "decommission":
      return { ...base, kind, node: random.below(nodes) };
    case "rebalance":
      return { ...base, kind };
    case "merge":
      return { ...base, kind, shard: random.below(setting.shards) };
    case "isolate":
    case "pause":
    case "crash":
    case "disconnect":
      return { ...base, kind, target };
    default:
      return undefined;
  }
}

function planTarget(random: Random, { nodes, shards }: FaultSetting): Target {
  return random.chance(0.5) ? { node: random.below(nodes) } : { leaderOf: random.below(shards + 1) };
}

/** Splits the nodes in two; a bridge hears both sides, one way means that the others still hear this side. */
function planPartition(random: Random, base: { atMs: number; forMs: number }, nodes: number): Fault {
  const side: number[] = [];
  for (let i = 0; i < nodes; i++) if (random.chance(0.5)) side.push(i);
  const bridge = random.chance(0.3) ? random.below(nodes) : undefined;
  const bothWays = random.chance(0.7);
  return { ...base, kind: "partition", side, bothWays, ...(bridge === undefined ? {} : { bridge }) };
}
