import { invariant, unreachable } from "#runtime";
import { changeConf, confProblem, isJoint } from "./conf-change.ts";
import { encodeConfChange } from "./conf-codec.ts";
import { campaignIfAllowed } from "./election.ts";
import { reportSnapshot, reportUnreachable, tickLeader, transferTo } from "./leader.ts";
import { dataBytes, Raft } from "./raft.ts";
import { propose, receive, stepMessage, tickFollower } from "./step.ts";
import {
  type AppendAck,
  type ConfChange,
  type ConfState,
  type CoreConfig,
  type CoreStatus,
  type Entry,
  entryBytes,
  type HardState,
  type Input,
  type Message,
  type ProgressStatus,
  type ReadState,
  type Ready,
  type Role,
  type SnapshotMeta,
  type StepResult,
} from "./types.ts";

const noMessages: readonly Message[] = [];
const noReads: readonly ReadState[] = [];

/** Committed entries handed out for applying. */
interface Applying {
  readonly index: number;
  readonly entryBytes: number;
  readonly dataBytes: number;
}

/** A Ready taken and not yet advanced. */
interface Outstanding {
  readonly ready: Ready;
  readonly ack: AppendAck;
  readonly applying: Applying | undefined;
}

/**
 * One replica's Raft algorithm as a state machine: `step` takes an input to its end, `takeReady` hands out
 * the duties that have piled up. It does no I/O and knows no clock or chance but what the inputs and the
 * configuration bring, so the same inputs always give the same duties.
 *
 * Synchronous storage: `takeReady`, do the duties in the order `Ready` says, `advance`; one Ready at a time,
 * but inputs may be stepped meanwhile. With `asyncStorage` several Readys may be out; each write and each
 * apply is acknowledged by an input.
 *
 * A group that the host lets sleep is simply not ticked; the core does not notice.
 */
export class Core {
  readonly #raft: Raft;
  readonly #async: boolean;
  /** Last hard state handed out, and the last known to be durable. */
  #handedOut: HardState;
  #durable: HardState;
  #outstanding: Outstanding | undefined;
  /** Async storage: what is being applied, in order. */
  #applying: Applying[] = [];

  /** @throws InvariantError when the configuration or the durable state cannot be right */
  constructor(config: CoreConfig) {
    checkConfig(config);
    this.#raft = new Raft(config);
    this.#async = config.asyncStorage;
    this.#handedOut = this.#raft.hardState;
    this.#durable = this.#handedOut;
  }

  // ---- What is cheap to ask

  get id(): number {
    return this.#raft.id;
  }

  get role(): Role {
    return this.#raft.role;
  }

  get term(): number {
    return this.#raft.term;
  }

  /** 0 when unknown. */
  get leader(): number {
    return this.#raft.lead;
  }

  get commit(): number {
    return this.#raft.log.committed;
  }

  get applied(): number {
    return this.#raft.log.applied;
  }

  /** Last entry of the log, durable or not; after an `ok` proposal on the leader, the proposal's last. */
  get lastIndex(): number {
    return this.#raft.log.last;
  }

  /** Last entry that is known to be durable here. */
  get stableIndex(): number {
    return this.#raft.log.stable;
  }

  get conf(): ConfState {
    return this.#raft.conf;
  }

  /** Whom leadership is being handed to; 0 for nobody. */
  get transferTarget(): number {
    return this.#raft.transferTarget;
  }

  /** R17: no other leader can have been elected until now, by the clock of the inputs' `nowMs`. */
  leaseHeld(nowMs: number): boolean {
    return this.#raft.leaseHeld(nowMs);
  }

  /**
   * R19: when, on the leader's clock, its latest messages of this term were sent that a quorum has answered;
   * −Infinity when there are none, on other roles, and without `leaseMs`.
   */
  get confirmedMs(): number {
    return this.#raft.config.leaseMs > 0 ? this.#raft.confirmedMs() : Number.NEGATIVE_INFINITY;
  }

  /** Whether the leader has committed an entry of its term, without which it answers no read. */
  get committedInTerm(): boolean {
    return this.#raft.role === "leader" && this.#raft.committedInTerm();
  }

