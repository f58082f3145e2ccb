import { invariant } from "#runtime";
import { changeConf, isJoint } from "./conf-change.ts";
import { decodeConfChange } from "./conf-codec.ts";
import { RaftLog } from "./log.ts";
import { Progress } from "./progress.ts";
import { jointVote, majorityValue } from "./quorum.ts";
import { ReadQueue, type ReadRequest } from "./reads.ts";
import type {
  ConfChange,
  ConfState,
  CoreConfig,
  Entry,
  HardState,
  Message,
  ReadState,
  Refusal,
  Role,
} from "./types.ts";

/** Reads one leader holds back or has under way at once; beyond it they are refused. */
const MAX_WAITING_READS = 16_384;

type Mutable<T> = { -readonly [Field in keyof T]: T[Field] };

/** A message that is being made; `send` fills in the sender, and the term where none is given. */
export type Draft = Omit<Mutable<Message>, "from" | "term"> & { term?: number };

/**
 * The state of one replica and what every role does with it: sending, counting, changing roles. What a role
 * does with a message stands in leader.ts, follower.ts and candidate.ts; what comes in and goes out, in
 * core.ts. Nothing here performs I/O: messages and writes pile up until the host takes them.
 */
export class Raft {
  readonly config: CoreConfig;
  readonly id: number;
  readonly log: RaftLog;

  // Figure 2, persistent state besides the log.
  term: number;
  vote: number;

  role: Role = "follower";
  /** The leader of `term`, 0 when unknown. */
  lead = 0;
  conf: ConfState;
  /** Every member, learners and this replica included, by ascending id. */
  peers: readonly Progress[] = [];
  readonly #byId = new Map<number, Progress>();
  #voters: readonly Progress[] = [];
  #outgoing: readonly Progress[] = [];
  /** Answers to the (pre-)vote under way. */
  readonly votes: Map<number, boolean> = new Map();

  /** Followers, candidates: ticks since the last sign of the leader. Leaders: since the last check-quorum. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  electionTimeout = 0;

  /** Leaders: whom leadership is being handed to (thesis 3.10), 0 for nobody. */
  transferTarget = 0;
  /** R17: after a TimeoutNow another may lead at any moment, so no lease is held for the rest of the term. */
  sentTimeoutNow = false;
  /** Leaders: no configuration change is proposed before this index is applied. */
  pendingConfIndex = 0;
  /** Leaders: data bytes of entries appended and not yet applied, an under-estimate after an election. */
  uncommittedBytes = 0;
  readonly reads: ReadQueue = new ReadQueue();
  /** Leaders: reads that came before anything was committed in this term, with the term they came from. */
  postponedReads: { readonly request: ReadRequest; readonly confirmed: boolean }[] = [];

  /** The host's monotonic clock at the last input that carried it. */
  nowMs: number = Number.NEGATIVE_INFINITY;
  /** R17: last moment the leader was heard, at whatever term. Survives elections and forgetting. */
  contactMs: number = Number.NEGATIVE_INFINITY;
  /** R17: this replica, its log and its earlier lives included, has never followed a leader. */
  neverLed: boolean;

  /** May leave before anything is durable. */
  messages: Message[] = [];
  /** Wait until all that is unwritten or being written now is durable; some are to this replica itself. */
  afterWrite: Message[] = [];
  readStates: ReadState[] = [];
  #scratch: number[] = [];

