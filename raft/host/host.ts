import type { GroupId, NodeId, ReplicaId } from "#proto";
import type { ConfChange } from "#raft/core";
import type { Cancel } from "#runtime";
import { Absorption } from "./absorption.ts";
import { applyEntries } from "./apply.ts";
import { AskedCompactions, type CompactDone } from "./asked-compactions.ts";
import { Births } from "./births.ts";
import { tendJoint } from "./conf-guard.ts";
import { Failover } from "./failover.ts";
import { sayFarewells } from "./farewell.ts";
import type { Group, ReadDone } from "./group.ts";
import { transferTo } from "./handover.ts";
import { Inbox } from "./inbox.ts";
import { encodeBeat } from "./liveness.ts";
import type { HostOptions, HostStats } from "./options.ts";
import { retryReads } from "./reads.ts";
import { Replicas } from "./replicas.ts";
import { Shared } from "./shared.ts";
import { sleepIfIdle } from "./sleep.ts";
import { SnapshotReceiver } from "./snapshot-receive.ts";
import { SnapshotSender } from "./snapshot-send.ts";
import { SplitPatience } from "./split-patience.ts";
import { successor } from "./successor.ts";
import { TurnLoop } from "./turn.ts";
import type { GroupHost, GroupView, ReplicaInit } from "./types.ts";
import type { ProposeDone } from "./waiters.ts";

const housekeepingEveryMs = 1000;

/** All Raft groups of a node: what they are asked, what arrives for them, and what time brings. */
export class Host implements GroupHost {
  readonly nodeId: NodeId;
  readonly #shared: Shared;
  readonly #failover: Failover;
  readonly #replicas: Replicas;
  readonly #births: Births;
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver;
  readonly #inbox: Inbox;
  readonly #compactions: AskedCompactions;
  readonly #turns: TurnLoop;
  #tickDue = false;
  #housekeptMs = 0;
  #ticks = 0;
  #cancelTick: Cancel = () => {};