  /**
   * R20: a leader with nothing to do: every member has everything, all is committed and applied, nothing is
   * being read, changed or handed over.
   */
  get isLevel(): boolean {
    const raft = this.#raft;
    const last = raft.log.last;
    if (raft.role !== "leader" || raft.transferTarget !== 0 || isJoint(raft.conf)) return false;
    if (raft.log.committed !== last || raft.log.applied !== last) return false;
    if (raft.reads.size > 0 || raft.postponedReads.length > 0) return false;
    return raft.peers.every((peer) => peer.match === last && peer.state === "Replicate");
  }

  /** A snapshot was accepted that no Ready has handed out yet. */
  get hasPendingSnapshot(): boolean {
    return this.#raft.log.unwrittenSnapshot() !== undefined;
  }

  status(): CoreStatus {
    const raft = this.#raft;
    const progress = new Map<number, ProgressStatus>();
    if (raft.role === "leader") for (const peer of raft.peers) progress.set(peer.id, peer.status());
    return {
      id: raft.id,
      role: raft.role,
      term: raft.term,
      vote: raft.vote,
      leader: raft.lead,
      commit: raft.log.committed,
      applied: raft.log.applied,
      firstIndex: raft.log.firstIndex(),
      lastIndex: raft.log.last,
      conf: raft.conf,
      transferTarget: raft.transferTarget,
      progress,
    };
  }

  // ---- Inputs

  /** Takes one input to its end. A refusal has changed nothing. */
  step(input: Input): StepResult {
    const raft = this.#raft;
    // A clock that went back would lengthen leases.
    if ("nowMs" in input && input.nowMs > raft.nowMs) raft.nowMs = input.nowMs;
    switch (input.kind) {
      case "tick":
        if (raft.role === "leader") tickLeader(raft);
        else tickFollower(raft);
        return "ok";
      case "message":
        return receive(raft, input.message);
      case "propose":
        return propose(
          raft,
          input.data.map((data) => ({ kind: "normal", data })),
        );
      case "proposeConfChange":
        return propose(raft, [{ kind: "conf", data: encodeConfChange(input.change) }]);
      case "campaign":
        return this.#campaign();
      case "transferLeader":
        return this.#transfer(input.to);
      case "readIndex":
        return this.#read(input.context);
      case "reportUnreachable":
        return reportUnreachable(raft, input.id);
      case "reportSnapshot":
        return reportSnapshot(raft, input.id, input.ok);
      case "forgetLeader":
        return this.#forgetLeader();
      case "wake":
        raft.electionElapsed = 0;
        raft.heartbeatElapsed = raft.config.heartbeatTicks;
        return "ok";
      case "contact":
        if (raft.role !== "follower" || raft.lead === 0) return "ignored";
        raft.contactMs = raft.nowMs;
        return "ok";
      case "appended":
        return this.#appended(input.ack);
      case "applied":
        return this.#appliedAsync(input.index);
      default:
        return unreachable(input);
    }
  }

