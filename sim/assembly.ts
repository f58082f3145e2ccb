import type { GroupId, NodeId, ShardDescriptor } from "#proto";
import type { Core, CoreConfig } from "#raft/core";
import type { GroupHost, StateMachine } from "#raft/host";
import type { RouteCache, Router } from "#router/routing";
import type { Clock, Logger, Random } from "#runtime";
import type { Engine } from "#storage";
import type { Wire } from "#transport";
import type { LimitsPlan, TimingPlan } from "./plan.ts";

/** Places where a node's parts can be watched, or be made wrong on purpose, without a flag in the product. */
export interface Seams {
  readonly makeCore: (config: CoreConfig, group: GroupId) => Core;
  readonly wrapMachine: (machine: StateMachine, group: GroupId) => StateMachine;
}

export interface ProcessParts {
  readonly name: string;
  readonly cluster: string;
  readonly wire: Wire;
  readonly bulkWire: Wire;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface NodeParts extends ProcessParts {
  readonly bootstrap?: {
    readonly shards: number;
    readonly replicas: number;
    readonly partition: "hash" | "range";
  };
  readonly engine: Engine;
  readonly timing: TimingPlan;
  readonly limits: LimitsPlan;
  readonly seams: Seams;
  /** It cannot go on (R8). */
  readonly onFatal: (error: Error) => void;
}

/** A router's process, stateless or a node's. */
export interface RouterProcess {
  readonly router: Router;
  readonly routes: RouteCache;
  ready(): boolean;
  stop(done: () => void): void;
  /** Gone at once: nothing runs any more. */
  kill(): void;
}

/** The cluster as placement's leader has it. */
export interface PlacementView {
  readonly shards: readonly ShardDescriptor[];
  readonly nodes: readonly { readonly name: string; readonly membership: string }[];
  /** Operations under way. */
  readonly running: number;
}

export interface NodeProcess extends RouterProcess {
  readonly nodeId: NodeId;
  readonly host: GroupHost;
  /** Undefined where this node does not lead placement. */
  placement(): PlacementView | undefined;
}

export type Made<T> =
  | { readonly ok: true; readonly made: T }
  | { readonly ok: false; readonly refusal: string };

/** How processes are put together: the product's own way, behind one door. */
export interface Assembly {
  node(parts: NodeParts, done: (result: Made<NodeProcess>) => void): void;
  router(parts: ProcessParts, done: (result: Made<RouterProcess>) => void): void;
}
