import type { GroupId, NodeId, ReplicaId } from "#proto";
import type { ConfChange, ConfState, Entry, ProgressStatus, Refusal, Role } from "#raft/core";
import type { OverlayBatch, Range } from "#storage";

/**
 * Brings another group's replica here up to the entry at `index`, which is committed and in its log here, and
 * ends it: whose rows it had is decided by the entry being applied. `leftover`: rows that become nobody's.
 * @throws InvariantError where there is no such replica or entry: this node must not go on (R11)
 */
export type Absorb = (
  group: GroupId,
  at: { readonly index: number; readonly term: number },
  leftover: readonly Range[],
) => void;

/**
 * What a group's log is applied to: a shard or placement. Everything is synchronous and deterministic: the
 * same entries give the same rows on every replica (R38). No input of a user may make `apply` throw (R12);
 * it throws only for what must stop the replica (R11).
 */
export interface StateMachine {
  /** Joins the commands that waited for this group in one turn into one entry's data; called on leaders. */
  encodeEntry(commands: readonly Uint8Array[]): Uint8Array;
  /**
   * Applies a normal entry with data (the empty entries of elections do not come here). Reads through `tx`
   * see all that was applied before. `absorb` is for the duration of the call. @returns one result per command
   * of the entry, in order
   */
  apply(entry: Entry, tx: OverlayBatch, absorb: Absorb): readonly unknown[];
  /**
   * The groups that the entry just applied has made out of this one, each given once: the host writes their
   * first states into the same batch and opens them (R5).
   */
  takeBirths?(): readonly Birth[];
  /**
   * A committed configuration change. False voids it: another epoch was expected (R6), the configuration
   * stays. `conf` is what it would become; descriptors are written in `tx`.
   */
  applyConfChange(entry: Entry, change: ConfChange, conf: ConfState, tx: OverlayBatch): boolean;
  /**
   * Groups that have ended in this one: where its state comes by a snapshot, what is left of them goes with the
   * state it replaces.
   */
  absorbed?(): readonly GroupId[];
  /** All rows that make up the state, for snapshots; the host's own applied row is not among them. */
  snapshotRanges(): readonly Range[];
  /** Reads what is kept in memory from the engine: at opening, and after a snapshot was installed. */
  load(): void;
  /** The node of a replica of this group, learners included; undefined when not (or no longer) known. */
  nodeOf(replica: ReplicaId): NodeId | undefined;
  /** After a turn in which role, term or known leader changed. */
  leadershipChanged(view: GroupView): void;
  /** The replica leaves this node: drop timers and answer whatever waits. */
  closed(): void;
}

/** Makes the state machine of a group that is opened, created, or met in a message. */
export interface StateMachineFactory {
  /** Undefined: this node will not have such a group. */
  make(group: GroupId, replica: ReplicaId): StateMachine | undefined;
}

export interface GroupView {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly role: Role;
  readonly term: number;
  /** The leader's replica and node; undefined when none is known. */
  readonly leaderReplica: ReplicaId | undefined;
  readonly leaderNode: NodeId | undefined;
  readonly applied: number;
  readonly commit: number;
  readonly lastIndex: number;
  readonly conf: ConfState;
  readonly quiesced: boolean;
  /**
   * A leader's: its configuration stands for good, whatever crashes. Before that, replicas that have left it may
   * still be needed, and must not be destroyed (R10). True on others.
   */
  readonly settled: boolean;
  /** Since when no leader is known, monotonic ms; undefined while one is. */
  readonly leaderlessSinceMs: number | undefined;
  /** The leader's view of its peers; empty on others. */
  readonly progress: ReadonlyMap<ReplicaId, ProgressStatus>;
}

/**
 * What became of a proposal. `applied`: `result` is what `apply` returned for it. `refused`: never appended.
 * `dropped`: appended, then overwritten by another leader's entry, so never applied. `unknown`: this replica
 * can no longer tell (a snapshot jumped over it, the replica closed).
 */
export type ProposeOutcome =
  | { readonly kind: "applied"; readonly result: unknown; readonly index: number }
  | {
      readonly kind: "refused";
      readonly reason: Refusal | "no_replica" | "stopped";
      readonly leaderNode?: NodeId;
    }
  | { readonly kind: "dropped" }
  | { readonly kind: "unknown" };

/** `ready`: everything acknowledged before the read was asked is applied here now (R18). */
export type ReadOutcome =
  | { readonly kind: "ready" }
  | {
      readonly kind: "refused";
      readonly reason: Refusal | "no_replica" | "stopped" | "timeout";
      readonly leaderNode?: NodeId;
    };

/** First replica of a group, from placement's logged order (R5): nothing of it is decided here. */
export interface ReplicaInit {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly conf: ConfState;
  /** Fixed first state: the log begins behind this index and term. */
  readonly index: number;
  readonly term: number;
  /** Rows of the state machine at that index (its descriptor). */
  readonly rows: (tx: OverlayBatch) => void;
}

/** A group made by a split: what the parent's entry says of it, and where its rows lie. */
export interface Birth extends Omit<ReplicaInit, "replica"> {
  /** This node's replica; undefined: the node is to have none. */
  readonly replica: ReplicaId | undefined;
  /** Rows that were the parent's and are the child's: cleared where this node is not to have it (any more). */
  readonly ranges: readonly Range[];
}

/** The host as the state machines and services of a node use it. */
export interface GroupHost {
  readonly nodeId: NodeId;
  /** Asks this replica, as leader, to commit `command`; it shares an entry with others of the same turn. */
  propose(group: GroupId, command: Uint8Array, done: (outcome: ProposeOutcome) => void): void;
  proposeConfChange(group: GroupId, change: ConfChange, done: (outcome: ProposeOutcome) => void): void;
  /**
   * A linearizable read point, taken on leader or follower (ReadIndex, batched per turn). With `lease` a
   * leader holding its lease answers without a quorum round (R17). Runs `done` in a turn, once.
   */
  read(
    group: GroupId,
    options: { readonly lease: boolean; readonly timeoutMs: number },
    done: (outcome: ReadOutcome) => void,
  ): void;
  /** R19, in ms; undefined when unknown: then read by ReadIndex instead. */
  stalenessMs(group: GroupId): number | undefined;
  transferLeader(group: GroupId, to: ReplicaId): void;
  campaign(group: GroupId): void;
  view(group: GroupId): GroupView | undefined;
  groups(): readonly GroupId[];
  /** Creates and syncs a first replica; `done` after the sync. `exists` and `tombstone` change nothing. */
  create(init: ReplicaInit, done: (result: "created" | "exists" | "tombstone") => void): void;
  /** Removes a replica for good: a synced tombstone first, then its rows in slices (R34, R13). */
  destroy(group: GroupId, done: () => void): void;
  /**
   * Forgets the log up to what is applied now, as far as R9 allows; who needs it then gets a snapshot of the
   * present state. `done(false)`: there is no replica here that could, now.
   */
  compact(group: GroupId, done: (compacted: boolean) => void): void;
  /** Nodes this host considers gone, by its own link (R21). */
  suspected(node: NodeId): boolean;
}