  #campaign(): StepResult {
    const raft = this.#raft;
    if (!raft.promotable) return "not_voter";
    return campaignIfAllowed(raft, raft.config.preVote ? "preVote" : "vote") ? "ok" : "ignored";
  }

  #transfer(to: number): StepResult {
    const raft = this.#raft;
    if (raft.role === "leader") return transferTo(raft, to);
    if (raft.role !== "follower" || raft.lead === 0) return "no_leader";
    raft.send({ kind: "transferLeader", to: raft.lead, index: to });
    return "ok";
  }

  #read(context: string): StepResult {
    const raft = this.#raft;
    if (raft.role === "leader") return raft.read({ from: raft.id, context }, false);
    if (raft.role !== "follower" || raft.lead === 0) return "no_leader";
    raft.send({ kind: "readIndex", to: raft.lead, context });
    return "ok";
  }

  /** The leader is known to be gone: votes need not wait for the timeout. Leases are respected all the same. */
  #forgetLeader(): StepResult {
    const raft = this.#raft;
    // Without R17's leases, lease reads rest on followers not forgetting.
    const leaseRests = raft.config.readOnly === "lease" && raft.config.leaseMs === 0;
    if (raft.role !== "follower" || raft.lead === 0 || leaseRests) return "ignored";
    raft.lead = 0;
    return "ok";
  }

  /** With `lazyCommit`: followers are told the commit index now. Does nothing on other roles. */
  shareCommit(): void {
    if (this.#raft.role === "leader") this.#raft.shareCommit();
  }

  // ---- Configuration

  /** What the configuration would become; for the host's checks at apply (R6). Changes nothing. */
  previewConfChange(change: ConfChange): ConfState {
    return changeConf(this.#raft.conf, change).conf;
  }

  /**
   * The host applies a committed `conf` entry: from now on the configuration it gives is in force here. To
   * void the entry, do not call this. Call it when the entry is applied, before its `advance` or `applied`.
   * Nothing happens if a snapshot has come meanwhile: its configuration is newer than the entry.
   * @throws ConfChangeError when the change is impossible
   */
  applyConfChange(change: ConfChange): ConfState {
    if (this.#raft.log.hasSnapshot()) return this.#raft.conf;
    return this.#raft.applyConfChange(change);
  }

  // ---- Duties

  hasReady(): boolean {
    const raft = this.#raft;
    return (
      raft.messages.length > 0 ||
      raft.afterWrite.length > 0 ||
      raft.readStates.length > 0 ||
      raft.log.hasUnwritten() ||
      raft.log.hasCommitted(!this.#async) ||
      raft.log.unwrittenSnapshot() !== undefined ||
      raft.term !== this.#handedOut.term ||
      raft.vote !== this.#handedOut.vote ||
      raft.log.committed !== this.#handedOut.commit
    );
  }

  /** Takes the duties that have piled up; they must be done. With synchronous storage, one at a time. */
  takeReady(): Ready {
    const raft = this.#raft;
    invariant(this.#outstanding === undefined, "the last Ready is advanced before the next is taken");
    const hardState = this.#changedHardState();
    const append = raft.log.unwritten();
    const snapshot = raft.log.unwrittenSnapshot();
    const committed = raft.log.nextCommitted(!this.#async);
    const stableIndex = Math.min(raft.log.stable, (append[0]?.index ?? Number.POSITIVE_INFINITY) - 1);
    const { sendNow, sendAfterSync, toSelf } = this.#takeMessages();
    const votes = hardState !== undefined && !sameTermAndVote(hardState, this.#handedOut);
    if (hardState !== undefined) this.#handedOut = hardState;
    const readStates = raft.readStates.length > 0 ? raft.readStates : noReads;
    if (readStates !== noReads) raft.readStates = [];
    raft.reads.close();
    raft.log.acceptWrite();
    const ack = this.#makeAck(snapshot, toSelf);
    const applying = this.#startApplying(committed);
    // Filled in rather than spread together: this runs for every group in every turn.
    const ready: { -readonly [Field in keyof Ready]: Ready[Field] } = {
      append,
      sendNow,
      sendAfterSync,
      committed,
      stableIndex,
      readStates,
      mustSync: append.length > 0 || votes || snapshot !== undefined,
    };
    if (hardState !== undefined) ready.hardState = hardState;
    if (snapshot !== undefined) ready.snapshot = snapshot;
    const waits = sendAfterSync.length > 0 || toSelf.length > 0;
    const writes = append.length > 0 || hardState !== undefined || snapshot !== undefined;
    if (this.#async && (writes || waits)) ready.appendAck = ack;
    if (!this.#async) this.#outstanding = { ready, ack, applying };
    else if (applying !== undefined) this.#applying.push(applying);
    return ready;
  }

  #changedHardState(): HardState | undefined {
    const now = this.#raft.hardState;
    if (sameTermAndVote(now, this.#handedOut) && now.commit === this.#handedOut.commit) return undefined;
    return now;
  }

  /**
   * R2. Until the term and vote are durable nothing leaves that could not be said after a crash, not even
   * what would else leave at once.
   */
  #takeMessages(): {
    readonly sendNow: readonly Message[];
    readonly sendAfterSync: readonly Message[];
    readonly toSelf: readonly Message[];
  } {
    const raft = this.#raft;
    const messages = raft.messages.length > 0 ? raft.messages : noMessages;
    const afterWrite = raft.afterWrite.length > 0 ? raft.afterWrite : noMessages;
    // What is handed out is the host's: nothing more may be pushed onto it.
    if (messages !== noMessages) raft.messages = [];
    if (afterWrite !== noMessages) raft.afterWrite = [];
    const toSelf = afterWrite.filter((message) => message.to === raft.id);
    const toOthers =
      toSelf.length === 0 ? afterWrite : afterWrite.filter((message) => message.to !== raft.id);
    if (sameTermAndVote(raft, this.#durable)) return { sendNow: messages, sendAfterSync: toOthers, toSelf };
    return { sendNow: noMessages, sendAfterSync: messages.concat(toOthers), toSelf };
  }

  #makeAck(snapshot: SnapshotMeta | undefined, toSelf: readonly Message[]): AppendAck {
    const { log, term } = this.#raft;
    const unstable = log.hasUnstable();
    return {
      // The last entry at all, not only of this write: an earlier acknowledgement may have been void.
      index: unstable ? log.last : 0,
      term: unstable ? log.lastTerm() : 0,
      snapshotIndex: snapshot?.index ?? 0,
      coreTerm: term,
      hardState: this.#handedOut,
      toSelf,
    };
  }

  #startApplying(committed: readonly Entry[]): Applying | undefined {
    const last = committed.at(-1);
    if (last === undefined) return undefined;
    let bytes = 0;
    for (const entry of committed) bytes += entryBytes(entry);
    this.#raft.log.acceptApplying(last.index, bytes, !this.#async);
    return { index: last.index, entryBytes: bytes, dataBytes: dataBytes(committed) };
  }

  /** The duties of `ready` are done (synchronous storage). */
  advance(ready: Ready): void {
    const outstanding = this.#outstanding;
    invariant(outstanding !== undefined && outstanding.ready === ready, "what is advanced is what was taken");
    this.#outstanding = undefined;
    this.#acknowledge(outstanding.ack);
    if (outstanding.applying !== undefined) this.#finishApplying(outstanding.applying);
  }

  #appended(ack: AppendAck): StepResult {
    if (!this.#async) return "ignored";
    this.#acknowledge(ack);
    return "ok";
  }

  #acknowledge(ack: AppendAck): void {
    const raft = this.#raft;
    this.#durable = ack.hardState;
    for (const message of ack.toSelf) stepMessage(raft, message);
    // Under another term an entry may have been replaced and put back meanwhile, with the replacement still
    // on its way to the disk (ABA): then only a later write's acknowledgement counts.
    if (ack.index > 0 && ack.coreTerm === raft.term) raft.log.stableTo(ack.index, ack.term);
    if (ack.snapshotIndex > 0) {
      raft.log.snapshotInstalled(ack.snapshotIndex);
      raft.appliedTo(ack.snapshotIndex, 0);
    }
  }

  #appliedAsync(index: number): StepResult {
    if (!this.#async) return "ignored";
    while (this.#applying[0] !== undefined && this.#applying[0].index <= index) {
      this.#finishApplying(this.#applying.shift() as Applying);
    }
    return "ok";
  }

  #finishApplying({ index, entryBytes: bytes, dataBytes: data }: Applying): void {
    this.#raft.appliedTo(index, bytes);
    this.#raft.reduceUncommitted(data);
  }
}

function sameTermAndVote(a: Pick<HardState, "term" | "vote">, b: Pick<HardState, "term" | "vote">): boolean {
  return a.term === b.term && a.vote === b.vote;
}

function checkConfig(config: CoreConfig): void {
  invariant(Number.isSafeInteger(config.id) && config.id > 0, "a replica id is a positive safe integer");
  invariant(config.heartbeatTicks > 0, "heartbeatTicks is positive");
  invariant(config.electionTicks > config.heartbeatTicks, "electionTicks is above heartbeatTicks");
  invariant(config.maxInflightMessages > 0, "maxInflightMessages is positive");
  invariant(config.maxCommittedBytesPerReady > 0, "maxCommittedBytesPerReady is positive");
  invariant(
    config.maxInflightBytes === 0 || config.maxInflightBytes >= config.maxEntriesBytesPerMessage,
    "maxInflightBytes holds at least one message",
  );
  invariant(config.readOnly !== "lease" || config.checkQuorum, "lease reads need checkQuorum");
  const problem = confProblem(config.storage.initialState().conf);
  invariant(problem === undefined, `the stored configuration is sound: ${problem}`);
}
