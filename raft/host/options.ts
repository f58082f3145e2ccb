import type { BootId, NodeId } from "#proto";
import type { Clock, Logger, Random } from "#runtime";
import type { Engine } from "#storage";
import type { Transport } from "#transport";
import type { HostLimits, HostTiming } from "./config.ts";
import type { MakeCore } from "./core-config.ts";
import type { GroupView, StateMachineFactory } from "./types.ts";

export interface HostOptions {
  readonly nodeId: NodeId;
  readonly boot: BootId;
  readonly engine: Engine;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly timing: HostTiming;
  readonly limits: HostLimits;
  readonly factory: StateMachineFactory;
  /** Called once, when this node must not go on (R8, R11). Nothing is sent or answered afterwards. */
  readonly onFatal: (error: Error) => void;
  /** After a turn in which a group's role, term or leader changed. */
  readonly onLeadershipChange?: (view: GroupView) => void;
  readonly makeCore?: MakeCore;
}

/** Counters since the start; all only grow. */
export interface HostStats {
  turns: number;
  syncedTurns: number;
  entriesAppended: number;
  entriesApplied: number;
  commandsProposed: number;
  electionsWon: number;
  snapshotsInstalled: number;
  /** Of streamed snapshots, on the wire. */
  snapshotBytesSent: number;
  snapshotBytesReceived: number;
  messagesToUnknown: number;
}
