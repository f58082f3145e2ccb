import type { CoreConfig, LogReader } from "./types.ts";

/** What a configuration cannot do without. */
export interface RequiredConfig {
  readonly id: number;
  readonly storage: LogReader;
  /** Chance: an integer in [0, bound). Elections that are drawn alike would collide for ever. */
  readonly below: (bound: number) => number;
}

/**
 * A sound configuration to start from, for synchronous storage: pre-vote and check-quorum on, reads by
 * quorum, an election timeout of 10 to 19 ticks with a heartbeat at each. Leases (R17) are off; set `leaseMs`
 * and `noVoteBeforeMs` together, below the election timeout. Limits: 1 MiB a message, 256 messages on their
 * way, 64 MiB uncommitted.
 */
export function defaultConfig({ id, storage, below }: RequiredConfig): CoreConfig {
  const electionTicks = 10;
  return {
    id,
    storage,
    applied: storage.firstIndex() - 1,
    electionTicks,
    heartbeatTicks: 1,
    drawElectionTicks: () => electionTicks + below(electionTicks),
    preVote: true,
    checkQuorum: true,
    readOnly: "safe",
    maxEntriesBytesPerMessage: 1 << 20,
    maxInflightMessages: 256,
    maxInflightBytes: 0,
    maxUncommittedBytes: 64 << 20,
    maxCommittedBytesPerReady: 1 << 20,
    forwardProposals: true,
    stepDownOnRemoval: true,
    validateConfChanges: true,
    asyncStorage: false,
    leaseMs: 0,
    noVoteBeforeMs: 0,
  };
}