  constructor(config: CoreConfig) {
    this.config = config;
    this.id = config.id;
    const { hardState, conf } = config.storage.initialState();
    this.log = new RaftLog(config.storage, config.maxCommittedBytesPerReady);
    this.term = hardState.term;
    this.vote = hardState.vote;
    this.neverLed = hardState.term === 0;
    this.conf = conf;
    this.#adoptConf(conf, new Set());
    invariant(hardState.commit <= this.log.last, "the durable commit is within the durable log");
    invariant(config.applied <= this.log.last, "what is applied is within the durable log");
    // The commit index on disk may be behind both: it is written along with other things, unsynced.
    this.log.commitTo(Math.max(hardState.commit, config.applied));
    if (config.applied > this.log.applied) this.log.appliedTo(config.applied, 0);
    this.becomeFollower(this.term, 0);
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  get self(): Progress | undefined {
    return this.#byId.get(this.id);
  }

  peer(id: number): Progress | undefined {
    return this.#byId.get(id);
  }

  isVoter(id: number): boolean {
    return this.conf.voters.includes(id) || this.conf.outgoing.includes(id);
  }

  /** Whether this replica is the only one that votes. */
  get isLoneVoter(): boolean {
    return this.conf.voters.length === 1 && this.conf.voters[0] === this.id && !isJoint(this.conf);
  }

  /** May become leader: a voter that is not about to install a snapshot. */
  get promotable(): boolean {
    const self = this.self;
    return self !== undefined && !self.isLearner && !this.log.hasSnapshot();
  }

  // ---- Sending

  /** Queues a message; answers that promise something durable wait for the write (R2, section 3.8). */
  send(draft: Draft): void {
    // In place: messages are most of what a group allocates.
    const message = draft as Mutable<Message>;
    message.from = this.id;
    message.term = draft.term ?? this.term;
    switch (message.kind) {
      case "appendResponse":
      case "voteResponse":
      case "preVoteResponse":
        this.afterWrite.push(message);
        return;
      default:
        invariant(message.to !== this.id, "nobody writes to himself but through his own disk");
        this.messages.push(message);
    }
  }

  /** Sends what the receiver answers with its send time, for leases and staleness (R17). */
  #sendStamped(draft: Draft): void {
    if (this.config.leaseMs > 0 && this.nowMs !== Number.NEGATIVE_INFINITY) draft.sentAtMs = this.nowMs;
    this.send(draft);
  }

  /** Sends what `peer` lacks, at least the commit index. */
  sendAppend(peer: Progress): void {
    this.maybeSendAppend(peer, true);
  }

