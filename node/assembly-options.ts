import type { GroupId } from "#proto";
import type { HostLimits, HostTiming, MakeCore, StateMachine } from "#raft/host";
import type { Clock, Logger, Random } from "#runtime";
import type { Engine } from "#storage";
import type { TransportLimits, Wire } from "#transport";
import type { Wish } from "./identity.ts";

/** What a node is made from: who it is to be, and every seam. */
export interface AssembleOptions {
  readonly name: string;
  readonly cluster: string;
  /** host:port that others are told. */
  readonly http: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly bootstrap?: Wish;
  readonly engine: Engine;
  readonly wire: Wire;
  /** A connection of its own for snapshots; without it they share `wire`. */
  readonly bulkWire?: Wire;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly timing?: Partial<HostTiming>;
  readonly limits?: Partial<HostLimits>;
  readonly transportLimits?: Partial<TransportLimits>;
  readonly pid: number;
  readonly version: string;
  /** This node must not go on (R8, R11, R30). Called once; everything has stopped by then. */
  readonly onFatal: (error: Error) => void;
  /** For tests: other cores and state machines in the places of ours. */
  readonly seams?: {
    readonly makeCore?: MakeCore;
    readonly wrapMachine?: (machine: StateMachine, group: GroupId) => StateMachine;
  };
}
