import {
  type BootId,
  type GroupId,
  groupOfRow,
  groupRow,
  metaTags,
  type NodeId,
  nodeOf,
  type ReplicaId,
} from "#proto";
import {
  type ConfChange,
  ConfChangeError,
  type ConfState,
  Core,
  changeConf,
  decodeConfChange,
  type Entry,
  type Message,
  type Ready,
} from "#raft/core";
import { type Cancel, type Clock, invariant, type Logger, type Random } from "#runtime";
import { type Batch, type Engine, OverlayBatch } from "#storage";
import type { Sender, Transport, TransportEvent } from "#transport";
import { compactionTarget } from "./compaction.ts";
import { confChangeProblem } from "./conf-guard.ts";
import type { HostLimits, HostTiming } from "./config.ts";
import { coreConfig, type MakeCore } from "./core-config.ts";
import { Group, type ProposeDone, type ReadDone } from "./group.ts";
import { decodeBeat, encodeBeat, Liveness } from "./liveness.ts";
import { LogStore, writeFirstState } from "./log-store.ts";
import { Outbox } from "./outbox.ts";
import { agreesToSleep, planSleep, sleepMessage } from "./quiesce.ts";
import { campaignRank } from "./rank.ts";
import { askReads, confirmRead, ReadIds, retryReads, serveReads } from "./reads.ts";
import { appliedRow, appliedValue, raftBounds, readReplica, replicaRow, replicaValue } from "./rows.ts";
import { installer, markRow, SnapshotReceiver } from "./snapshot-receive.ts";
import { SnapshotSender } from "./snapshot-send.ts";
import { decodeBulk } from "./snapshot-wire.ts";
import type { GroupHost, GroupView, ProposeOutcome, ReplicaInit, StateMachineFactory } from "./types.ts";
import { decodeMessages, type SleepMark } from "./wire.ts";

export interface HostOptions {
  readonly nodeId: NodeId;
  readonly boot: BootId;
  readonly engine: Engine;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly timing: HostTiming;
  readonly limits: HostLimits;
  readonly factory: StateMachineFactory;
  /** Called once, when this node must not go on (R8, R11). Nothing is sent or answered afterwards. */
  readonly onFatal: (error: Error) => void;
  /** After a turn in which a group's role, term or leader changed. */
  readonly onLeadershipChange?: (view: GroupView) => void;
  readonly makeCore?: MakeCore;
}

/** Counters since the start; all only grow. */
export interface HostStats {
  turns: number;
  syncedTurns: number;
  entriesAppended: number;
  entriesApplied: number;
  commandsProposed: number;
  electionsWon: number;
  snapshotsInstalled: number;
  messagesToUnknown: number;
}

interface Incoming {
  readonly sender: Sender;
  readonly group: GroupId;
  readonly message: Message;
  readonly sleep: SleepMark;
}

interface Creation {
  readonly init: ReplicaInit;
  readonly done: (result: "created" | "exists" | "tombstone") => void;
}

type Answer = () => void;

/**
 * Drives all groups of a node in turns: take what arrived, step the groups, gather their Readys, write them
 * in one batch with one sync, send one body per destination, apply, answer. A leader's appends are in the
 * socket before its own sync begins (R16); votes and acknowledgements leave only after theirs (R2).
 */
export class Host implements GroupHost {
  readonly nodeId: NodeId;
  readonly stats: HostStats = {
    turns: 0,
    syncedTurns: 0,
    entriesAppended: 0,
    entriesApplied: 0,
    commandsProposed: 0,
    electionsWon: 0,
    snapshotsInstalled: 0,
    messagesToUnknown: 0,
  };

  readonly #o: HostOptions;
  readonly #groups: Map<GroupId, Group> = new Map();
  readonly #awake: Set<Group> = new Set();
  #dirty: Group[] = [];
  #inbox: Incoming[] = [];
  #creations: Creation[] = [];
  readonly #outbox: Outbox;
  readonly #liveness: Liveness;
  readonly #readIds: ReadIds;
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver;
  /** Campaigns that wait for their place in the order of a group (R20). */
  #campaigns: { readonly group: Group; readonly term: number; ticksLeft: number }[] = [];

  #working = false;
  #scheduled = false;
  #tickDue = false;
  #lastTickMs = 0;
  #sinceHousekeepingTicks = 0;
  #stopped = false;
  #peersDirty = true;
  /** Monotonic ms at which the write under way began; undefined while none is. */
  #writingSinceMs: number | undefined;
  #lastSyncMs = 0;
  #cancelTick: Cancel = () => {};
  #startedMs = 0;
  #draining = false;