  /** Sends an append if flow control allows, an empty one only `ifEmpty`. True when something was sent. */
  maybeSendAppend(peer: Progress, ifEmpty: boolean): boolean {
    if (peer.paused) return false;
    const previous = peer.next - 1;
    const previousTerm = this.log.term(previous);
    if (previousTerm === undefined) return this.#sendSnapshot(peer);
    let entries: readonly Entry[] | undefined = [];
    // Into a full window only empty appends go: if all that filled it was lost, they find out.
    if (peer.state !== "Replicate" || !peer.inflights.full) {
      entries = this.log.entriesFrom(peer.next, this.config.maxEntriesBytesPerMessage);
      if (entries === undefined) return this.#sendSnapshot(peer);
    }
    if (entries.length === 0 && !ifEmpty) return false;
    const commit = this.log.committed;
    this.#sendStamped({
      kind: "append",
      to: peer.id,
      index: previous,
      logTerm: previousTerm,
      entries,
      commit,
    });
    peer.sentEntries(entries.length, dataBytes(entries));
    peer.sentCommit = commit;
    return true;
  }

  #sendSnapshot(peer: Progress): boolean {
    // To one that does not answer it would only be made in vain.
    if (!peer.recentActive) return false;
    const snapshot = this.log.snapshot();
    if (snapshot === undefined) return false;
    peer.becomeSnapshot(snapshot.index);
    this.send({ kind: "snapshot", to: peer.id, snapshot });
    return true;
  }

  broadcastAppend(): void {
    for (const peer of this.peers) if (peer.id !== this.id) this.maybeSendAppend(peer, true);
  }

  /** See `lazyCommit`: a pending configuration change is waited for by those who would follow it. */
  get commitsAtOnce(): boolean {
    return this.config.lazyCommit !== true || this.pendingConfIndex > this.log.applied;
  }

  /** Tells the commit index to those who have the entries and do not know it yet. */
  shareCommit(): void {
    for (const peer of this.peers) {
      if (peer.id !== this.id && peer.canBumpCommit(this.log.committed)) this.sendAppend(peer);
    }
  }

  broadcastHeartbeat(): void {
    const read = this.reads.waitingNumber;
    for (const peer of this.peers) {
      if (peer.id === this.id) continue;
      // Never above what is known to match there: the rest of its log may be another's.
      const commit = Math.min(peer.match, this.log.committed);
      const heartbeat: Draft = { kind: "heartbeat", to: peer.id, commit };
      if (read > 0) heartbeat.context = String(read);
      this.#sendStamped(heartbeat);
      peer.sentCommit = commit;
    }
  }

  // ---- Counting

  #quorumValue(of: (peer: Progress) => number): number {
    const incoming = this.#majorityOf(this.#voters, of);
    return this.#outgoing.length === 0 ? incoming : Math.min(incoming, this.#majorityOf(this.#outgoing, of));
  }

  #majorityOf(peers: readonly Progress[], of: (peer: Progress) => number): number {
    const values = this.#scratch;
    values.length = peers.length;
    for (let at = 0; at < peers.length; at++) values[at] = of(peers[at] as Progress);
    return majorityValue(values);
  }

  /** Figure 2, leaders: commits what a quorum has, if it is of this term. */
  maybeCommit(): boolean {
    const index = this.#quorumValue(matchOf);
    return this.log.maybeCommit(Math.min(index, this.log.last), this.term);
  }

  /** The latest read batch that a quorum has confirmed. */
  confirmedRead(): number {
    const own = this.reads.lastNumber;
    return this.#quorumValue((peer) => (peer.id === this.id ? own : peer.confirmedRead));
  }

  /** R17, R19: send time of the latest messages of this term that a quorum has answered. */
  confirmedMs(): number {
    if (this.role !== "leader") return Number.NEGATIVE_INFINITY;
    return this.#quorumValue((peer) => (peer.id === this.id ? this.nowMs : peer.answeredSentAtMs));
  }

  quorumActive(): boolean {
    return this.#tally((peer) => peer.recentActive) === "won";
  }

  #tally(has: (peer: Progress) => boolean): "won" | "lost" | "pending" {
    return jointVote(this.conf.voters, this.conf.outgoing, (id) => {
      const peer = this.#byId.get(id);
      return peer !== undefined && has(peer);
    });
  }

  voteOutcome(): "won" | "lost" | "pending" {
    return jointVote(this.conf.voters, this.conf.outgoing, (id) => this.votes.get(id));
  }

  /** Thesis 6.4: only then does the leader know that its commit index is not behind its predecessors'. */
  committedInTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }

  /** R17. False, too, before the first commit of the term: what is committed is not known until then. */
  leaseHeld(nowMs: number): boolean {
    if (this.config.leaseMs === 0 || this.role !== "leader" || this.sentTimeoutNow) return false;
    if (!this.committedInTerm()) return false;
    const confirmed = this.isLoneVoter ? nowMs : this.confirmedMs();
    return nowMs - confirmed < this.config.leaseMs;
  }

  // ---- Roles

  #reset(term: number): void {
    if (this.term !== term) {
      this.term = term;
      this.vote = 0;
    }
    this.lead = 0;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.electionTimeout = this.config.drawElectionTicks();
    this.transferTarget = 0;
    this.sentTimeoutNow = false;
    this.votes.clear();
    const last = this.log.last;
    for (const peer of this.peers) peer.restart(last + 1, peer.id === this.id ? last : 0);
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.reads.clear();
    this.postponedReads = [];
  }

  becomeFollower(term: number, lead: number): void {
    this.#reset(term);
    this.role = "follower";
    this.lead = lead;
  }

  becomePreCandidate(): void {
    invariant(this.role !== "leader", "a leader steps down before it campaigns");
    // Neither term nor vote changes (thesis 9.6).
    this.votes.clear();
    this.lead = 0;
    this.role = "preCandidate";
  }

  becomeCandidate(): void {
    invariant(this.role !== "leader", "a leader steps down before it campaigns");
    this.#reset(this.term + 1);
    this.vote = this.id;
    this.role = "candidate";
  }

  becomeLeader(): void {
    invariant(this.role === "candidate", "only a candidate is elected");
    const self = this.self;
    invariant(self !== undefined, "a leader is a member");
    this.#reset(this.term);
    this.role = "leader";
    this.lead = this.id;
    this.neverLed = false;
    self.becomeReplicate();
    self.recentActive = true;
    // There may be a configuration change among the entries taken over; none is proposed before they are applied.
    this.pendingConfIndex = this.log.last;
    // Section 8 / thesis 6.4: an entry of its own term, so that it learns what is committed.
    this.appendOwn([{ kind: "normal", data: noData }]);
  }

  /** The leader of this term was heard. */
  heardLeader(lead: number): void {
    this.electionElapsed = 0;
    this.lead = lead;
    this.contactMs = this.nowMs;
    this.neverLed = false;
  }

  // ---- The leader's own log

  /** Appends on the leader. False: over the limit of uncommitted bytes, nothing was appended. */
  appendOwn(drafts: readonly Pick<Entry, "kind" | "data">[]): boolean {
    let bytes = 0;
    for (const draft of drafts) bytes += draft.data.length;
    const limit = this.config.maxUncommittedBytes;
    // One oversize proposal passes when nothing waits; empty entries always do (elections, leaving joint).
    if (limit > 0 && bytes > 0 && this.uncommittedBytes > 0 && this.uncommittedBytes + bytes > limit) {
      return false;
    }
    this.uncommittedBytes += bytes;
    let index = this.log.last;
    const term = this.term;
    this.log.append(drafts.map(({ kind, data }) => ({ index: ++index, term, kind, data })));
    // R2: the leader counts itself by this message, which comes back once the append is durable.
    this.send({ kind: "appendResponse", to: this.id, index });
    return true;
  }

  /** Proposes on the leader: appends and sends, or refuses without a trace. */
  propose(drafts: readonly Pick<Entry, "kind" | "data">[]): "ok" | Refusal {
    if (this.self === undefined) return "not_leader";
    if (this.transferTarget !== 0) return "transferring";
    let pending = this.pendingConfIndex;
    const blanked: Pick<Entry, "kind" | "data">[] = [];
    for (const [at, draft] of drafts.entries()) {
      const refusal = draft.kind === "conf" ? this.#confRefusal(draft.data, pending) : undefined;
      if (refusal !== undefined && this.config.validateConfChanges) {
        if (this.config.invalidConfChange !== "blank") return refusal;
        blanked.push({ kind: "normal", data: noData });
        continue;
      }
      if (draft.kind === "conf") pending = this.log.last + at + 1;
      blanked.push(draft);
    }
    if (!this.appendOwn(blanked)) return "uncommitted_limit";
    this.pendingConfIndex = pending;
    this.broadcastAppend();
    return "ok";
  }

  /** Thesis 4.1, 4.3: one change at a time, and only such as the configuration can take. */
  #confRefusal(data: Uint8Array, pending: number): Refusal | undefined {
    if (pending > this.log.applied) return "conf_change_pending";
    try {
      changeConf(this.conf, decodeConfChange(data));
      return undefined;
    } catch {
      return "conf_change_invalid";
    }
  }

  // ---- Applying

  /** The host applied up to `index`. */
  appliedTo(index: number, bytes: number): void {
    const applied = Math.max(index, this.log.applied);
    this.log.appliedTo(applied, bytes);
    if (this.role !== "leader" || !this.conf.autoLeave || applied < this.pendingConfIndex) return;
    // While leadership is being handed over this is refused; it is tried again at the next entry applied.
    this.propose([{ kind: "conf", data: noData }]);
  }

  reduceUncommitted(bytes: number): void {
    this.uncommittedBytes = Math.max(0, this.uncommittedBytes - bytes);
  }

  /** Section 7, receiver: true when the log was replaced by the snapshot. */
  restore(snapshot: { readonly index: number; readonly term: number; readonly conf: ConfState }): boolean {
    if (snapshot.index <= this.log.committed) return false;
    const { voters, learners, outgoing } = snapshot.conf;
    // A snapshot without this replica in it was made for another.
    if (![voters, learners, outgoing].some((ids) => ids.includes(this.id))) return false;
    if (this.log.matches(snapshot.index, snapshot.term)) {
      this.log.commitTo(snapshot.index);
      return false;
    }
    this.log.restore(snapshot);
    this.#byId.clear();
    this.#adoptConf(snapshot.conf, new Set());
    return true;
  }

  applyConfChange(change: ConfChange): ConfState {
    const { conf, renewed } = changeConf(this.conf, change);
    this.#adoptConf(conf, renewed);
    const self = this.self;
    if (this.role !== "leader") return conf;
    if (self === undefined || self.isLearner) {
      if (this.config.stepDownOnRemoval) this.becomeFollower(this.term, 0);
      return conf;
    }
    // A smaller quorum may have more committed; new members are probed at once.
    if (this.maybeCommit()) this.broadcastAppend();
    else for (const peer of this.peers) if (peer.id !== this.id) this.maybeSendAppend(peer, false);
    if (this.transferTarget !== 0 && !this.isVoter(this.transferTarget)) this.transferTarget = 0;
    return conf;
  }

  #adoptConf(conf: ConfState, renewed: ReadonlySet<number>): void {
    this.conf = conf;
    const learners = new Set(conf.learners);
    const ids = new Set([...conf.voters, ...conf.outgoing, ...conf.learners]);
    for (const id of this.#byId.keys()) if (!ids.has(id) || renewed.has(id)) this.#byId.delete(id);
    for (const id of ids) {
      const known = this.#byId.get(id);
      if (known !== undefined) known.isLearner = learners.has(id);
      else this.#byId.set(id, this.#newcomer(id, learners.has(id)));
    }
    this.peers = [...this.#byId.values()].sort((a, b) => a.id - b.id);
    this.#voters = this.peers.filter((peer) => conf.voters.includes(peer.id));
    this.#outgoing = this.peers.filter((peer) => conf.outgoing.includes(peer.id));
  }

  #newcomer(id: number, isLearner: boolean): Progress {
    const { maxInflightMessages, maxInflightBytes } = this.config;
    const peer = new Progress(
      id,
      Math.max(this.log.last, 1),
      isLearner,
      maxInflightMessages,
      maxInflightBytes,
    );
    // Else check-quorum might depose the leader before the newcomer could say a word.
    peer.recentActive = true;
    return peer;
  }

  // ---- Reads

  /** ReadIndex on the leader; `confirmed`: its arrival already shows that a quorum follows (R18). */
  read(request: ReadRequest, confirmed: boolean): "ok" | "ignored" | Refusal {
    if (
      this.reads.has(request) ||
      this.postponedReads.some(({ request: other }) => sameRead(other, request))
    ) {
      return "ignored";
    }
    if (this.reads.size + this.postponedReads.length >= MAX_WAITING_READS) return "read_not_ready";
    if (!this.committedInTerm()) {
      this.postponedReads.push({ request, confirmed });
      return "ok";
    }
    this.#serveRead(request, confirmed);
    return "ok";
  }

  #serveRead(request: ReadRequest, confirmed: boolean): void {
    if (confirmed || this.isLoneVoter || this.#readsByLease()) this.answerRead(request, this.log.committed);
    else if (this.reads.add(request, this.log.committed)) this.broadcastHeartbeat();
  }

  #readsByLease(): boolean {
    if (this.config.readOnly !== "lease") return false;
    return this.config.leaseMs === 0 || this.leaseHeld(this.nowMs);
  }

  /** The term's first commit: now the reads that came before it can be answered. */
  releasePostponedReads(): void {
    if (this.postponedReads.length === 0 || !this.committedInTerm()) return;
    const postponed = this.postponedReads;
    this.postponedReads = [];
    for (const { request, confirmed } of postponed) this.#serveRead(request, confirmed);
  }

  answerRead(request: ReadRequest, index: number): void {
    if (request.from === this.id) this.readStates.push({ context: request.context, index });
    else {
      // It waits for this commit index: with `lazyCommit` it may not have heard of it.
      const asker = this.peer(request.from);
      if (asker !== undefined && !this.commitsAtOnce && asker.canBumpCommit(index)) this.sendAppend(asker);
      this.send({ kind: "readIndexResponse", to: request.from, index, context: request.context });
    }
  }
}

const noData = new Uint8Array(0);

function matchOf(peer: Progress): number {
  return peer.match;
}

function sameRead(a: ReadRequest, b: ReadRequest): boolean {
  return a.from === b.from && a.context === b.context;
}

export function dataBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.data.length;
  return bytes;
}
