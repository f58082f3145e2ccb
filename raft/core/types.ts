/**
 * The vocabulary of the Raft core: what goes in (`Input`), what comes out (`Ready`), and what crosses the
 * wire (`Message`). Indexes, terms and ids are safe integers; index 0 and term 0 mean "none", replica id 0
 * means "nobody". The model is etcd's raft; names follow the Raft paper.
 * @module
 */

/** One membership change: `voter` adds or promotes, `learner` adds or demotes, `remove` removes. */
export interface MemberChange {
  readonly kind: "voter" | "learner" | "remove";
  readonly id: number;
}

/**
 * A configuration change entry (etcd's ConfChangeV2). Empty `changes` leaves a joint configuration.
 * - `auto`: simple for one change, else joint with automatic leave
 * - `implicit`: joint with automatic leave · `explicit`: joint, left by a later empty change
 */
export interface ConfChange {
  readonly transition: "auto" | "implicit" | "explicit";
  readonly changes: readonly MemberChange[];
  /** Opaque to the core; the host keeps replica descriptors and expected epochs here. */
  readonly context: Uint8Array;
}

/** An active configuration, each list sorted ascending. `outgoing` is non-empty exactly while joint. */
export interface ConfState {
  readonly voters: readonly number[];
  readonly outgoing: readonly number[];
  readonly learners: readonly number[];
  readonly learnersNext: readonly number[];
  readonly autoLeave: boolean;
}

/** A log entry. `conf` data is an encoded ConfChange (`encodeConfChange`); empty normal data is a no-op. */
export interface Entry {
  readonly index: number;
  readonly term: number;
  readonly kind: "normal" | "conf";
  readonly data: Uint8Array;
}

/** What must survive a crash besides the log. `commit` may be behind after a restart. */
export interface HardState {
  readonly term: number;
  readonly vote: number;
  readonly commit: number;
}

/** Where a snapshot stands; its data travels outside the core. */
export interface SnapshotMeta {
  readonly index: number;
  readonly term: number;
  readonly conf: ConfState;
}

export type MessageKind =
  | "append"
  | "appendResponse"
  | "heartbeat"
  | "heartbeatResponse"
  | "vote"
  | "voteResponse"
  | "preVote"
  | "preVoteResponse"
  | "snapshot"
  | "propose"
  | "timeoutNow"
  | "transferLeader"
  | "readIndex"
  | "readIndexResponse"
  | "forgetLeader";

/** Bytes an entry counts for in message and Ready limits: its data and what surrounds it. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + 16;
}

/** One Raft message between two replicas of a group. Fields not named by a kind are absent. */
export interface Message {
  readonly kind: MessageKind;
  readonly from: number;
  readonly to: number;
  readonly term: number;
  /**
   * append: the previous entry's; votes: the last entry's; appendResponse: hinted term on rejection;
   * vote responses that reject: that of the entry at `commit`.
   */
  readonly logTerm?: number;
  /**
   * append: the previous entry's; votes: the last entry's; appendResponse: acknowledged or rejected;
   * readIndexResponse: to wait for; transferLeader: the id of the replica that shall lead.
   */
  readonly index?: number;
  readonly entries?: readonly Entry[];
  readonly commit?: number;
  readonly reject?: boolean;
  /** appendResponse with `reject`: where the follower's log could match (fast backtracking). */
  readonly rejectHint?: number;
  readonly snapshot?: SnapshotMeta;
  /** heartbeat and its response: the leader's read batch; readIndex and its response: the asker's id (R18). */
  readonly context?: string;
  /** vote, preVote: this campaign follows the leader's own TimeoutNow (exempt from leases, R17). */
  readonly transfer?: boolean;
  /** append, heartbeat: leader's monotonic send time in ms, echoed in the response; carries leases (R17). */
  readonly sentAtMs?: number;
}

/** A read whose index is known: serve it once `index` is applied here. `context` is the asker's id. */
export interface ReadState {
  readonly context: string;
  readonly index: number;
}

