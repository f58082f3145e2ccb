import type { Message, Ready } from "#raft/core";
import type { Batch } from "#storage";
import type { Absorption } from "./absorption.ts";
import { applyCommitted } from "./apply.ts";
import type { AskedCompactions } from "./asked-compactions.ts";
import type { Births } from "./births.ts";
import { compactionTarget } from "./compaction.ts";
import type { Group } from "./group.ts";
import { stepCommands, stepConfChanges } from "./proposals.ts";
import { askReads, serveReads } from "./reads.ts";
import type { Orders, Replicas } from "./replicas.ts";
import { stepSettling } from "./settling.ts";
import type { Shared } from "./shared.ts";
import { inSlices } from "./slices.ts";
import { installer, type SnapshotReceiver } from "./snapshot-receive.ts";
import type { SnapshotSender } from "./snapshot-send.ts";
import type { SplitPatience } from "./split-patience.ts";

/** What a turn takes from and gives to. */
export interface TurnParts {
  /** Steps what arrived and what time brought. */
  readonly takeInputs: () => void;
  readonly hasInputs: () => boolean;
  readonly replicas: Replicas;
  readonly births: Births;
  readonly absorption: Absorption;
  readonly patience: SplitPatience;
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
  readonly compactions: AskedCompactions;
}

/**
 * The turn loop. Part one: step what arrived, take the Readys of all groups with something to do, send what
 * may leave at once, apply and answer what was durable already. Part two, after those packets have reached
 * the socket: one batch for all groups, synced once; then votes and acknowledgements leave, the rest is
 * applied and answered (R2, R16). One write is in flight; what arrives meanwhile waits for the next turn.
 */
export class TurnLoop {
  readonly #shared: Shared;
  readonly #parts: TurnParts;
  #working = false;
  #scheduled = false;

  constructor(shared: Shared, parts: TurnParts) {
    this.#shared = shared;
    this.#parts = parts;
  }

