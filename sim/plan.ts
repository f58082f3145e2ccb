import { type Random, seededRandom } from "#runtime";
import { type Fault, type FaultKind, faultKinds, planFaults } from "./plan-faults.ts";

/** How often each kind of call is made, in shares of their sum. */
export interface Mix {
  readonly put: number;
  readonly conditionalPut: number;
  readonly delete: number;
  readonly conditionalDelete: number;
  readonly get: number;
  readonly leaderGet: number;
  readonly staleGet: number;
}

export interface NetworkPlan {
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** Per message, for the whole of the fault phase. */
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
}

/** Times of the host, in ms; meanings as in its own settings. */
export interface TimingPlan {
  readonly tickMs: number;
  readonly heartbeatMs: number;
  readonly electionMinMs: number;
  readonly electionMaxMs: number;
  readonly leaseMs: number;
  readonly quiesceAfterMs: number;
  readonly readRetryMs: number;
  readonly slowWriteMs: number;
}

/** Small enough that logs are compacted, snapshots sent and messages split in a short run. */
export interface LimitsPlan {
  readonly compactLogBytes: number;
  readonly compactCapBytes: number;
  readonly snapshotChunkBytes: number;
  readonly maxEntriesBytesPerMessage: number;
  readonly maxInflightMessages: number;
  readonly sliceRows: number;
  /** Bytes under way to one destination (R28). */
  readonly windowBytes: number;
}

/** Everything about a run that is decided before it begins: a function of the seed alone. */
export interface Plan {
  readonly seed: number;
  readonly nodes: number;
  readonly replicas: number;
  readonly shards: number;
  readonly partition: "hash" | "range";
  readonly statelessRouters: number;
  readonly clients: number;
  readonly keys: number;
  readonly valueBytesMax: number;
  /** Longest wait of a client between two calls, ms. */
  readonly thinkMsMax: number;
  readonly callTimeoutMs: number;
  readonly mix: Mix;
  readonly timing: TimingPlan;
  readonly limits: LimitsPlan;
  readonly maxPayloadBytes: number;
  readonly network: NetworkPlan;
  /** A sync takes this long on a healthy disk, ms. */
  readonly syncMsMax: number;
  readonly driftPpmMax: number;
  readonly wallOffsetMsMax: number;
  readonly pollMicrosMax: number;
  /** Length of the phase with load and faults, ms. */
  readonly faultMs: number;
  /** Faults and load begin with the nodes, not with a cluster that is ready. */
  readonly early: boolean;
  /** Placement replaces nodes that are silent for so long; undefined: not within a run. */
  readonly downAfterMs: number | undefined;
  readonly faultKinds: readonly FaultKind[];
  readonly faults: readonly Fault[];
}

/** Whether shards may have become fewer: an operator who heard nothing, or a refusal, may have got it too. */
export function mayMerge({ faults }: Plan): boolean {
  return faults.some(({ kind }) => kind === "merge");
}

/**
 * Swarm testing (Groce and others, 2012): each run has its own subset of faults and its own extremes, since a
 * run with everything on hides what needs a calm background to show.
 */