/** The host's durable log, as the core reads it: synchronous, stable entries only. */
export interface LogReader {
  initialState(): { readonly hardState: HardState; readonly conf: ConfState };
  /** First entry still there; the snapshot's index + 1 right after a compaction or an install. */
  firstIndex(): number;
  lastIndex(): number;
  /** Term of `index`, firstIndex − 1 included; undefined when compacted or beyond the end. */
  term(index: number): number | undefined;
  /** Entries in [low, high), at least one, else as many as fit `maxBytes`; undefined when compacted. */
  entries(low: number, high: number, maxBytes: number): readonly Entry[] | undefined;
  /** The snapshot a lagging follower would get now; undefined when none can be made yet. */
  snapshot(): SnapshotMeta | undefined;
}

export interface CoreConfig {
  readonly id: number;
  readonly storage: LogReader;
  /** Last index the state machine has applied at start. */
  readonly applied: number;
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Draws an election timeout, in ticks: [electionTicks, 2 × electionTicks − 1] in the paper's way. */
  readonly drawElectionTicks: () => number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly readOnly: "safe" | "lease";
  readonly maxEntriesBytesPerMessage: number;
  readonly maxInflightMessages: number;
  /** 0: no limit. */
  readonly maxInflightBytes: number;
  /** Proposals are refused above this many bytes of uncommitted entries; 0: no limit. */
  readonly maxUncommittedBytes: number;
  /** Bytes of committed entries one Ready may carry. */
  readonly maxCommittedBytesPerReady: number;
  readonly forwardProposals: boolean;
  readonly stepDownOnRemoval: boolean;
  /**
   * A rejected (pre-)vote brings the rejecter's commit index, which frees a candidate that cannot win under a
   * configuration that the others have left already (raft-rs does so, etcd does not). Default true.
   */
  readonly commitInVotes?: boolean;
  /**
   * A new commit index is not broadcast at once: it goes with the next append or heartbeat, or before the
   * answer to a follower's read, or when the host says so (`shareCommit`). Spares two messages for each
   * follower and commit (raft-rs has it as skip_bcast_commit). While a configuration change is pending it is
   * broadcast all the same. Default false, as etcd.
   */
  readonly lazyCommit?: boolean;
  readonly validateConfChanges: boolean;
  /**
   * What `validateConfChanges` does with a change that is illegal or comes while another is pending:
   * `refuse` (the default) answers the refusal and appends nothing; `blank` is etcd's way, an empty normal
   * entry in its place.
   */
  readonly invalidConfChange?: "refuse" | "blank";
  /** Etcd's AsyncStorageWrites: append and apply are acknowledged by inputs instead of `advance`. */
  readonly asyncStorage: boolean;
  /**
   * R17. L in ms: leases last this long from send time, and no (pre-)vote is granted within L of the
   * last contact with the leader, nor within an election timeout after the start. 0: off, etcd's in-lease
   * check (election timeout, with checkQuorum) applies instead.
   */
  readonly leaseMs: number;
  /** R17: no vote before this moment of the host's monotonic clock; used only with leaseMs > 0. */
  readonly noVoteBeforeMs: number;
}

