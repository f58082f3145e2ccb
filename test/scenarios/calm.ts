import { type Fault, type Plan, planRun } from "#sim";

/**
 * A plan in which nothing is drawn: three nodes, a few keys, middling times and a calm network. Scenarios say
 * only what matters to them, so that they mean the same when plans are drawn in another way.
 */
export function calmPlan(changes: Partial<Plan> = {}): Plan {
  return {
    ...planRun(1),
    nodes: 3,
    replicas: 3,
    shards: 2,
    partition: "hash",
    statelessRouters: 0,
    clients: 4,
    keys: 3,
    valueBytesMax: 100,
    thinkMsMax: 20,
    callTimeoutMs: 1000,
    mix: {
      put: 3,
      conditionalPut: 2,
      delete: 1,
      conditionalDelete: 1,
      get: 3,
      leaderGet: 1,
      staleGet: 1,
    },
    timing: {
      tickMs: 12.5,
      heartbeatMs: 25,
      electionMinMs: 150,
      electionMaxMs: 300,
      leaseMs: 50,
      quiesceAfterMs: 100,
      readRetryMs: 75,
      slowWriteMs: 250,
    },
    limits: {
      compactLogBytes: 8000,
      compactCapBytes: 32_000,
      snapshotChunkBytes: 1000,
      maxEntriesBytesPerMessage: 20_000,
      maxInflightMessages: 8,
      sliceRows: 20,
      windowBytes: 8 * 1024 * 1024,
    },
    maxPayloadBytes: 1024 * 1024,
    network: { delayMsMin: 0.1, delayMsMax: 0.5, loss: 0, duplicate: 0, reorder: 0 },
    syncMsMax: 0.5,
    driftPpmMax: 0,
    wallOffsetMsMax: 0,
    pollMicrosMax: 20,
    faultMs: 4000,
    early: false,
    downAfterMs: undefined,
    faultKinds: [],
    faults: [],
    ...changes,
  };
}

/** The same fault again and again, so that a run of seeds meets it at many moments. */
export function every(everyMs: number, untilMs: number, make: (atMs: number, i: number) => Fault): Fault[] {
  const count = Math.floor(untilMs / everyMs);
  return Array.from({ length: count }, (_, i) => make(100 + i * everyMs, i));
}
