import type { Plan } from "../plan.ts";
import type { Fault } from "../plan-faults.ts";

/**
 * Plans bent towards what gives a bug its chance. Nothing here may make a right cluster fail.
 * @module
 */
export const slowSyncs: (plan: Plan) => Plan = (plan: Plan): Plan => ({
  ...plan,
  syncMsMax: Math.max(2, plan.syncMsMax),
});

/** Adds faults, spread over the run, of kinds that every right cluster survives. */
function withFaults(make: (i: number, atMs: number, plan: Plan) => Fault): (plan: Plan) => Plan {
  return (plan) => {
    const added = Array.from({ length: 4 }, (_, i) => make(i, 500 + i * Math.floor(plan.faultMs / 5), plan));
    return { ...plan, faults: [...plan.faults, ...added] };
  };
}

export const withPowerLosses: (plan: Plan) => Plan = withFaults((i, atMs, plan) => ({
  kind: "powerLoss",
  atMs,
  forMs: 200,
  target: { leaderOf: 1 + (i % plan.shards) },
  all: i % 2 === 0,
  keep: "random",
}));

export const withFailingDisks: (plan: Plan) => Plan = withFaults((i, atMs, plan) => ({
  kind: "failingDisk",
  atMs,
  forMs: 300,
  target: { node: i % plan.nodes },
  fails: i % 2 === 0 ? "syncs" : "writes",
}));

export const withSnapshots: (plan: Plan) => Plan = (plan: Plan): Plan => ({
  ...plan,
  limits: { ...plan.limits, compactLogBytes: 2000, compactCapBytes: 4000 },
});

export const withSmallAppends: (plan: Plan) => Plan = (plan: Plan): Plan => ({
  ...plan,
  limits: { ...plan.limits, maxEntriesBytesPerMessage: 300 },
});

export const manyLeaderReads: (plan: Plan) => Plan = (plan: Plan): Plan => ({
  ...plan,
  keys: Math.min(plan.keys, 3),
  thinkMsMax: Math.min(plan.thinkMsMax, 10),
  mix: { ...plan.mix, put: 4, get: 2, leaderGet: 5 },
});

export const manyReads: (plan: Plan) => Plan = (plan: Plan): Plan => ({
  ...plan,
  keys: Math.min(plan.keys, 3),
  thinkMsMax: Math.min(plan.thinkMsMax, 10),
  mix: { ...plan.mix, put: 4, get: 5 },
});

/** A leader that some still hear and others do not: what leases are for. */
export const withSplitViews: (plan: Plan) => Plan = (plan: Plan): Plan => {
  const faults = Array.from({ length: 6 }, (_, i) => ({
    kind: "partition" as const,
    atMs: 300 + i * Math.floor(plan.faultMs / 7),
    forMs: Math.floor(2.5 * plan.timing.electionMaxMs),
    side: [i % plan.nodes],
    bothWays: i % 2 === 0,
    bridge: (i + 1) % plan.nodes,
  }));
  return { ...plan, faults: [...plan.faults, ...faults] };
};

/** Leaders cut off, one after the other, with clients of their own who go on writing and reading there. */
function isolateLeaders(plan: Plan, scale: number, times: number, callTimeoutMs: number): Plan {
  const everyMs = Math.floor(plan.faultMs / (times + 1));
  const faults = Array.from({ length: times }, (_, i) => ({
    kind: "isolate" as const,
    atMs: 300 + i * everyMs,
    forMs: Math.floor(0.85 * everyMs),
    target: { leaderOf: 1 + (i % plan.shards) },
  }));
  const timing = { ...plan.timing, ...timesOf(scale) };
  return { ...plan, clients: 8, callTimeoutMs, timing, faults: [...plan.faults, ...faults] };
}

/** Logs that part often. */
export const withPartedLogs: (plan: Plan) => Plan = (plan) => isolateLeaders(plan, 0.25, 8, 300);

/**
 * Times in which routers find the new leader while the old one still believes to lead: they look elsewhere
 * after a fixed patience, which must be short against an election.
 */
export const withOldLeaders: (plan: Plan) => Plan = (plan) => isolateLeaders(plan, 1, 4, 1000);

function timesOf(scale: number): Partial<Plan["timing"]> {
  return {
    tickMs: 50 * scale,
    heartbeatMs: 100 * scale,
    electionMinMs: 600 * scale,
    electionMaxMs: 1200 * scale,
    leaseMs: 200 * scale,
  };
}

