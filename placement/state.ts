import {
  type ClusterId,
  defaultSettings,
  type Epoch,
  type Frozen,
  type GroupId,
  type KeyspaceDescriptor,
  type Membership,
  type MergedInto,
  type NodeId,
  type Partition,
  type ReplicaDescriptor,
  type ReplicaId,
  type ReplicaSite,
  type Settings,
  type ShardDescriptor,
  type SplitChild,
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
  /** Draining: while this has not passed, its being down starts no repair. */
  readonly drainUntilMicros?: number;
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
 * configuration. `turn`, `caughtUp` and `gone` order nothing: they wait until the nodes concerned may have
 * another move, these replicas have the leader's log, those have been destroyed.
 */
export type Step =
  | { readonly kind: "turn" }
  | { readonly kind: "transfer"; readonly to: ReplicaId }
  /** None of these may lead, where another voter can. */
  | { readonly kind: "handOver"; readonly from: readonly ReplicaId[] }
  | {
      readonly kind: "conf";
      readonly changes: readonly MemberStep[];
      readonly joint: boolean;
      readonly added: readonly ReplicaSite[];
    }
  | { readonly kind: "caughtUp"; readonly replicas: readonly ReplicaId[] }
  | { readonly kind: "gone"; readonly replicas: readonly ReplicaSite[] }
  /** The leader says where; then a `split` step takes this one's place. */
  | { readonly kind: "suggest"; readonly by: "size" | "load"; readonly ways: number }
  /** Children begin at the boundaries; the parent keeps what is before the first. Void at another epoch (R6). */
  | {
      readonly kind: "split";
      readonly expected: Epoch;
      readonly boundaries: readonly Uint8Array[];
      readonly children: readonly SplitChild[];
    }
  /** The shard stands still, until all its replicas have that in their logs; then a `merge` step follows. */
  | { readonly kind: "freeze" }
  /** The target takes it over. Void at another epoch of the target (R6). */
  | {
      readonly kind: "merge";
      readonly expected: Epoch;
      readonly source: ShardDescriptor;
      readonly frozen: Frozen;
    }
  /** The first half of a roll-back: the target moves on from `version`, so that no merge can come any more. */
  | { readonly kind: "seal"; readonly version: number }
  /** The other half: the shard goes on, at a version above this one. */
  | { readonly kind: "thaw"; readonly version: number };

export const operationKinds = [
  "transfer_leader",
  "placement_voters",
  "leave_joint",
  "move_replica",
  "repair",
  "remove_learner",
  "replica_count",
  "merge",
  "split",
] as const;
export type OperationKind = (typeof operationKinds)[number];

export type OperationState = "running" | "done" | "failed" | "cancelled";
export const operationStates: readonly OperationState[] = ["running", "done", "failed", "cancelled"];

/** What an operation moves, for limits and for those who look. */
export interface MoveInfo {
  /** Absent: a replica more. */
  readonly from?: NodeId;
  /** Absent: a replica less. */
  readonly to?: NodeId;
  /** Estimated when it was planned. */
  readonly bytes: number;
}

/** Work on one group, logged whole, with every id, before anything of it is sent (R32). */
export interface OperationRow {
  readonly id: number;
  readonly kind: OperationKind;
  readonly group: GroupId;
  readonly reason: string;
  readonly steps: readonly Step[];
  /** A merge: the shard that takes over `group`'s range. Nothing else may be at work on that one either. */
  readonly target?: GroupId;
  /** A merge that is taken back: how it will end, and why. */
  readonly rollback?: { readonly state: "failed" | "cancelled"; readonly detail: string };
  readonly move?: MoveInfo;
  /** The job it is a part of. */
  readonly job?: number;
  /** Gives way to what somebody asks for; only where its end at any moment is a whole state. */
  readonly background?: true;
  /** Index of the step under way. */
  readonly at: number;
  readonly stepStartedMicros: number;
  readonly state: OperationState;
  readonly startedMicros: number;
  readonly finishedMicros?: number;
  /** Why it failed or was cancelled. */
  readonly detail?: string;
}

export const taskStates = ["waiting", "running", "done", "failed"] as const;
export type TaskState = (typeof taskStates)[number];
export const taskActions = ["move", "transfer_leader"] as const;
export type TaskAction = (typeof taskActions)[number];

/** One planned step of a job: becomes an operation when its turn comes. */
export interface Task {
  readonly action: TaskAction;
  readonly shard: GroupId;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly reason: string;
  readonly bytes: number;
  readonly state: TaskState;
  readonly attempts: number;
  /** The operation that carries it out now, or did last. */
  readonly operation?: number;
  /** Why it failed, the last time it did. */
  readonly detail?: string;
}

export const jobKinds = [
  "update_node",
  "drain",
  "undrain",
  "decommission",
  "recommission",
  "rebalance",
  "scatter",
  "delete_keyspace",
] as const;
export type JobKind = (typeof jobKinds)[number];

/** Work on many groups; ids are of one series with the operations'. */
export interface JobRow {
  readonly id: number;
  readonly kind: JobKind;
  readonly reason: string;
  readonly node?: NodeId;
  /** Whose replicas must be gone (delete_keyspace), or the one that is scattered. */
  readonly shards: readonly GroupId[];
  /** What there was to do at the beginning: leaders to give away, replicas to move or destroy. */
  readonly total: number;
  readonly tasks: readonly Task[];
  /** The plan it carries out. */
  readonly plan?: string;
  readonly state: OperationState;
  readonly startedMicros: number;
  readonly finishedMicros?: number;
  readonly detail?: string;
}

/** Why something was done to a shard; the last ones are kept. */
export interface Decision {
  readonly atMicros: number;
  readonly kind: string;
  readonly reason: string;
}

/** An admin request that was carried out under an idempotency key, with its answer. */
export interface OnceRow {
  readonly key: string;
  /** Order of coming. */
  readonly sequence: number;
  readonly atMicros: number;
  readonly fingerprint: string;
  readonly status: number;
  readonly body: unknown;
  /** What the command gave, such as the operation's id. */
  readonly value: number;
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
  /** Names of deleted nodes, for those who look at what was. */
  readonly formerNodes: Map<NodeId, string>;
  readonly keyspaces: Map<number, KeyspaceDescriptor>;
  readonly shards: Map<GroupId, ShardRow>;
  /** Shards that are no more: a replica of one is an orphan (R34). */
  readonly retired: Set<GroupId>;
  /** Those of them that another took over. */
  readonly merged: Map<GroupId, MergedInto>;
  readonly operations: Map<number, OperationRow>;
  readonly jobs: Map<number, JobRow>;
  /** The last decisions about each shard, oldest first. */
  readonly decisions: Map<GroupId, readonly Decision[]>;
  readonly once: Map<string, OnceRow>;
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
    formerNodes: new Map(),
    keyspaces: new Map(),
    shards: new Map(),
    retired: new Set(),
    merged: new Map(),
    operations: new Map(),
    jobs: new Map(),
    decisions: new Map(),
    once: new Map(),
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
    const works = operation.group === group || operation.target === group;
    if (works && operation.state === "running") return operation;
  }
  return undefined;
}

/** The running job about a node; there is at most one. */
export function jobOf(state: PlacementState, node: NodeId): JobRow | undefined {
  for (const job of state.jobs.values()) if (job.node === node && job.state === "running") return job;
  return undefined;
}

/** Groups with a replica on the node, placement's own included. */
export function groupsOn(state: PlacementState, node: NodeId): GroupId[] {
  const held = (descriptor: ShardDescriptor): boolean => descriptor.replicas.some((r) => r.nodeId === node);
  const shards = [...state.shards.values()].filter((row) => held(row.descriptor));
  return [...(held(state.own) ? [0] : []), ...shards.map((row) => row.descriptor.id)];
}
