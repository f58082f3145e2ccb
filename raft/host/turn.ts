import type { Message, Ready } from "#raft/core";
import type { Batch } from "#storage";
import { applyCommitted } from "./apply.ts";
import { compactionTarget } from "./compaction.ts";
import type { Group } from "./group.ts";
import { stepCommands, stepConfChanges } from "./proposals.ts";
import { askReads, serveReads } from "./reads.ts";
import type { Creation, Replicas } from "./replicas.ts";
import type { Shared } from "./shared.ts";
import type { SnapshotReceiver } from "./snapshot-receive.ts";
import type { SnapshotSender } from "./snapshot-send.ts";

/** What a turn takes from and gives to. */
export interface TurnParts {
  /** Steps what arrived and what time brought. */
  readonly takeInputs: () => void;
  readonly hasInputs: () => boolean;
  readonly replicas: Replicas;
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
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

  /** A turn comes after the next poll. */
  schedule(): void {
    if (this.#scheduled || this.#working || this.#shared.stopped) return;
    this.#scheduled = true;
    this.#shared.options.clock.soon(() => {
      this.#scheduled = false;
      this.run();
    });
  }

  /** Turns now, unless one is under way. */
  run(): void {
    if (this.#working || this.#shared.stopped) return;
    this.#working = true;
    this.#shared.guarded(() => this.#begin());
  }

  #begin(): void {
    const { engine, transport, clock } = this.#shared.options;
    this.#shared.stats.turns += 1;
    this.#parts.takeInputs();
    const ready = this.#gather();
    for (const group of ready) for (const message of group.ready?.sendNow ?? []) this.#post(group, message);
    applyCommitted(this.#shared, ready, "early");
    const batch = engine.batch();
    const mustSync = this.#collectWrites(ready, batch);
    const creations = this.#parts.replicas.collect(batch);
    const sent = this.#shared.outbox.flush();
    transport.flush();
    if (batch.size === 0) return this.#finish(ready, creations);
    const write = (): void => this.#write(batch, mustSync || creations.length > 0, ready, creations);
    // R16: with something on its way, the sync waits for the next poll; else there is nothing to wait for.
    if (sent && mustSync) clock.soon(() => this.#shared.guarded(write));
    else write();
  }

  #gather(): Group[] {
    const { dirty } = this.#shared;
    this.#shared.dirty = [];
    const nowMs = this.#shared.nowMs();
    const leasesAllowed = !this.#shared.writeIsSlow();
    const ready: Group[] = [];
    for (const group of dirty) {
      group.dirty = false;
      if (group.closed || group.installing) continue;
      stepCommands(this.#shared, group);
      stepConfChanges(this.#shared, group);
      askReads(group, this.#shared.readIds, nowMs, leasesAllowed);
      if (group.core.hasReady()) {
        group.ready = group.core.takeReady();
        ready.push(group);
      } else {
        serveReads(group);
        this.#noteLeadership(group);
      }
    }
    return ready;
  }

  #post(group: Group, message: Message): void {
    const node = group.nodeOf(message.to);
    if (node === undefined) return;
    if (message.kind === "snapshot") return this.#parts.sender.begin(group, node, message);
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
      if (duties === undefined) continue;
      if (duties.snapshot !== undefined) {
        this.#parts.receiver.mark(group.group, batch);
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
    const target = compactionTarget(group, limits, (replica) => this.#shared.isLive(group, replica));
    if (target !== undefined) group.log.compact(batch, target, limits.sliceRows);
  }

  #write(batch: Batch, sync: boolean, ready: readonly Group[], creations: readonly Creation[]): void {
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
      shared.guarded(() => this.#finish(ready, creations));
    });
  }

  #finish(ready: readonly Group[], creations: readonly Creation[]): void {
    const { outbox, options } = this.#shared;
    for (const group of ready) {
      if (group.installing) continue;
      for (const message of group.ready?.sendAfterSync ?? []) this.#post(group, message);
    }
    applyCommitted(this.#shared, ready, "late");
    for (const group of ready) this.#advance(group);
    for (const group of ready) this.#noteLeadership(group);
    this.#parts.replicas.openCreated(creations);
    outbox.flush();
    options.transport.flush();
    this.#working = false;
    if (this.#shared.dirty.length > 0 || this.#parts.hasInputs()) this.schedule();
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
    const { machine } = group;
    const { clock, limits } = this.#shared.options;
    const next = this.#parts.receiver.installer(group.group, machine.snapshotRanges(), limits.sliceRows);
    const slice = (): void => {
      if (group.closed) return;
      if (next()) clock.soon(() => this.#shared.guarded(slice));
      else this.#installed(group, duties);
    };
    slice();
  }

  #installed(group: Group, duties: Ready): void {
    group.installing = false;
    group.ready = undefined;
    group.machine.load();
    this.#shared.stats.snapshotsInstalled += 1;
    this.#shared.peersDirty = true;
    for (const [index, waiter] of [...group.waiters]) {
      if (index > group.applied) continue;
      group.waiters.delete(index);
      for (const answer of waiter.done) answer({ kind: "unknown" });
    }
    for (const message of duties.sendAfterSync) this.#post(group, message);
    this.#parts.receiver.installed(group.group);
    group.core.advance(duties);
    this.#shared.markDirty(group);
    this.schedule();
  }

  #noteLeadership(group: Group): void {
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