/** Everything that can happen to a core. `nowMs` is the host's monotonic clock (R17). */
export type Input =
  | { readonly kind: "tick"; readonly nowMs: number }
  | { readonly kind: "message"; readonly message: Message; readonly nowMs: number }
  | { readonly kind: "propose"; readonly data: readonly Uint8Array[] }
  | { readonly kind: "proposeConfChange"; readonly change: ConfChange }
  | { readonly kind: "campaign"; readonly nowMs: number }
  | { readonly kind: "transferLeader"; readonly to: number; readonly nowMs: number }
  | { readonly kind: "readIndex"; readonly context: string; readonly nowMs: number }
  | { readonly kind: "reportUnreachable"; readonly id: number }
  | { readonly kind: "reportSnapshot"; readonly id: number; readonly ok: boolean }
  | { readonly kind: "forgetLeader" }
  /** The host ticks this core again after a pause (R20): its timers begin anew, a leader beats at the next tick. */
  | { readonly kind: "wake"; readonly nowMs: number }
  /**
   * A follower's node heard from its leader's node over another way (node heartbeats): counts as contact
   * for refusing votes only (R17, R20); it renews no lease and delays no election of one's own.
   */
  | { readonly kind: "contact"; readonly nowMs: number }
  /** Async storage: the write of the Ready that carried `ack` is durable. In order of the Readys. */
  | { readonly kind: "appended"; readonly ack: AppendAck }
  /** Async storage: everything up to `index` is applied; entries that a snapshot has jumped over, too. */
  | { readonly kind: "applied"; readonly index: number };

/**
 * What a Ready's write becomes durable for, made by `takeReady` (async storage) and handed back untouched in
 * an `appended` input once that write, and every earlier one, is durable. It is safe against ABA: the log
 * part counts only if neither the core's term nor the entry's term at `index` has changed meanwhile.
 */
export interface AppendAck {
  /** The last entry handed out for writing so far, 0 for none, and its term. */
  readonly index: number;
  readonly term: number;
  /** The snapshot installed by this write, 0 for none. */
  readonly snapshotIndex: number;
  /** The core's term when the Ready was taken. */
  readonly coreTerm: number;
  /** The hard state that is durable with this write. */
  readonly hardState: HardState;
  /** What the core owes itself: its own vote, its own append (R2). */
  readonly toSelf: readonly Message[];
}

/** Why an input was refused; nothing was changed by it. */
export type Refusal =
  | "no_leader"
  | "not_leader"
  | "not_voter"
  | "uncommitted_limit"
  | "transferring"
  | "conf_change_pending"
  | "conf_change_invalid"
  | "read_not_ready";

export type StepResult = "ok" | "ignored" | Refusal;

/**
 * The host's duties after some inputs (R2). In this order: `sendNow` may leave at once; `hardState`,
 * `append` (replaces stored entries from its first index on) and `snapshot` go to disk in one batch, synced
 * when `mustSync`; then `sendAfterSync` leaves, `committed` is applied, and `advance` is called.
 *
 * Committed entries at or below `stableIndex` were durable here before this Ready: they may be applied and
 * answered before its write. Those above are part of its own `append` and wait for the write (R2).
 */
export interface Ready {
  readonly hardState?: HardState;
  readonly append: readonly Entry[];
  /** To install before `append`: the host has its data already. */
  readonly snapshot?: SnapshotMeta;
  readonly sendNow: readonly Message[];
  readonly sendAfterSync: readonly Message[];
  readonly committed: readonly Entry[];
  /** Last index that was durable here before this Ready, and that this Ready does not replace. */
  readonly stableIndex: number;
  readonly readStates: readonly ReadState[];
  readonly mustSync: boolean;
  /** With `asyncStorage`, whenever there is something to write or to send after it. */
  readonly appendAck?: AppendAck;
}

export type Role = "follower" | "preCandidate" | "candidate" | "leader";

export interface ProgressStatus {
  readonly match: number;
  readonly next: number;
  readonly state: "Probe" | "Replicate" | "Snapshot";
  readonly paused: boolean;
  readonly isLearner: boolean;
  /** Heard of since the last check-quorum round. */
  readonly recentActive: boolean;
  readonly pendingSnapshot: number;
}

export interface CoreStatus {
  readonly id: number;
  readonly role: Role;
  readonly term: number;
  readonly vote: number;
  /** 0 when unknown. */
  readonly leader: number;
  readonly commit: number;
  readonly applied: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly conf: ConfState;
  readonly transferTarget: number;
  /** The leader's view of its peers, itself included; empty on others. */
  readonly progress: ReadonlyMap<number, ProgressStatus>;
}