  constructor(options: HostOptions) {
    this.#o = options;
    this.nodeId = options.nodeId;
    const { transport, clock, engine, logger, limits, boot } = options;
    this.#outbox = new Outbox(transport, (group, message) => this.#dropped(group, message));
    this.#liveness = new Liveness(clock, transport, options.timing);
    this.#readIds = new ReadIds(boot);
    const onWriteError = (error: Error): void => this.#fatal(error);
    this.#receiver = new SnapshotReceiver({ engine, transport, logger, onWriteError });
    this.#sender = new SnapshotSender({
      engine,
      transport,
      clock,
      logger,
      limits,
      boot,
      finished: (group, to, ok) => this.#snapshotFinished(group, to, ok),
    });
  }

  // ---- life ----

  /** Opens the groups this node has on disk and begins to turn. */
  start(): void {
    const { clock, transport } = this.#o;
    this.#startedMs = clock.nowMs();
    this.#lastTickMs = this.#startedMs;
    this.#lastSyncMs = this.#startedMs;
    for (const group of this.#storedReplicas()) this.#open(group.id, group.replica);
    transport.handle("raft", (from, body) => this.#receive(from, body));
    transport.handle("bulk", (from, body) => this.#receiveBulk(from, body));
    transport.onHeartbeat((from, body) => this.#receiveBeat(from, body));
    transport.onEvent((event) => this.#onTransportEvent(event));
    transport.onBurstEnd(() => this.#turnNow());
    this.#armTick();
    this.#schedule();
  }

  /** Stops for good: no message, write or answer leaves after this. Everything that waits is told so. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#cancelTick();
    this.#sender.close();
    for (const group of this.#groups.values()) {
      group.closed = true;
      group.abandon("stopped");
      group.machine.closed();
    }
    for (const { done } of this.#creations) done("exists");
    this.#groups.clear();
    this.#awake.clear();
  }

  /** As if the process were gone: nothing runs and nobody is told. */
  kill(): void {
    this.#stopped = true;
    this.#cancelTick();
    this.#groups.clear();
    this.#awake.clear();
  }

  /** A draining node gives its leaders away and campaigns only where no other live voter can (R35). */
  drain(): void {
    this.#draining = true;
    for (const group of this.#groups.values()) this.#handOver(group);
  }

  undrain(): void {
    this.#draining = false;
  }

  /** Groups this node still leads although another voter could. */
  get leadersToHandOver(): number {
    let count = 0;
    for (const group of this.#groups.values()) if (this.#successor(group) !== undefined) count += 1;
    return count;
  }

  #storedReplicas(): { id: GroupId; replica: ReplicaId }[] {
    const start = groupRow(metaTags.hostReplica, 0);
    const end = groupRow(metaTags.hostReplica + 1, 0);
    const found: { id: GroupId; replica: ReplicaId }[] = [];
    const { rows } = this.#o.engine.scan({ family: "meta", start, end }, { limit: Number.MAX_SAFE_INTEGER });
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const record = readReplica(rows[i + 1] ?? new Uint8Array(0));
      if (record.state === "live") {
        found.push({ id: groupOfRow(rows[i] ?? new Uint8Array(0)), replica: record.replica });
      }
    }
    return found;
  }

  #open(id: GroupId, replica: ReplicaId): Group | undefined {
    const { engine, clock } = this.#o;
    const machine = this.#o.factory.make(id, replica);
    if (machine === undefined) return undefined;
    this.#finishInstall(id);
    const log = new LogStore(engine, id);
    const config = coreConfig(this.#o, replica, log, this.#startedMs);
    const core = this.#o.makeCore?.(config, id) ?? new Core(config);
    const group = new Group({ group: id, replica, core, log, machine, nowMs: clock.nowMs() });
    machine.load();
    this.#groups.set(id, group);
    this.#awake.add(group);
    this.#peersDirty = true;
    // A lone voter has nobody to wait for.
    const { voters, outgoing } = group.conf;
    if (voters.length === 1 && voters[0] === replica && outgoing.length === 0) this.campaign(id);
    return group;
  }

  /** A crash in the middle of an install left its mark: go on from the staged rows (R4). */
  #finishInstall(id: GroupId): void {
    const { engine, limits } = this.#o;
    if (engine.get("meta", markRow(id)) === undefined) return;
    const next = installer(engine, id, [], limits.sliceRows, (batch) => this.#writeUnsynced(batch));
    while (next());
  }

  // ---- what others ask ----

  propose(id: GroupId, command: Uint8Array, done: ProposeDone): void {
    const group = this.#take(id, done);
    if (group === undefined) return;
    this.stats.commandsProposed += 1;
    group.commands.push({ command, done });
    this.#wakeForWork(group);
  }

  proposeConfChange(id: GroupId, change: ConfChange, done: ProposeDone): void {
    const group = this.#take(id, done);
    if (group === undefined) return;
    group.confChanges.push({ change, done });
    this.#wakeForWork(group);
  }

  read(id: GroupId, options: { readonly lease: boolean; readonly timeoutMs: number }, done: ReadDone): void {
    const group = this.#take(id, done);
    if (group === undefined) return;
    const deadlineMs = this.#o.clock.nowMs() + options.timeoutMs;
    group.readsQueued.push({ done, lease: options.lease, deadlineMs });
    this.#wakeForWork(group);
  }

  #take(
    id: GroupId,
    done: (outcome: { readonly kind: "refused"; readonly reason: "no_replica" | "stopped" }) => void,
  ): Group | undefined {
    const group = this.#groups.get(id);
    if (group !== undefined && !group.installing) return group;
    done({ kind: "refused", reason: this.#stopped ? "stopped" : "no_replica" });
    return undefined;
  }

  #wakeForWork(group: Group): void {
    group.busyAtMs = this.#o.clock.nowMs();
    this.#wake(group);
    this.#markDirty(group);
    this.#schedule();
  }

  stalenessMs(id: GroupId): number | undefined {
    const group = this.#groups.get(id);
    if (group?.confirmedMs === undefined) return undefined;
    const staleness = this.#o.clock.nowMs() - group.confirmedMs;
    // Stale reads keep their bound fresh by asking now and then; nothing else renews it (R19).
    if (
      staleness > this.#o.timing.readRetryMs &&
      group.readsSent.size === 0 &&
      group.readsQueued.length === 0
    ) {
      this.read(id, { lease: false, timeoutMs: this.#o.timing.electionMaxMs }, () => {});
    }
    return staleness;
  }

  transferLeader(id: GroupId, to: ReplicaId): void {
    const group = this.#groups.get(id);
    if (group === undefined || group.installing) return;
    this.#wakeForWork(group);
    group.core.step({ kind: "transferLeader", to, nowMs: this.#o.clock.nowMs() });
  }

  campaign(id: GroupId): void {
    const group = this.#groups.get(id);
    if (group !== undefined) this.#campaignLater(group, 0);
  }

  view(id: GroupId): GroupView | undefined {
    return this.#groups.get(id);
  }

  groups(): readonly GroupId[] {
    return [...this.#groups.keys()];
  }

  suspected(node: NodeId): boolean {
    return node !== this.nodeId && this.#liveness.isSuspected(node);
  }

  /** The last heartbeat of a peer: its wall clock then, and our monotonic clock when it came (R25). */
  beat(node: NodeId): { readonly wallMicros: number; readonly atMs: number } | undefined {
    return this.#liveness.beat(node);
  }

  create(init: ReplicaInit, done: (result: "created" | "exists" | "tombstone") => void): void {
    if (this.#stopped) return done("exists");
    this.#creations.push({ init, done });
    this.#schedule();
  }

  destroy(id: GroupId, done: () => void): void {
    const group = this.#groups.get(id);
    if (group === undefined) return done();
    const ranges = group.machine.snapshotRanges();
    this.#close(group);
    const batch = this.#o.engine.batch();
    batch.put("meta", replicaRow(id), replicaValue({ replica: group.replica, state: "tombstone" }));
    this.#o.engine.write(batch, { sync: true }, (error) => {
      if (error !== undefined) return this.#fatal(error);
      const toClear = [...ranges, { family: "raft" as const, ...raftBounds(id) }];
      this.#clearSlices(id, toClear, done);
    });
  }

  #close(group: Group): void {
    group.closed = true;
    this.#groups.delete(group.group);
    this.#awake.delete(group);
    this.#sender.abort(group);
    this.#receiver.discard(group.group);
    group.abandon("no_replica");
    group.machine.closed();
    this.#peersDirty = true;
  }

  #clearSlices(id: GroupId, ranges: Parameters<Engine["cursor"]>[0][number][], done: () => void): void {
    if (this.#stopped) return;
    const range = ranges[0];
    const batch = this.#o.engine.batch();
    if (range === undefined) {
      batch.delete("meta", appliedRow(id));
      this.#writeUnsynced(batch);
      return done();
    }
    const { rows, finished } = this.#o.engine.scan(range, { limit: this.#o.limits.sliceRows });
    for (let i = 0; i < rows.length; i += 2) batch.delete(range.family, rows[i] ?? new Uint8Array(0));
    if (batch.size > 0) this.#writeUnsynced(batch);
    if (finished) ranges.shift();
    this.#o.clock.soon(() => this.#clearSlices(id, ranges, done));
  }

  // ---- what arrives ----

  #receive(sender: Sender, body: Uint8Array): void {
    if (this.#stopped || nodeOf(sender.address) === undefined) return;
    for (const { group, message, sleep } of decodeMessages(body)) {
      this.#inbox.push({ sender, group, message, sleep });
    }
    this.#schedule();
  }

  #receiveBeat(sender: Sender, body: Uint8Array): void {
    const node = nodeOf(sender.address);
    if (node !== undefined) this.#liveness.onBeat(node, decodeBeat(body));
  }

  #receiveBulk(sender: Sender, body: Uint8Array): void {
    const node = nodeOf(sender.address);
    if (this.#stopped || node === undefined) return;
    const message = decodeBulk(body);
    if (message.kind !== "chunk") return this.#sender.onMessage(message);
    const group = this.#groupFor(message.group, message.from, message.to, node, "snapshot");
    if (group === undefined) return;
    const whole = this.#receiver.onChunk(group, node, message);
    if (whole === undefined) return;
    this.#inbox.push({ sender, group: message.group, message: whole, sleep: "none" });
    this.#schedule();
  }

  #onTransportEvent(event: TransportEvent): void {
    switch (event.kind) {
      case "peer_absent": {
        const node = this.#liveness.absent(event.address);
        if (node !== undefined) this.#nodeLost(node, "absent");
        return;
      }
      case "peer_up": {
        const node = nodeOf(event.peer.address);
        if (node !== undefined) this.#nodeRestarted(node, event.peer.boot);
        return;
      }
      case "connected":
        return this.#reconnected();
      case "disconnected":
        return;
    }
  }

  /** Every reconnect counts as loss: what was under way is probed for again. */
  #reconnected(): void {
    for (const group of this.#awake) {
      if (group.core.role !== "leader") continue;
      for (const id of group.members()) {
        if (id !== group.replica) group.core.step({ kind: "reportUnreachable", id });
      }
    }
  }

  #dropped(id: GroupId, message: Message): void {
    const group = this.#groups.get(id);
    if (group !== undefined) group.core.step({ kind: "reportUnreachable", id: message.to });
  }

  #snapshotFinished(group: Group, to: ReplicaId, ok: boolean): void {
    if (group.closed || this.#stopped) return;
    group.core.step({ kind: "reportSnapshot", id: to, ok });
    this.#wake(group);
    this.#markDirty(group);
    this.#schedule();
  }

  /** The group a message is for; made as an uninitialised learner where R5 allows it. */
  #groupFor(
    id: GroupId,
    from: ReplicaId,
    to: ReplicaId,
    node: NodeId,
    kind: Message["kind"],
  ): Group | undefined {
    const known = this.#groups.get(id);
    if (known !== undefined) {
      if (known.replica !== to) return undefined;
      known.learnedNodes.set(from, node);
      return known;
    }
    const fromLeader = kind === "append" || kind === "heartbeat" || kind === "snapshot";
    if (!fromLeader || this.#creations.some((creation) => creation.init.group === id)) return undefined;
    const stored = this.#o.engine.get("meta", replicaRow(id));
    if (stored !== undefined && readReplica(stored).replica >= to) return undefined;
    const batch = this.#o.engine.batch();
    batch.put("meta", replicaRow(id), replicaValue({ replica: to, state: "live" }));
    this.#writeUnsynced(batch);
    const group = this.#open(id, to);
    if (group === undefined) this.stats.messagesToUnknown += 1;
    else group.learnedNodes.set(from, node);
    return group;
  }

  // ---- liveness, sleep and waking ----

  #armTick(): void {
    this.#cancelTick = this.#o.clock.after(this.#o.timing.tickMs, () => {
      if (this.#stopped) return;
      // R15: the timer only marks; what the sockets hold is read before anything is judged.
      this.#tickDue = true;
      this.#armTick();
      this.#schedule();
    });
  }

  #judgeTick(): void {
    if (!this.#tickDue) return;
    this.#tickDue = false;
    const nowMs = this.#o.clock.nowMs();
    this.#sender.tick(nowMs - this.#lastTickMs);
    this.#lastTickMs = nowMs;
    const { lost, back } = this.#liveness.judge();
    for (const node of lost) this.#nodeLost(node, "silent");
    for (const node of back) this.#nodeBack(node);
    for (const group of this.#awake) this.#tickGroup(group, nowMs);
    this.#runCampaigns();
    this.#sinceHousekeepingTicks += 1;
    if (this.#sinceHousekeepingTicks * this.#o.timing.tickMs >= 1000) this.#housekeep();
  }

  #tickGroup(group: Group, nowMs: number): void {
    if (group.installing) return;
    group.core.step({ kind: "tick", nowMs });
    retryReads(group, this.#readIds, nowMs, this.#o.timing.readRetryMs);
    this.#markDirty(group);
    if (group.core.role === "leader" && nowMs - group.busyAtMs >= this.#o.timing.quiesceAfterMs) {
      this.#sleepIfIdle(group);
    }
  }

  #sleepIfIdle(group: Group): void {
    // A heartbeat of this very tick would wake the follower again.
    if (group.core.hasReady()) return;
    const plan = planSleep(group, (node) => this.suspected(node));
    if (plan === undefined) return;
    for (const to of plan.tell) {
      const node = group.nodeOf(to);
      if (node !== undefined) this.#outbox.add(node, group.group, sleepMessage(group, to), "ask");
    }
    group.asleepWithout = plan.without;
    this.#putToSleep(group);
  }

  #putToSleep(group: Group): void {
    group.quiesced = true;
    group.log.dropCache();
    this.#awake.delete(group);
  }

  #wake(group: Group): void {
    if (!group.quiesced) return;
    group.quiesced = false;
    group.faith = undefined;
    group.asleepWithout = new Set();
    group.busyAtMs = this.#o.clock.nowMs();
    this.#awake.add(group);
    group.core.step({ kind: "wake", nowMs: group.busyAtMs });
    this.#markDirty(group);
  }

  #nodeLost(node: NodeId, why: "absent" | "silent"): void {
    this.#o.logger.info({ node, why }, "a node is suspected");
    for (const group of this.#groups.values()) {
      if (group.core.role === "leader" || group.leaderNode !== node || group.installing) continue;
      this.#forgetAndCampaign(group, why === "absent");
    }
    this.#schedule();
  }

  #nodeBack(node: NodeId): void {
    this.#o.logger.info({ node }, "a suspected node is heard again");
    for (const group of this.#groups.values()) if (group.asleepWithout.has(node)) this.#wake(group);
  }

  /** A new process at a leader's node remembers no leadership: whoever slept on its word wakes (R20). */
  #nodeRestarted(node: NodeId, boot: BootId): void {
    for (const group of this.#groups.values()) {
      if (group.installing || group.core.role === "leader" || group.leaderNode !== node) continue;
      if (group.leaderBoot === undefined || group.leaderBoot === boot) continue;
      this.#forgetAndCampaign(group, true);
    }
    for (const group of this.#groups.values()) if (group.asleepWithout.has(node)) this.#wake(group);
    this.#schedule();
  }

  /** The leader is gone: in the group's own order the voters campaign, one after the other. */
  #forgetAndCampaign(group: Group, now: boolean): void {
    const leader = group.core.leader;
    const asleep = group.quiesced;
    this.#wake(group);
    if (!now && !asleep) return;
    group.core.step({ kind: "forgetLeader" });
    this.#markDirty(group);
    const rank = campaignRank(group, leader, (peer) => this.suspected(peer));
    if (rank !== undefined) this.#campaignLater(group, rank * 3);
  }

  #campaignLater(group: Group, ticks: number): void {
    this.#campaigns.push({ group, term: group.core.term, ticksLeft: ticks });
    this.#schedule();
  }

  #runCampaigns(): void {
    if (this.#campaigns.length === 0) return;
    const waiting = this.#campaigns;
    this.#campaigns = [];
    let begun = 0;
    for (const campaign of waiting) {
      const { group, term } = campaign;
      if (group.closed || group.core.term !== term || group.core.leader !== 0) continue;
      if (campaign.ticksLeft > 0 || begun >= this.#o.limits.campaignsPerTick || group.installing) {
        campaign.ticksLeft -= 1;
        this.#campaigns.push(campaign);
        continue;
      }
      begun += 1;
      this.#wake(group);
      group.core.step({ kind: "campaign", nowMs: this.#o.clock.nowMs() });
      this.#markDirty(group);
    }
  }

  #housekeep(): void {
    this.#sinceHousekeepingTicks = 0;
    if (this.#peersDirty) this.#refreshPeers();
    if (this.#draining) for (const group of this.#groups.values()) this.#handOver(group);
  }

  #refreshPeers(): void {
    this.#peersDirty = false;
    const peers = new Set<NodeId>();
    for (const group of this.#groups.values()) {
      for (const replica of group.members()) {
        const node = group.nodeOf(replica);
        if (node === undefined) this.#peersDirty = true;
        else if (node !== this.nodeId) peers.add(node);
      }
    }
    this.#liveness.setPeers(peers, () => this.#beat());
  }

  /** R8: a node whose disk does not answer keeps silent, so that others take over. */
  #beat(): Uint8Array | undefined {
    if (this.#stopped || this.#writeIsSlow()) return undefined;
    const { clock } = this.#o;
    return encodeBeat({ wallMicros: clock.wallMicros(), sinceSyncMs: clock.nowMs() - this.#lastSyncMs });
  }

  #writeIsSlow(): boolean {
    const since = this.#writingSinceMs;
    return since !== undefined && this.#o.clock.nowMs() - since > this.#o.timing.slowWriteMs;
  }

  #handOver(group: Group): void {
    const to = this.#successor(group);
    if (to !== undefined && group.core.status().transferTarget === 0) this.transferLeader(group.group, to);
  }

  /** The live voter with the longest log, where this node leads and another can. */
  #successor(group: Group): ReplicaId | undefined {
    if (group.core.role !== "leader") return undefined;
    let best: { readonly id: ReplicaId; readonly match: number } | undefined;
    for (const [id, progress] of group.core.status().progress) {
      const node = group.nodeOf(id);
      if (id === group.replica || progress.isLearner || node === undefined || this.suspected(node)) continue;
      if (!group.conf.voters.includes(id)) continue;
      if (best === undefined || progress.match > best.match) best = { id, match: progress.match };
    }
    return best?.id;
  }

  // ---- the turn ----

  #markDirty(group: Group): void {
    if (group.dirty) return;
    group.dirty = true;
    this.#dirty.push(group);
  }

  #schedule(): void {
    if (this.#scheduled || this.#working || this.#stopped) return;
    this.#scheduled = true;
    this.#o.clock.soon(() => {
      this.#scheduled = false;
      this.#turnNow();
    });
  }

  #turnNow(): void {
    if (this.#working || this.#stopped) return;
    this.#working = true;
    try {
      this.#turn();
    } catch (error) {
      this.#fatal(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #turn(): void {
    this.stats.turns += 1;
    this.#takeInbox();
    this.#judgeTick();
    if (this.#campaigns.some((campaign) => campaign.ticksLeft === 0)) this.#runCampaigns();
    const ready = this.#gather();
    const batch = this.#o.engine.batch();
    for (const group of ready) this.#sendNow(group);
    this.#applyAll(ready, "early");
    const mustSync = this.#collectWrites(ready, batch);
    const creations = this.#collectCreations(batch);
    const sent = this.#outbox.flush();
    this.#o.transport.flush();
    if (batch.size === 0) return this.#finishTurn(ready, creations);
    const write = (): void => this.#write(batch, mustSync || creations.length > 0, ready, creations);
    // R16: with something in the socket's way, the sync waits for the next poll; else nothing to wait for.
    if (sent && mustSync) this.#o.clock.soon(() => this.#guarded(write));
    else write();
  }

  #guarded(run: () => void): void {
    if (this.#stopped) return;
    try {
      run();
    } catch (error) {
      this.#fatal(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #write(batch: Batch, sync: boolean, ready: readonly Group[], creations: readonly Creation[]): void {
    const { clock, engine } = this.#o;
    this.#writingSinceMs = clock.nowMs();
    engine.write(batch, { sync }, (error) => {
      if (this.#stopped) return;
      this.#writingSinceMs = undefined;
      if (error !== undefined) return this.#fatal(error);
      if (sync) {
        this.#lastSyncMs = clock.nowMs();
        this.stats.syncedTurns += 1;
      }
      this.#guarded(() => this.#finishTurn(ready, creations));
    });
  }

  #finishTurn(ready: readonly Group[], creations: readonly Creation[]): void {
    for (const group of ready) this.#sendAfterSync(group);
    this.#applyAll(ready, "late");
    for (const group of ready) this.#advance(group);
    for (const group of ready) this.#noteLeadership(group);
    this.#openCreated(creations);
    this.#outbox.flush();
    this.#o.transport.flush();
    this.#working = false;
    if (this.#dirty.length > 0 || this.#inbox.length > 0 || this.#tickDue || this.#creations.length > 0) {
      this.#schedule();
    }
  }

  #takeInbox(): void {
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const incoming of inbox) this.#stepIncoming(incoming);
  }

  #stepIncoming({ sender, group: id, message, sleep }: Incoming): void {
    const node = nodeOf(sender.address);
    if (node === undefined) return;
    const group = this.#groupFor(id, message.from, message.to, node, message.kind);
    if (group === undefined || group.installing) return;
    this.#wakeForMessage(group, message, sleep);
    const nowMs = this.#o.clock.nowMs();
    group.core.step({ kind: "message", message, nowMs });
    if (group.core.leader === message.from && group.core.term === message.term)
      group.leaderBoot = sender.boot;
    if (message.kind === "snapshot") this.#noteSnapshotStepped(group);
    if (sleep === "ask") this.#sleepIfAgreed(group, message, sender);
    this.#markDirty(group);
  }

  #wakeForMessage(group: Group, message: Message, sleep: SleepMark): void {
    const isVote = message.kind === "vote" || message.kind === "preVote";
    if (group.quiesced && isVote) this.#judgeVoteAsleep(group, message);
    if (message.kind !== "heartbeat" && message.kind !== "heartbeatResponse") {
      group.busyAtMs = this.#o.clock.nowMs();
    }
    // A sleeping leader still gets answers to what it sent before: only one that differs wakes it.
    const lateAnswer = message.kind === "heartbeatResponse" && sleep !== "differs";
    if (sleep !== "ask" && !lateAnswer) this.#wake(group);
  }

  /**
   * A sleeping follower was last in touch with its leader when their nodes last were (R17, for refusing
   * only); a campaign of the followed leader itself means that it forgot (R20).
   */
  #judgeVoteAsleep(group: Group, message: Message): void {
    if (group.core.role === "leader") return;
    if (message.from === group.core.leader) {
      group.core.step({ kind: "forgetLeader" });
      return;
    }
    const node = group.leaderNode;
    const heardMs = node === undefined ? undefined : this.#liveness.lastHeardMs(node);
    if (heardMs !== undefined) group.core.step({ kind: "contact", nowMs: heardMs });
  }

  #sleepIfAgreed(group: Group, message: Message, sender: Sender): void {
    if (!agreesToSleep(group, message)) {
      group.differs = true;
      return this.#wake(group);
    }
    group.faith = { leader: message.from, term: message.term, boot: sender.boot };
    this.#putToSleep(group);
  }

  #noteSnapshotStepped(group: Group): void {
    // Without a snapshot among the core's next duties it was refused: the log is ahead of it already.
    if (!group.core.hasPendingSnapshot) this.#receiver.unwanted(group.group);
  }

  /** Steps proposals and reads of dirty groups, then takes their Readys. */
  #gather(): Group[] {
    const dirty = this.#dirty;
    this.#dirty = [];
    const nowMs = this.#o.clock.nowMs();
    const leasesAllowed = !this.#writeIsSlow();
    const ready: Group[] = [];
    for (const group of dirty) {
      group.dirty = false;
      if (group.closed || group.installing) continue;
      this.#stepCommands(group);
      this.#stepConfChanges(group);
      askReads(group, this.#readIds, nowMs, leasesAllowed);
      if (!group.core.hasReady()) {
        serveReads(group);
        this.#noteLeadership(group);
        continue;
      }
      group.ready = group.core.takeReady();
      ready.push(group);
    }
    return ready;
  }

  #stepCommands(group: Group): void {
    while (group.commands.length > 0) {
      const taken = takeUpTo(group.commands, this.#o.limits.maxEntryBytes);
      const data = group.machine.encodeEntry(taken.map((queued) => queued.command));
      const result = group.core.step({ kind: "propose", data: [data] });
      const done = taken.map((queued) => queued.done);
      if (result !== "ok") this.#refuse(group, done, result === "ignored" ? "no_leader" : result);
      else group.waiters.set(group.core.lastIndex, { term: group.core.term, done });
    }
  }

  #stepConfChanges(group: Group): void {
    const changes = group.confChanges;
    group.confChanges = [];
    for (const { change, done } of changes) {
      const problem = this.#confProblem(group, change);
      if (problem !== undefined) {
        this.#o.logger.info({ group: group.group, problem }, "membership change refused");
        this.#refuse(group, [done], "conf_change_invalid");
        continue;
      }
      const result = group.core.step({ kind: "proposeConfChange", change });
      if (result !== "ok") this.#refuse(group, [done], result === "ignored" ? "no_leader" : result);
      else group.waiters.set(group.core.lastIndex, { term: group.core.term, done: [done] });
    }
  }

  #confProblem(group: Group, change: ConfChange): string | undefined {
    if (group.core.role !== "leader") return undefined;
    let next: ConfState;
    try {
      next = changeConf(group.core.conf, change).conf;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return confChangeProblem(group, next, (replica) => {
      const node = group.nodeOf(replica);
      return node !== undefined && !this.suspected(node);
    });
  }

  #refuse(
    group: Group,
    done: readonly ProposeDone[],
    reason: Extract<ProposeOutcome, { kind: "refused" }>["reason"],
  ): void {
    const leaderNode = group.leaderNode;
    const outcome: ProposeOutcome = {
      kind: "refused",
      reason,
      ...(leaderNode === undefined ? {} : { leaderNode }),
    };
    for (const answer of done) answer(outcome);
  }

  #sendNow(group: Group): void {
    for (const message of group.ready?.sendNow ?? []) this.#post(group, message);
  }

  #sendAfterSync(group: Group): void {
    if (group.installing) return;
    for (const message of group.ready?.sendAfterSync ?? []) this.#post(group, message);
  }

  #post(group: Group, message: Message): void {
    const node = group.nodeOf(message.to);
    if (node === undefined) return;
    if (message.kind === "snapshot") return this.#sender.begin(group, node, message);
    const differs = group.differs && message.kind === "heartbeatResponse";
    if (differs) group.differs = false;
    this.#outbox.add(node, group.group, message, differs ? "differs" : "none");
    if (message.kind === "append" && (message.entries?.length ?? 0) > 0)
      group.busyAtMs = this.#o.clock.nowMs();
  }

  #collectWrites(ready: readonly Group[], batch: Batch): boolean {
    let mustSync = false;
    for (const group of ready) {
      const duties = group.ready;
      if (duties === undefined) continue;
      if (duties.snapshot !== undefined) {
        this.#receiver.mark(group.group, batch);
        group.log.reset(batch, duties.snapshot);
        group.installing = true;
      }
      if (duties.append.length > 0) {
        group.log.append(batch, duties.append);
        this.stats.entriesAppended += duties.append.length;
      }
      if (duties.hardState !== undefined) group.log.setHardState(batch, duties.hardState);
      mustSync ||= duties.mustSync || duties.snapshot !== undefined;
      this.#compact(group, batch);
    }
    return mustSync;
  }

  #compact(group: Group, batch: Batch): void {
    if (group.installing) return;
    const { limits } = this.#o;
    const target = compactionTarget(group, limits, (replica) => {
      const node = group.nodeOf(replica);
      return node !== undefined && !this.suspected(node);
    });
    if (target !== undefined) group.log.compact(batch, target, limits.sliceRows);
  }

  /**
   * Applies what is committed. Early: entries that were durable before this turn's write, so that their
   * answers leave before the sync; late: those this turn's write made durable (R2).
   */
  #applyAll(ready: readonly Group[], when: "early" | "late"): void {
    let tx: OverlayBatch | undefined;
    const answers: Answer[] = [];
    for (const group of ready) {
      const duties = group.ready;
      if (duties === undefined || group.installing) continue;
      const entries = partOf(duties, when);
      if (entries.length > 0) {
        tx ??= new OverlayBatch(this.#o.engine);
        this.#applyGroup(group, entries, tx, answers);
      }
      if (when === "early")
        for (const read of duties.readStates) confirmRead(group, read.context, read.index);
    }
    if (tx !== undefined && tx.size > 0) this.#writeUnsynced(tx.batch);
    for (const answer of answers) answer();
    for (const group of ready) if (!group.installing) serveReads(group);
  }

  #applyGroup(group: Group, entries: readonly Entry[], tx: OverlayBatch, answers: Answer[]): void {
    let conf = group.log.applied.conf;
    for (const entry of entries) {
      invariant(entry.index === group.log.applied.index + 1, `group ${group.group}: applied out of order`);
      let results: readonly unknown[] = [];
      if (entry.kind === "conf") {
        const accepted = this.#applyConf(group, entry, tx);
        conf = group.core.conf;
        results = [accepted];
      } else if (entry.data.length > 0) results = group.machine.apply(entry, tx);
      group.log.setApplied({ index: entry.index, term: entry.term, conf });
      this.#answer(group, entry, results, answers);
    }
    this.stats.entriesApplied += entries.length;
    tx.put("meta", appliedRow(group.group), appliedValue(group.log.applied));
  }

  #applyConf(group: Group, entry: Entry, tx: OverlayBatch): boolean {
    const change = decodeConfChange(entry.data);
    const conf = nextConf(group.core, change);
    const accepted = conf !== undefined && group.machine.applyConfChange(entry, change, conf, tx);
    // A void one is simply not put in force; the core's pending change ends as its entry is applied.
    if (accepted) group.core.applyConfChange(change);
    this.#peersDirty = true;
    return accepted;
  }

  #answer(group: Group, entry: Entry, results: readonly unknown[], answers: Answer[]): void {
    const waiter = group.waiters.get(entry.index);
    if (waiter === undefined) return;
    group.waiters.delete(entry.index);
    const { done, term } = waiter;
    if (term !== entry.term) {
      answers.push(() => {
        for (const answer of done) answer({ kind: "dropped" });
      });
      return;
    }
    invariant(
      done.length === results.length,
      `group ${group.group}: an entry's results are not one a command`,
    );
    answers.push(() => {
      for (const [i, answer] of done.entries()) {
        answer({ kind: "applied", result: results[i], index: entry.index });
      }
    });
  }

  #advance(group: Group): void {
    const duties = group.ready;
    if (duties === undefined) return;
    if (group.installing) return this.#install(group, duties);
    group.ready = undefined;
    group.core.advance(duties);
    if (group.core.hasReady()) this.#markDirty(group);
  }

  /** Behind the synced mark: slice after slice, other groups turning in between (R4, R13). */
  #install(group: Group, duties: Ready): void {
    const { clock, limits } = this.#o;
    const next = this.#receiver.installer(group.group, group.machine.snapshotRanges(), limits.sliceRows);
    const slice = (): void => {
      if (this.#stopped || group.closed) return;
      if (next()) return clock.soon(() => this.#guarded(slice));
      this.#installed(group, duties);
    };
    slice();
  }

  #installed(group: Group, duties: Ready): void {
    group.installing = false;
    group.ready = undefined;
    group.machine.load();
    this.stats.snapshotsInstalled += 1;
    this.#peersDirty = true;
    for (const [index, waiter] of [...group.waiters]) {
      if (index > group.applied) continue;
      group.waiters.delete(index);
      for (const answer of waiter.done) answer({ kind: "unknown" });
    }
    for (const message of duties.sendAfterSync) this.#post(group, message);
    this.#receiver.installed(group.group);
    group.core.advance(duties);
    this.#outbox.flush();
    this.#markDirty(group);
    this.#schedule();
  }

  #collectCreations(batch: Batch): readonly Creation[] {
    if (this.#creations.length === 0) return [];
    const waiting = this.#creations;
    this.#creations = [];
    const creations: Creation[] = [];
    for (const creation of waiting) {
      const { group, replica, index, term, conf, rows } = creation.init;
      const stored = this.#o.engine.get("meta", replicaRow(group));
      const record = stored === undefined ? undefined : readReplica(stored);
      if (this.#groups.has(group) || creations.some((other) => other.init.group === group)) {
        creation.done("exists");
      } else if (record !== undefined && record.replica >= replica) {
        creation.done(record.state === "live" ? "exists" : "tombstone");
      } else {
        batch.put("meta", replicaRow(group), replicaValue({ replica, state: "live" }));
        writeFirstState(batch, group, { index, term, conf });
        batch.put("meta", appliedRow(group), appliedValue({ index, term, conf }));
        rows(new OverlayBatch(this.#o.engine, batch));
        creations.push(creation);
      }
    }
    return creations;
  }

  #openCreated(creations: readonly Creation[]): void {
    for (const { init, done } of creations) {
      const group = this.#open(init.group, init.replica);
      if (group !== undefined) this.#markDirty(group);
      done("created");
    }
  }

  #noteLeadership(group: Group): void {
    const { role, term, leader } = group.core;
    if (role === group.seenRole && term === group.seenTerm && leader === group.seenLeader) return;
    if (role === "leader" && group.seenRole !== "leader") this.stats.electionsWon += 1;
    group.seenRole = role;
    group.seenTerm = term;
    group.seenLeader = leader;
    if (leader === 0) group.leaderlessSinceMs ??= this.#o.clock.nowMs();
    else group.leaderlessSinceMs = undefined;
    group.machine.leadershipChanged(group);
    this.#o.onLeadershipChange?.(group);
  }

  #writeUnsynced(batch: Batch): void {
    this.#o.engine.write(batch, { sync: false }, (error) => {
      if (error !== undefined) this.#fatal(error);
    });
  }

  /** R8, R11: this node must not go on with what might not be on disk, or with a log it cannot read. */
  #fatal(error: Error): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#cancelTick();
    this.#o.logger.error({ err: error }, "the node cannot go on");
    this.#o.onFatal(error);
  }
}

/** Undefined for a change that this configuration cannot take (an earlier one was void): void on every replica. */
function nextConf(core: Core, change: ConfChange): ConfState | undefined {
  try {
    return core.previewConfChange(change);
  } catch (error) {
    if (error instanceof ConfChangeError) return undefined;
    throw error;
  }
}

function takeUpTo<T extends { readonly command: Uint8Array }>(queue: T[], maxBytes: number): T[] {
  let bytes = 0;
  let count = 0;
  for (const { command } of queue) {
    bytes += command.length;
    if (count > 0 && bytes > maxBytes) break;
    count += 1;
  }
  return queue.splice(0, count);
}

function partOf(duties: Ready, when: "early" | "late"): readonly Entry[] {
  const firstNew = duties.append[0]?.index ?? Number.POSITIVE_INFINITY;
  if (duties.snapshot !== undefined) return when === "early" ? [] : duties.committed;
  const last = duties.committed[duties.committed.length - 1];
  if (last === undefined || last.index < firstNew) return when === "early" ? duties.committed : [];
  return duties.committed.filter((entry) => (when === "early") === entry.index < firstNew);
}
