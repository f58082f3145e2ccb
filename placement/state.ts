import {
  type ClusterId,
  defaultSettings,
  type GroupId,
  type KeyspaceDescriptor,
  type Membership,
  type NodeId,
  type Partition,
  type ReplicaDescriptor,
  type ReplicaId,
  type ReplicaSite,
  type Settings,
  type ShardDescriptor,
} from "#proto";

/** What the bootstrap asked for; made once enough nodes are there (R31). */
export interface KeyspaceWish {
  readonly shards: number;
  readonly replicas: number;
  readonly partition: Partition;
}

export interface ClusterRow {
  readonly id: ClusterId;
  readonly name: string;
  readonly createdMicros: number;
  /** What every node can do; new operations are proposed only above it (R11). */
  readonly version: number;
  readonly wish: KeyspaceWish;
}

/** Next ids to give. Never reused, so they only grow. */
export interface Counters {
  readonly node: NodeId;
  readonly keyspace: number;
  readonly shard: GroupId;
  readonly replica: ReplicaId;
  readonly operation: number;
}

export interface NodeRow {
  readonly id: NodeId;
  readonly name: string;
  readonly http: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Labels of its last start: only when a start brings other ones do they replace `labels`. */
  readonly startLabels: Readonly<Record<string, string>>;
  readonly weight: number;
  readonly membership: Membership;
  /** Of its joining: asking again with it gets the same id. */
  readonly nonce: string;
  readonly joinedMicros: number;
  readonly version: string;
  /** In the log, so that a new placement leader knows it at once; absent while not down. */
  readonly downSinceMicros?: number;
}

/** A shard's first membership, kept until all of it was seen: what "create" orders are made of (R5, R32). */
export interface Birth {
  readonly descriptor: ShardDescriptor;
  readonly leader: ReplicaId;
}

export interface ShardRow {
  /** As last logged: by its birth, then by its leaders' reports of newer epochs. */
  readonly descriptor: ShardDescriptor;
  readonly birth?: Birth;
}

export interface MemberStep {
  readonly kind: "voter" | "learner" | "remove";
  readonly id: ReplicaId;
}

/**
 * One thing an operation has done by the leader of its group. `conf` with no changes leaves a joint
 * configuration. `caughtUp` orders nothing: it waits until these replicas have the leader's log.
 */
export type Step =
  | { readonly kind: "transfer"; readonly to: ReplicaId }
  | {
      readonly kind: "conf";
      readonly changes: readonly MemberStep[];
      readonly joint: boolean;
      readonly added: readonly ReplicaSite[];
    }
  | { readonly kind: "caughtUp"; readonly replicas: readonly ReplicaId[] };

export type OperationKind = "transfer_leader" | "placement_voters" | "leave_joint";
export const operationKinds: readonly OperationKind[] = [
  "transfer_leader",
  "placement_voters",
  "leave_joint",
];

export type OperationState = "running" | "done" | "failed" | "cancelled";
export const operationStates: readonly OperationState[] = ["running", "done", "failed", "cancelled"];

/** Work on one group, logged whole, with every id, before anything of it is sent (R32). */
export interface OperationRow {
  readonly id: number;
  readonly kind: OperationKind;
  readonly group: GroupId;
  readonly reason: string;
  readonly steps: readonly Step[];
  /** Index of the step under way. */
  readonly at: number;
  readonly stepStartedMicros: number;
  readonly state: OperationState;
  readonly startedMicros: number;
  readonly finishedMicros?: number;
  /** Why it failed or was cancelled. */
  readonly detail?: string;
}

/** All that placement's log decides, in memory; the rows of `rows.ts` are the same on disk. */
export interface PlacementState {
  /** Undefined on a member that has not had its first snapshot yet. */
  cluster: ClusterRow | undefined;
  counters: Counters;
  /** Stamp of the last entry; stamps only grow. */
  clockMicros: number;
  settings: Settings;
  /** Counts changes of settings. */
  settingsVersion: number;
  /** Group 0's own replicas. */
  own: ShardDescriptor;
  readonly nodes: Map<NodeId, NodeRow>;
  readonly keyspaces: Map<number, KeyspaceDescriptor>;
  readonly shards: Map<GroupId, ShardRow>;
  /** Shards that are no more: a replica of one is an orphan (R34). */
  readonly retired: Set<GroupId>;
  readonly operations: Map<number, OperationRow>;
}

const nothing = new Uint8Array(0);

/** The descriptor of group 0 with these replicas. */
export function ownDescriptor(confVersion: number, replicas: readonly ReplicaDescriptor[]): ShardDescriptor {
  return {
    id: 0,
    keyspace: 0,
    start: nothing,
    end: nothing,
    epoch: { version: 1, confVersion },
    replicas,
  };
}

export function emptyState(): PlacementState {
  return {
    cluster: undefined,
    counters: { node: 1, keyspace: 1, shard: 1, replica: 1, operation: 1 },
    clockMicros: 0,
    settings: defaultSettings,
    settingsVersion: 0,
    own: ownDescriptor(0, []),
    nodes: new Map(),
    keyspaces: new Map(),
    shards: new Map(),
    retired: new Set(),
    operations: new Map(),
  };
}

export function findNode(state: PlacementState, name: string): NodeRow | undefined {
  for (const node of state.nodes.values()) if (node.name === name) return node;
  return undefined;
}

export function findKeyspace(state: PlacementState, name: string): KeyspaceDescriptor | undefined {
  for (const keyspace of state.keyspaces.values()) if (keyspace.name === name) return keyspace;
  return undefined;
}

/** The running operation of a group; there is at most one. */
export function operationOf(state: PlacementState, group: GroupId): OperationRow | undefined {
  for (const operation of state.operations.values()) {
    if (operation.group === group && operation.state === "running") return operation;
  }
  return undefined;
}