export function planRun(seed: number, faultMs = 7000): Plan {
  const random = seededRandom(`plan/${seed}`);
  const nodes = pick(random, [3, 3, 3, 3, 4, 5, 5, 6, 7]);
  const replicas = nodes >= 5 ? pick(random, [3, 3, 5]) : pick(random, [3, 3, 3, 1]);
  const shards = pick(random, [1, 1, 2, 3, 4, 6, 8, 12, 16, 32]);
  const timing = planTiming(random);
  const limits = planLimits(random.fork("limits"));
  const early = random.fork("early").chance(0.1);
  const kinds = planKinds(random.fork("kinds"));
  return {
    seed,
    nodes,
    replicas,
    shards,
    partition: random.chance(0.7) ? "hash" : "range",
    statelessRouters: random.below(3),
    clients: 2 + random.below(5),
    keys: pick(random, [1, 2, 3, 6, 12, 24]),
    valueBytesMax: pick(random, [16, 16, 200, 2000, 20_000]),
    thinkMsMax: pick(random, [5, 20, 50, 100]),
    callTimeoutMs: pick(random, [300, 1000, 2000, 5000]),
    mix: planMix(random.fork("mix")),
    timing,
    limits,
    maxPayloadBytes: pick(random, [1024 * 1024, 1024 * 1024, 16 * 1024]),
    network: planNetwork(random.fork("network"), kinds),
    syncMsMax: pick(random, [0, 0.5, 2, 8]),
    driftPpmMax: kinds.includes("drift") ? pick(random, [20, 100]) : 0,
    wallOffsetMsMax: kinds.includes("clockJump") ? 200 : pick(random, [0, 5]),
    pollMicrosMax: pick(random, [0, 20, 200]),
    faultMs,
    early,
    downAfterMs: kinds.includes("repair") ? pick(random, [1000, 1500, 2500]) : undefined,
    faultKinds: kinds,
    // A first node without its disk is nobody: there would be no cluster to join.
    faults: planFaults(random.fork("faults"), early ? kinds.filter((kind) => kind !== "wipe") : kinds, {
      nodes,
      replicas,
      shards,
      faultMs,
      intensity: random.fork("intensity").chance(0.2) ? 3 : 1,
      timing,
      windowBytes: limits.windowBytes,
    }),
  };
}

export function pick<T>(random: Random, from: readonly [T, ...T[]]): T {
  return from[random.below(from.length)] ?? from[0];
}

function planTiming(random: Random): TimingPlan {
  // Short elections make a run of ten virtual seconds long in the cluster's own terms.
  const scale = pick(random, [0.15, 0.25, 0.25, 0.5, 1]);
  return {
    tickMs: 50 * scale,
    heartbeatMs: 100 * scale,
    electionMinMs: 600 * scale,
    electionMaxMs: 1200 * scale,
    leaseMs: 200 * scale,
    quiesceAfterMs: 500 * pick(random, [0.2, 0.5, 1, 4]) * scale,
    readRetryMs: 300 * scale,
    slowWriteMs: 1000 * scale,
  };
}

function planLimits(random: Random): LimitsPlan {
  const compactLogBytes = pick(random, [2000, 8000, 30_000, 1_000_000]);
  return {
    compactLogBytes,
    compactCapBytes: compactLogBytes * pick(random, [2, 4, 16]),
    snapshotChunkBytes: pick(random, [200, 1000, 256 * 1024]),
    maxEntriesBytesPerMessage: pick(random, [500, 20_000, 2 * 1024 * 1024]),
    maxInflightMessages: pick(random, [2, 8, 256]),
    sliceRows: pick(random, [3, 20, 1000]),
    windowBytes: pick(random, [64 * 1024, 1024 * 1024, 8 * 1024 * 1024]),
  };
}

function planMix(random: Random): Mix {
  const share = (): number => (random.chance(0.25) ? 0 : 1 + random.below(4));
  return {
    put: 1 + random.below(4),
    conditionalPut: share(),
    delete: random.chance(0.4) ? 0 : 1,
    conditionalDelete: random.chance(0.6) ? 0 : 1,
    get: 1 + random.below(5),
    leaderGet: share(),
    staleGet: share(),
  };
}

/** Each kind is on in half of the runs; one run in sixteen is calm, to see the cluster at its own pace. */
function planKinds(random: Random): FaultKind[] {
  if (random.chance(1 / 16)) return [];
  const chance = pick(random, [0.15, 0.3, 0.5]);
  return faultKinds.filter((kind) => random.fork(kind).chance(chance));
}

function planNetwork(random: Random, kinds: readonly FaultKind[]): NetworkPlan {
  const on = (kind: FaultKind, choices: readonly [number, ...number[]]): number =>
    kinds.includes(kind) ? pick(random.fork(kind), choices) : 0;
  const slow = on("delay", [2, 5, 20]);
  return {
    delayMsMin: 0.1,
    delayMsMax: Math.max(0.5, slow),
    loss: on("loss", [0.002, 0.01, 0.05]),
    duplicate: on("duplicate", [0.01, 0.1]),
    reorder: on("reorder", [0.01, 0.1, 0.3]),
  };
}
