import type { BootId, GroupId, NodeId, ReplicaId } from "#proto";
import type { ConfChange, ConfState, Core, ProgressStatus, Ready, Role } from "#raft/core";
import type { LogStore } from "./log-store.ts";
import type { Settling } from "./settling.ts";
import type { GroupView, ReadOutcome, StateMachine } from "./types.ts";
import { type ProposeDone, Waiters } from "./waiters.ts";

export type ReadDone = (outcome: ReadOutcome) => void;

export interface QueuedCommand {
  readonly command: Uint8Array;
  readonly done: ProposeDone;
}

export interface ReadWaiter {
  readonly done: ReadDone;
  readonly lease: boolean;
  readonly deadlineMs: number;
}

/** Reads that share one ReadIndex round; none joins it once it was asked (R18). */
export interface SentRead {
  readonly waiters: readonly ReadWaiter[];
  readonly sentAtMs: number;
}

export interface ConfirmedRead extends SentRead {
  readonly index: number;
}

/** A removed member that is sent the log up to the entry that removed it (R10). */
export interface Farewell {
  readonly node: NodeId;
  /** The entry that removed it. */
  readonly index: number;
  readonly sinceMs: number;
  /** What it is known to have. */
  match: number;
}

/** Members of a group are few; more senders than this are not remembered. */
const learnedNodesMax = 16;

/** The empty map every non-leader shows. */
const noProgress: ReadonlyMap<ReplicaId, ProgressStatus> = new Map();

/** One replica of one group on this node: its core, its log, its state machine and who waits for them. */
export class Group implements GroupView {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly core: Core;
  readonly log: LogStore;
  readonly machine: StateMachine;

  commands: QueuedCommand[] = [];
  confChanges: { readonly change: ConfChange; readonly done: ProposeDone }[] = [];
  readonly waiters: Waiters = new Waiters();

  readsQueued: ReadWaiter[] = [];
  readonly readsSent: Map<string, SentRead> = new Map();
  readsConfirmed: ConfirmedRead[] = [];
  /** R19: our own clock when the last answered ReadIndex was asked. */
  confirmedMs: number | undefined;

  /** Sleeping groups get no ticks (R20). */
  quiesced = false;
  /** Set on a sleeping leader: nodes that were gone and not known to be level. */
  asleepWithout: ReadonlySet<NodeId> = new Set();
  /** Asked to sleep and not where the leader believes: its next heartbeat response says so. */
  differs = false;
  /** Last input that was not a mere heartbeat, monotonic ms. */
  busyAtMs: number;
  /** The boot of the process the present leader was last heard from. */
  leaderBoot: BootId | undefined;

  leaderlessSinceMs: number | undefined;
  seenRole: Role = "follower";
  seenTerm = 0;
  seenLeader: ReplicaId = 0;

  /** Taken from the core and not yet advanced. */
  ready: Ready | undefined;
  /** A snapshot is being installed: nothing is stepped or read meanwhile (R4). */
  installing = false;
  closed = false;
  dirty = false;
  /** Indexes of snapshots under way to followers: compaction stays below (R9). */
  readonly snapshotsOut: Map<ReplicaId, number> = new Map();
  /** Where senders said they are, for replicas the state machine does not know yet. */
  readonly #learnedNodes: Map<ReplicaId, NodeId> = new Map();
  /** R10: since when a joint configuration is in force that only an order leaves, monotonic ms. */
  jointSinceMs: number | undefined;
  /** R10: on the leader under which members left, until they are needed no more. */
  settling: Settling | undefined;
  /** R10: members that were removed under this leader and may not know it yet. */
  readonly farewells: Map<ReplicaId, Farewell> = new Map();

  constructor(parts: {
    readonly group: GroupId;
    readonly replica: ReplicaId;
    readonly core: Core;
    readonly log: LogStore;
    readonly machine: StateMachine;
    readonly nowMs: number;
  }) {
    this.group = parts.group;
    this.replica = parts.replica;
    this.core = parts.core;
    this.log = parts.log;
    this.machine = parts.machine;
    this.busyAtMs = parts.nowMs;
    this.leaderlessSinceMs = parts.nowMs;
  }

  get role(): Role {
    return this.core.role;
  }

  get term(): number {
    return this.core.term;
  }

  get leaderReplica(): ReplicaId | undefined {
    return this.core.leader === 0 ? undefined : this.core.leader;
  }

  get leaderNode(): NodeId | undefined {
    return this.core.leader === 0 ? undefined : this.nodeOf(this.core.leader);
  }

  get applied(): number {
    return this.log.applied.index;
  }

  get commit(): number {
    return this.core.commit;
  }

  get lastIndex(): number {
    return this.core.lastIndex;
  }

  get conf(): ConfState {
    return this.core.conf;
  }

  get settled(): boolean {
    return this.core.role !== "leader" || (this.settling === undefined && this.core.committedInTerm);
  }

  get progress(): ReadonlyMap<ReplicaId, ProgressStatus> {
    return this.core.role === "leader" ? this.core.status().progress : noProgress;
  }

  nodeOf(replica: ReplicaId): NodeId | undefined {
    return this.machine.nodeOf(replica) ?? this.#learnedNodes.get(replica);
  }

  /**
   * Whether a message of this replica may come from `node`: a replica never moves, and what the state machine
   * says counts more than what a packet says (R1).
   */
  acceptsFrom(replica: ReplicaId, node: NodeId): boolean {
    const known = this.machine.nodeOf(replica);
    if (known !== undefined) return known === node;
    if (this.#learnedNodes.get(replica) === node) return true;
    if (this.#learnedNodes.size >= learnedNodesMax) this.#learnedNodes.clear();
    this.#learnedNodes.set(replica, node);
    return true;
  }

  /** R5: without a configuration it has never had a first state, and must not vote. */
  get initialised(): boolean {
    return this.core.conf.voters.length > 0;
  }

  /** All members of the active configuration, learners included. */
  members(): Set<ReplicaId> {
    const { voters, outgoing, learners, learnersNext } = this.core.conf;
    return new Set([...voters, ...outgoing, ...learners, ...learnersNext]);
  }

  /** Does anything of ours wait for this group? */
  get hasWork(): boolean {
    return (
      this.commands.length > 0 ||
      this.confChanges.length > 0 ||
      this.readsQueued.length > 0 ||
      this.readsSent.size > 0 ||
      this.readsConfirmed.length > 0 ||
      this.waiters.size > 0
    );
  }

  /**
   * Takes out everything that waits. @returns what tells them so: reads and what was not appended are
   * refused, of what was appended this replica can no longer tell
   */
  abandon(reason: "no_replica" | "stopped"): (() => void)[] {
    const refused = { kind: "refused", reason } as const;
    const answers: (() => void)[] = [...(this.settling?.answers ?? [])];
    this.settling = undefined;
    for (const { done } of [...this.commands, ...this.confChanges]) answers.push(() => done(refused));
    for (const waiter of this.waiters.takeAll()) {
      for (const done of waiter.done) answers.push(() => done({ kind: "unknown" }));
    }
    const reads = [
      ...this.readsQueued,
      ...[...this.readsSent.values()].flatMap((read) => read.waiters),
      ...this.readsConfirmed.flatMap((read) => read.waiters),
    ];
    for (const { done } of reads) answers.push(() => done(refused));
    this.commands = [];
    this.confChanges = [];
    this.readsQueued = [];
    this.readsSent.clear();
    this.readsConfirmed = [];
    return answers;
  }
}