  constructor(options: HostOptions) {
    this.nodeId = options.nodeId;
    const { transport, clock, engine, logger, limits, boot } = options;
    const shared = new Shared(options);
    this.#shared = shared;
    this.#failover = new Failover(shared);
    this.#replicas = new Replicas(shared, (group) => this.#failover.campaignLater(group, 0));
    const patience = new SplitPatience(shared, (group, to) => this.#snapshotFinished(group, to, false));
    this.#births = new Births(shared, this.#replicas, this.#failover, (group) => {
      patience.expect(group);
      this.#inbox.onBorn(group);
    });
    const onWriteError = (error: Error): void => shared.fatal(error);
    this.#receiver = new SnapshotReceiver({
      engine,
      transport,
      logger,
      stats: shared.stats,
      onWriteError,
      isTaken: (...question) => this.#replicas.isTaken(...question),
    });
    this.#sender = new SnapshotSender({
      engine,
      transport,
      clock,
      logger,
      limits,
      boot,
      stats: shared.stats,
      finished: (group, to, ok) => this.#snapshotFinished(group, to, ok),
      resumed: () => shared.guarded(() => this.#sender.goOn()),
    });
    this.#inbox = new Inbox(shared, {
      replicas: this.#replicas,
      failover: this.#failover,
      sender: this.#sender,
      receiver: this.#receiver,
    });
    this.#compactions = new AskedCompactions(shared);
    const absorption = new Absorption(shared, {
      replicas: this.#replicas,
      births: this.#births,
      apply: applyEntries,
      close: (group) => shared.answer(() => this.#closeReplica(group)),
    });
    this.#turns = new TurnLoop(shared, {
      takeInputs: () => this.#takeInputs(),
      hasInputs: () => this.#hasInputs,
      replicas: this.#replicas,
      births: this.#births,
      absorption,
      patience,
      sender: this.#sender,
      receiver: this.#receiver,
      compactions: this.#compactions,
    });
    shared.schedule = () => this.#turns.schedule();
    shared.onStop(() => this.#cancelTick());
  }

  get stats(): Readonly<HostStats> {
    return this.#shared.stats;
  }

  /** Groups this node has, and how many of them are awake. */
  get size(): { readonly groups: number; readonly awake: number } {
    return { groups: this.#shared.groups.size, awake: this.#shared.awake.size };
  }

  // ---- Life

  /** Opens the groups this node has on disk and begins to turn. */
  start(): void {
    const { transport } = this.#shared.options;
    const nowMs = this.#shared.nowMs();
    this.#shared.startedMs = nowMs;
    this.#shared.lastSyncMs = nowMs;
    this.#replicas.openStored();
    if (this.#shared.stopped) return;
    this.#inbox.open();
    transport.onBurstEnd(() => this.#turns.schedule());
    this.#armTick();
    this.#turns.schedule();
  }

  /** Stops for good: no message, write or answer leaves after this. Everything that waits is told so. */
  stop(): void {
    const shared = this.#shared;
    if (shared.stopped) return;
    shared.end("answering");
    this.#sender.close();
    this.#replicas.abandonWaiting();
    this.#compactions.abandon();
    const groups = [...shared.groups.values()];
    this.#forgetAll();
    for (const group of groups) {
      group.closed = true;
      for (const answer of group.abandon("stopped")) shared.answer(answer);
      group.machine.closed();
    }
    shared.flushAnswers();
  }

  /** As if the process were gone: nothing runs any more and nobody is told. */
  kill(): void {
    this.#shared.end("silent");
    for (const group of this.#shared.groups.values()) group.closed = true;
    this.#forgetAll();
  }

  #forgetAll(): void {
    this.#shared.groups.clear();
    this.#shared.awake.clear();
    this.#inbox.clear();
  }

  /** Gives leaderships away from now on, and campaigns only where no other live voter can (R35). */
  drain(): void {
    this.#failover.draining = true;
    // Told at once, or placement's next orders would give it leaderships back.
    this.#refreshPeers();
    this.#handOver();
  }

  undrain(): void {
    this.#failover.draining = false;
  }

  /** Groups this node leads although another live voter could. */
  get leadersToHandOver(): number {
    let count = 0;
    for (const group of this.#shared.groups.values()) {
      if (successor(this.#shared, group) !== undefined) count += 1;
    }
    return count;
  }

  #handOver(): void {
    for (const group of this.#shared.groups.values()) {
      const to = successor(this.#shared, group);
      if (to !== undefined && group.core.transferTarget === 0) this.transferLeader(group.group, to);
    }
  }

  // ---- What others ask

  propose(id: GroupId, command: Uint8Array, done: ProposeDone): void {
    const group = this.#take(id, done);
    if (group === undefined) return;
    this.#shared.stats.commandsProposed += 1;
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
    const deadlineMs = this.#shared.nowMs() + options.timeoutMs;
    group.readsQueued.push({ done, lease: options.lease, deadlineMs });
    this.#wakeForWork(group);
  }

  #take(
    id: GroupId,
    done: (outcome: { readonly kind: "refused"; readonly reason: "no_replica" | "stopped" }) => void,
  ): Group | undefined {
    const group = this.#shared.groups.get(id);
    if (group !== undefined && !group.installing && !this.#shared.stopped) return group;
    done({ kind: "refused", reason: this.#shared.stopped ? "stopped" : "no_replica" });
    return undefined;
  }

  #wakeForWork(group: Group): void {
    group.busyAtMs = this.#shared.nowMs();
    this.#shared.wake(group);
    this.#shared.markDirty(group);
    this.#turns.schedule();
  }

  stalenessMs(id: GroupId): number | undefined {
    const group = this.#shared.groups.get(id);
    if (group?.confirmedMs === undefined || group.installing) return undefined;
    const stalenessMs = this.#shared.nowMs() - group.confirmedMs;
    // Stale reads keep their bound fresh by asking now and then; nothing else renews it (R19).
    const asking = group.readsSent.size > 0 || group.readsQueued.length > 0;
    if (stalenessMs > this.#shared.timing.readRetryMs && !asking) {
      this.read(id, { lease: false, timeoutMs: this.#shared.timing.electionMaxMs }, () => {});
    }
    return stalenessMs;
  }

  transferLeader(id: GroupId, to: ReplicaId): void {
    const group = this.#shared.groups.get(id);
    if (group === undefined || group.installing) return;
    transferTo(this.#shared, group, to);
    this.#turns.schedule();
  }

  campaign(id: GroupId): void {
    const group = this.#shared.groups.get(id);
    if (group !== undefined) this.#failover.campaignLater(group, 0);
  }

  view(id: GroupId): GroupView | undefined {
    return this.#shared.groups.get(id);
  }

  groups(): readonly GroupId[] {
    return [...this.#shared.groups.keys()];
  }

  suspected(node: NodeId): boolean {
    return this.#shared.suspected(node);
  }

  /** The last heartbeat of a peer: its wall clock then, and our monotonic clock when it came (R25). */
  beat(node: NodeId): { readonly wallMicros: number; readonly atMs: number } | undefined {
    return this.#shared.liveness.beat(node);
  }

  create(init: ReplicaInit, done: (result: "created" | "exists" | "tombstone") => void): void {
    if (this.#shared.stopped) done("exists");
    else this.#replicas.create({ init, done });
  }

  destroy(id: GroupId, done: () => void): void {
    if (this.#shared.stopped) return;
    this.#replicas.destroy(id, (group) => this.#closeReplica(group), done);
    this.#turns.schedule();
  }

  #closeReplica(group: Group): void {
    this.#sender.abort(group);
    this.#receiver.forget(group.group);
    for (const answer of group.abandon("no_replica")) this.#shared.answer(answer);
    group.machine.closed();
  }

  compact(id: GroupId, done: CompactDone): void {
    const group = this.#shared.groups.get(id);
    if (group === undefined || group.installing || this.#shared.stopped) done(false);
    else this.#compactions.ask(group, done);
  }

  // ---- What arrives

  get #hasInputs(): boolean {
    const anyWaiting = this.#replicas.anyWaiting || this.#compactions.pending;
    return !this.#inbox.isEmpty || this.#tickDue || anyWaiting || this.#failover.campaignsDue;
  }

  #snapshotFinished(group: Group, to: ReplicaId, ok: boolean): void {
    if (group.closed || this.#shared.stopped) return;
    group.core.step({ kind: "reportSnapshot", id: to, ok });
    this.#wakeForWork(group);
  }

  #takeInputs(): void {
    this.#inbox.stepAll();
    // R15: judged only now that what waited in the sockets has been stepped.
    if (this.#tickDue) this.#tick();
    if (this.#failover.campaignsDue) this.#failover.runCampaigns();
  }

  // ---- What time brings

  #armTick(): void {
    const { clock, timing } = this.#shared.options;
    this.#cancelTick = clock.after(timing.tickMs, () => {
      // R15: the timer only marks; what the sockets hold is read before anything is judged.
      this.#tickDue = true;
      this.#armTick();
      this.#turns.schedule();
    });
  }

  #tick(): void {
    this.#tickDue = false;
    const nowMs = this.#shared.nowMs();
    const { timing, awake } = this.#shared;
    this.#sender.tick();
    this.#failover.judge();
    this.#failover.tickCampaigns();
    this.#ticks += 1;
    for (const group of awake) {
      if (group.installing) continue;
      // R35: a draining follower's election timeout is three times as long.
      if (this.#ticks % 3 === 0 || !this.#failover.yields(group)) group.core.step({ kind: "tick", nowMs });
      retryReads(this.#shared, group, nowMs);
      this.#shared.markDirty(group);
      if (nowMs - group.busyAtMs >= timing.quiesceAfterMs) sleepIfIdle(this.#shared, group);
    }
    if (this.#shared.peersDirty) this.#refreshPeers();
    if (nowMs - this.#housekeptMs >= housekeepingEveryMs) this.#keepHouse(nowMs);
  }

  #keepHouse(nowMs: number): void {
    this.#housekeptMs = nowMs;
    if (this.#failover.draining) this.#handOver();
    this.#receiver.sweep(nowMs);
    sayFarewells(this.#shared, nowMs);
    for (const group of this.#shared.awake) tendJoint(this.#shared, group, nowMs);
  }

  #refreshPeers(): void {
    this.#shared.peersDirty = false;
    const peers = new Set<NodeId>();
    for (const group of this.#shared.groups.values()) {
      for (const replica of group.members()) {
        const node = group.nodeOf(replica);
        if (node !== undefined && node !== this.nodeId) peers.add(node);
      }
    }
    this.#shared.liveness.setPeers(peers, () => this.#beat());
  }

  /** R8: a node whose disk does not answer keeps silent, so that others take over. */
  #beat(): Uint8Array | undefined {
    if (this.#shared.stopped || this.#shared.writeIsSlow()) return undefined;
    const { clock } = this.#shared.options;
    const sinceSyncMs = this.#shared.nowMs() - this.#shared.lastSyncMs;
    const { draining } = this.#failover;
    return encodeBeat({ wallMicros: clock.wallMicros(), sinceSyncMs, draining });
  }
}