export const withLeadersPaused: (plan: Plan) => Plan = (plan: Plan): Plan => {
  const faults = Array.from({ length: 6 }, (_, i) => ({
    kind: "pause" as const,
    atMs: 300 + i * Math.floor(plan.faultMs / 7),
    forMs: Math.floor(2 * plan.timing.electionMaxMs),
    target: { leaderOf: 1 + (i % plan.shards) },
  }));
  return { ...plan, faults: [...plan.faults, ...faults] };
};

/** Answers get lost, so that routers ask again. */
export const withRetries: (plan: Plan) => Plan = (plan) => ({
  ...withPowerLosses(plan),
  callTimeoutMs: Math.max(2000, plan.callTimeoutMs),
  network: { ...plan.network, loss: Math.max(0.02, plan.network.loss) },
});

/** Replicas on the move, so that there are learners and joint configurations. */
export const withMoves: (plan: Plan) => Plan = (plan) => {
  const nodes = Math.max(plan.nodes, 5);
  const faults = Array.from({ length: 20 }, (_, i) => ({
    kind: "move" as const,
    atMs: 200 + i * Math.floor(plan.faultMs / 22),
    forMs: 1,
    shard: i % plan.shards,
    to: (i * 2 + 1) % nodes,
  }));
  const network = { ...plan.network, delayMsMax: Math.max(3, plan.network.delayMsMax) };
  return { ...plan, nodes, replicas: 3, network, faults: [...plan.faults, ...faults] };
};

/** Shards that split again and again, and few enough at first for that. */
export const withSplits: (plan: Plan) => Plan = (plan) => {
  const faults = Array.from({ length: 12 }, (_, i) => ({
    kind: "split" as const,
    atMs: 200 + i * Math.floor(plan.faultMs / 14),
    forMs: 1,
    shard: i,
    ways: 2,
  }));
  return { ...plan, shards: Math.min(2, plan.shards), keys: 24, faults: [...plan.faults, ...faults] };
};

/** Routers that hear late of what has changed, and have much to ask. */
export const withStaleRouters: (plan: Plan) => Plan = (plan) => ({
  ...plan,
  statelessRouters: 2,
  clients: 8,
  thinkMsMax: Math.min(5, plan.thinkMsMax),
  network: { ...plan.network, delayMsMax: Math.max(10, plan.network.delayMsMax) },
});

/** Wall clocks far from true, now and then, and leaders that change. */
export const withClockJumps: (plan: Plan) => Plan = (plan) =>
  withSplitViews(
    withFaults((i, atMs, { nodes }) => ({
      kind: "clockJump",
      atMs,
      forMs: 400,
      target: { node: i % nodes },
      micros: 1_500_000,
    }))(plan),
  );

/**
 * One node hears the leader and another that does not, and starts again and again: what it knew of the lease it
 * has forgotten, and the other asks for its vote.
 */
export const withBriefCrashes: (plan: Plan) => Plan = (plan) => {
  const times = timesOf(1);
  const spanMs = Math.floor(plan.faultMs / 6);
  const faults = Array.from({ length: 6 }, (_, i): Fault[] => {
    const atMs = 100 + i * spanMs;
    const bridge = (i + 1) % 3;
    const crashes = Array.from({ length: 4 }, (__, j): Fault => {
      const crashMs = atMs + Math.floor(((j + 1) * spanMs) / 6);
      return { kind: "crash", atMs: crashMs, forMs: 2, target: { node: bridge } };
    });
    const cut: Fault = {
      kind: "partition",
      atMs,
      forMs: spanMs - 100,
      side: [i % 3],
      bothWays: true,
      bridge,
    };
    return [cut, ...crashes];
  });
  const timing = { ...plan.timing, ...times, leaseMs: 500 };
  return { ...plan, nodes: 3, replicas: 3, timing, faults: faults.flat().sort((a, b) => a.atMs - b.atMs) };
};

/** Neighbours that become one, while nodes are cut off for a moment: too short for anybody to notice. */
export const withMerges: (plan: Plan) => Plan = (plan) => {
  const shards = Math.max(6, plan.shards);
  const merges = Array.from({ length: 8 }, (_, i) => ({
    kind: "merge" as const,
    atMs: 300 + i * Math.floor(plan.faultMs / 9),
    forMs: 1,
    shard: (i * 5) % 6,
  }));
  const cuts = merges.map(({ atMs }, i) => ({
    kind: "isolate" as const,
    atMs: atMs + 10 + 5 * (i % 4),
    forMs: 150,
    target: { node: i % plan.nodes },
  }));
  return { ...plan, shards, early: false, faults: [...plan.faults, ...merges, ...cuts] };
};