  /**
   * A turn comes after the next poll, at the end of a burst too: what other sockets hold by then shares it.
   * Its price (a sync, a packet to each peer) is paid by the turn, not by the message.
   */
  schedule(): void {
    if (this.#scheduled || this.#working || this.#shared.stopped) return;
    this.#scheduled = true;
    this.#shared.options.clock.soon(() => {
      this.#scheduled = false;
      this.#run();
    });
  }

  #run(): void {
    if (this.#working || this.#shared.stopped) return;
    this.#working = true;
    this.#shared.guarded(() => this.#begin());
  }

  #begin(): void {
    const shared = this.#shared;
    const { engine, transport, clock } = shared.options;
    shared.stats.turns += 1;
    this.#parts.takeInputs();
    const ready = this.#gather();
    for (const group of ready) for (const message of group.ready?.sendNow ?? []) this.#post(group, message);
    applyCommitted(shared, ready, "early", this.#parts.births, this.#parts.absorption);
    if (shared.stopped) return;
    const batch = engine.batch();
    const mustSync = this.#collectWrites(ready, batch);
    this.#parts.compactions.collect(batch);
    const orders = this.#parts.replicas.collect(batch);
    const answered = shared.flushAnswers();
    // Who was answered may have stopped the host: then nothing more is sent or written.
    if (shared.stopped) return;
    const sent = shared.outbox.flush() || answered;
    transport.flush();
    if (batch.size === 0) return this.#finish(ready, orders);
    const sync = mustSync || orders.creations.length > 0 || orders.graves.length > 0;
    const write = (): void => this.#write(batch, sync, ready, orders);
    // R16: with something on its way, the sync waits for the next poll; else there is nothing to wait for.
    if (sent && sync) clock.soon(() => shared.guarded(write));
    else write();
  }

  #gather(): Group[] {
    const { dirty } = this.#shared;
    this.#shared.dirty = [];
    const nowMs = this.#shared.nowMs();
    const ready: Group[] = [];
    for (const group of dirty) {
      group.dirty = false;
      if (group.closed || group.installing) continue;
      stepCommands(this.#shared, group);
      stepConfChanges(this.#shared, group);
      stepSettling(this.#shared, group);
      askReads(this.#shared, group, nowMs);
      if (group.core.hasReady()) {
        group.ready = group.core.takeReady();
        ready.push(group);
      } else {
        serveReads(this.#shared, group);
        this.#noteLeadership(group);
      }
    }
    return ready;
  }

  #post(group: Group, message: Message): void {
    const node = group.nodeOf(message.to);
    if (node === undefined) return;
    if (message.kind === "snapshot") {
      if (!this.#parts.patience.holds(group, node, message)) this.#parts.sender.begin(group, node, message);
      return;
    }
    const differs = group.differs && message.kind === "heartbeatResponse";
    if (differs) group.differs = false;
    this.#shared.outbox.add(node, group.group, message, differs ? "differs" : "none");
    if (message.kind === "append" && (message.entries?.length ?? 0) > 0) {
      group.busyAtMs = this.#shared.nowMs();
    }
  }

  #collectWrites(ready: readonly Group[], batch: Batch): boolean {
    let mustSync = false;
    for (const group of ready) {
      const duties = group.ready;
      if (duties === undefined || group.closed) continue;
      if (duties.snapshot !== undefined) {
        const end = this.#parts.receiver.mark(group.group, batch, group.machine.snapshotRanges());
        this.#parts.absorption.under(group, end.absorbed ?? [], end.ranges);
        group.log.reset(batch, duties.snapshot);
        group.installing = true;
      }
      group.log.append(batch, duties.append);
      this.#shared.stats.entriesAppended += duties.append.length;
      if (duties.hardState !== undefined) group.log.setHardState(batch, duties.hardState);
      mustSync ||= duties.mustSync;
      if (!group.installing) this.#compact(group, batch);
    }
    return mustSync;
  }

  #compact(group: Group, batch: Batch): void {
    const { limits } = this.#shared;
    if (group.log.needsSweep) return group.log.sweep(batch, limits.sliceRows);
    const target = compactionTarget(group, limits, (replica) => this.#shared.isLive(group, replica));
    if (target !== undefined) group.log.compact(batch, target, limits.sliceRows);
  }

  #write(batch: Batch, sync: boolean, ready: readonly Group[], orders: Orders): void {
    const shared = this.#shared;
    shared.writingSinceMs = shared.nowMs();
    shared.options.engine.write(batch, { sync }, (error) => {
      if (shared.stopped) return;
      shared.writingSinceMs = undefined;
      if (error !== undefined) return shared.fatal(error);
      if (sync) {
        shared.lastSyncMs = shared.nowMs();
        shared.stats.syncedTurns += 1;
      }
      shared.guarded(() => this.#finish(ready, orders));
    });
  }

  #finish(ready: readonly Group[], orders: Orders): void {
    const shared = this.#shared;
    for (const group of ready) {
      if (group.installing || group.closed) continue;
      for (const message of group.ready?.sendAfterSync ?? []) this.#post(group, message);
    }
    applyCommitted(shared, ready, "late", this.#parts.births, this.#parts.absorption);
    if (shared.stopped) return;
    for (const group of ready) this.#advance(group);
    this.#parts.births.open("all");
    for (const group of ready) this.#noteLeadership(group);
    this.#parts.replicas.carryOut(orders);
    this.#parts.compactions.settle();
    this.#working = false;
    if (shared.dirty.length > 0 || this.#parts.hasInputs()) this.schedule();
    shared.flushAnswers();
    // What leaves costs by the packet: a turn that comes at once takes acknowledgements and answers along
    // with its appends.
    if (shared.stopped || this.#scheduled) return;
    shared.outbox.flush();
    shared.options.transport.flush();
  }

  #advance(group: Group): void {
    const duties = group.ready;
    if (duties === undefined || group.closed) return;
    if (group.installing) return this.#install(group, duties);
    group.ready = undefined;
    group.core.advance(duties);
    if (group.core.hasReady()) this.#shared.markDirty(group);
  }

  /** Behind the synced mark: slice after slice, other groups turning in between (R4, R13). */
  #install(group: Group, duties: Ready): void {
    const { limits, engine } = this.#shared.options;
    const write = (batch: Batch): void => this.#shared.writeUnsynced(batch);
    const next = installer(engine, group.group, limits.sliceRows, write);
    inSlices(this.#shared, () => {
      if (group.closed) return false;
      const more = next();
      if (!more) this.#installed(group, duties);
      return more;
    });
  }

  #installed(group: Group, duties: Ready): void {
    const shared = this.#shared;
    group.installing = false;
    group.ready = undefined;
    group.machine.load();
    shared.stats.snapshotsInstalled += 1;
    shared.peersDirty = true;
    const { index, term } = group.log.applied;
    const { unknown, dropped } = group.waiters.jump(index, term);
    for (const { done } of unknown) for (const tell of done) shared.answer(() => tell({ kind: "unknown" }));
    for (const { done } of dropped) for (const tell of done) shared.answer(() => tell({ kind: "dropped" }));
    for (const message of duties.sendAfterSync) this.#post(group, message);
    this.#parts.receiver.installed(group.group);
    group.core.advance(duties);
    shared.markDirty(group);
    this.schedule();
  }

  #noteLeadership(group: Group): void {
    if (group.closed) return;
    const { role, term, leader } = group.core;
    if (role === group.seenRole && term === group.seenTerm && leader === group.seenLeader) return;
    if (role === "leader" && group.seenRole !== "leader") this.#shared.stats.electionsWon += 1;
    group.seenRole = role;
    group.seenTerm = term;
    group.seenLeader = leader;
    if (leader === 0) group.leaderlessSinceMs ??= this.#shared.nowMs();
    else group.leaderlessSinceMs = undefined;
    group.machine.leadershipChanged(group);
    this.#shared.options.onLeadershipChange?.(group);
  }
}
