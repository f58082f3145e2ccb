import type { BootId, GroupId, ReplicaId } from "#proto";
import type { Core, CoreConfig } from "#raft/core";
import type { Random } from "#runtime";
import type { HostLimits, HostTiming } from "./config.ts";
import type { LogStore } from "./log-store.ts";

/** Lets tests put another core, or a wrapped one, in a group's place. */
export type MakeCore = (config: CoreConfig, group: GroupId) => Core;

/** The core's settings as this host uses it: everything on, votes guarded by leases (R17). */
export function coreConfig(
  options: {
    readonly timing: HostTiming;
    readonly limits: HostLimits;
    readonly random: Random;
    readonly boot: BootId;
  },
  replica: ReplicaId,
  log: LogStore,
  startedMs: number,
): CoreConfig {
  const { timing, limits, random } = options;
  const electionTicks = Math.max(2, Math.round(timing.electionMinMs / timing.tickMs));
  const spreadTicks = Math.max(1, Math.round((timing.electionMaxMs - timing.electionMinMs) / timing.tickMs));
  return {
    id: replica,
    storage: log,
    applied: log.applied.index,
    electionTicks,
    heartbeatTicks: Math.max(1, Math.round(timing.heartbeatMs / timing.tickMs)),
    drawElectionTicks: () => electionTicks + random.below(spreadTicks),
    preVote: true,
    checkQuorum: true,
    readOnly: "safe",
    maxEntriesBytesPerMessage: limits.maxEntriesBytesPerMessage,
    maxInflightMessages: limits.maxInflightMessages,
    maxInflightBytes: limits.maxInflightBytes,
    maxUncommittedBytes: limits.maxUncommittedBytes,
    maxCommittedBytesPerReady: limits.maxCommittedBytesPerReady,
    forwardProposals: false,
    stepDownOnRemoval: true,
    validateConfChanges: true,
    lazyCommit: true,
    asyncStorage: false,
    leaseMs: timing.leaseMs,
    noVoteBeforeMs: startedMs + timing.electionMinMs,
  };
}
