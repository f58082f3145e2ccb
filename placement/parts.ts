import type {
  Address,
  BootId,
  ClusterId,
  Frozen,
  GroupId,
  KeyspaceDescriptor,
  MergeStep,
  NodeId,
  NodeInfo,
  Partition,
  RouteTable,
  RouteVersion,
  Settings,
  ShardDescriptor,
  SplitCommand,
  Standing,
} from "#proto";
import type { GroupHost, ReplicaInit } from "#raft/host";
import type { Clock, Logger } from "#runtime";
import type { Engine } from "#storage";
import type { JoinExchange, Rpc, Transport } from "#transport";

export interface ShardStats {
  readonly descriptor: ShardDescriptor;
  /** Estimates. */
  readonly bytes: number;
  readonly keys: number;
  readonly writesPerSecond: number;
  readonly readsPerSecond: number;
}

/** What this node's shards say of themselves, from memory, waking nothing (R33). */
export interface ShardReporter {
  /** Undefined before the replica's first rows have come. */
  descriptorOf(group: GroupId): ShardDescriptor | undefined;
  statsOf(group: GroupId): ShardStats | undefined;
  /** Set while a shard stands still to be merged. */
  frozenOf(group: GroupId): Frozen | undefined;
  /** Where to part a shard led here; looks at its data, so only when asked for. */
  suggestSplit(group: GroupId, wish: SplitQuestion): SplitAnswer;
}

export interface SplitQuestion {
  readonly by: "size" | "load";
  /** Shards there shall be, at least 2. */
  readonly ways: number;
  readonly partition: Partition;
  readonly slots: number;
}

export type SplitAnswer =
  | { readonly kind: "at"; readonly boundaries: readonly Uint8Array[] }
  | { readonly kind: "blocked"; readonly reason: string };

/** The pieces of orders that only the shard room can make. */
export interface ShardOrders {
  /** The rows a shard begins with. */
  initialRows(shard: ShardDescriptor, keyspace: KeyspaceDescriptor): ReplicaInit["rows"];
  /** Splits a shard led here. Asked twice it does no harm: the epoch it expects is gone then (R6). */
  split(group: GroupId, split: SplitCommand, done: (outcome: unknown) => void): void;
  /** One step of a merge, in the log of a shard led here. Asked twice it does no harm either. */
  merge(group: GroupId, step: MergeStep, done: (outcome: unknown) => void): void;
}

export interface Capacity {
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
  /** Of this node's data. */
  readonly bytes: number;
  readonly fsyncP99Ms: number;
}

/** This node's route cache, as far as placement feeds it. */
export interface RouteSink {
  version(): RouteVersion;
  /** The last leader of placement that the routes name; a hint. */
  placementLeader(): NodeId | undefined;
  /** On placement's leader only: the whole table whenever it has changed. */
  take(table: RouteTable): void;
  /** The whole table, if there is one: for stateless routers that come in. */
  table(): RouteTable | undefined;
}

/** What a node hears from placement. */
export interface PlacementEvents {
  onSettings(settings: Settings): void;
  onStanding(standing: Standing): void;
  /** Its id is no member's: the node must stop. */
  onRemoved(detail: string): void;
}

/** Everything placement needs of its node. */
export interface PlacementParts {
  readonly clusterId: ClusterId;
  readonly nodeId: NodeId;
  readonly boot: BootId;
  /** Asked only after `start`: the host needs placement's state machine, and placement the host. */
  readonly host: () => GroupHost;
  readonly engine: Engine;
  readonly transport: Pick<Transport, "send">;
  readonly rpc: Pick<Rpc, "call" | "serve">;
  readonly joins: Pick<JoinExchange, "serve">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly info: NodeInfo;
  readonly capacity: () => Capacity;
  readonly shards: ShardReporter;
  readonly orders: ShardOrders;
  readonly routes: RouteSink;
  /** Members met at joining, and those of the last routes: where to look for placement's leader. */
  readonly seeds: () => readonly Address[];
  readonly events: PlacementEvents;
}
