import { type GroupId, groupOfRow, type NodeId, type ReplicaId } from "#proto";
import { Core, type Message } from "#raft/core";
import { type Batch, OverlayBatch, type Range } from "#storage";
import { Graveyard, replicaRecords } from "./burial.ts";
import { coreConfig } from "./core-config.ts";
import { Group } from "./group.ts";
import { Leftovers } from "./leftovers.ts";
import { LogStore, writeFirstState } from "./log-store.ts";
import { anyOverlap } from "./ranges.ts";
import { appliedRow, appliedValue, readReplica, replicaRow, replicaValue } from "./rows.ts";
import type { Shared } from "./shared.ts";
import { recoverInstalls } from "./snapshot-receive.ts";
import type { ReplicaInit } from "./types.ts";

export interface Creation {
  readonly init: ReplicaInit;
  readonly done: (result: "created" | "exists" | "tombstone") => void;
}

/** First states and tombstones in the turn's batch. */
export interface Orders {
  readonly creations: readonly Creation[];
  readonly graves: ReturnType<Graveyard["collect"]>;
}

/** Which replicas live on this node: opened from disk, made by order or by a leader's word, removed for good. */
export class Replicas {
  readonly #shared: Shared;
  readonly #graveyard: Graveyard;
  readonly #leftovers: Leftovers;
  #waiting: Creation[] = [];
  /** Ordered and not yet open, with what is to happen then. */
  readonly #creating: Map<GroupId, (() => void)[]> = new Map();
  /** A lone voter has nobody to wait for. */
  readonly #onLoneVoter: (group: Group) => void;

  constructor(shared: Shared, onLoneVoter: (group: Group) => void) {
    this.#shared = shared;
    this.#graveyard = new Graveyard(shared);
    this.#leftovers = new Leftovers(shared);
    this.#onLoneVoter = onLoneVoter;
  }

  openStored(): void {
    const shared = this.#shared;
    const { engine } = shared.options;
    const write = (batch: Batch): void => shared.writeUnsynced(batch);
    recoverInstalls(engine, shared.limits.sliceRows, write, () => shared.stopped);
    if (shared.stopped) return;
    const { rows } = engine.scan(replicaRecords, { limit: Number.MAX_SAFE_INTEGER });
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const record = readReplica(rows[i + 1] ?? new Uint8Array(0));
      const group = groupOfRow(rows[i] ?? new Uint8Array(0));
      if (record.state === "live") this.#open(group, record.replica);
      else this.#graveyard.resume(group, record);
    }
    this.#leftovers.resume();
  }

  /**
   * Opens a split's child whose first state is written. One that a leader's message has met gives way: it had
   * no state, so that nothing but its term, which is on disk, is to be kept.
   */
  openBorn(id: GroupId, replica: ReplicaId): Group | undefined {
    const met = this.#shared.groups.get(id);
    if (met !== undefined) {
      met.closed = true;
      this.#shared.groups.delete(id);
      this.#shared.awake.delete(met);
    }
    const group = this.#open(id, replica);
    if (met === undefined) return group;
    for (const answer of met.abandon("no_replica")) this.#shared.answer(answer);
    met.machine.closed();
    return group;
  }

  /** Rows that a split left to nobody here: cleared behind the write of `tx`. */
  leave(tx: OverlayBatch, group: GroupId, ranges: readonly Range[]): void {
    this.#leftovers.add(tx, group, ranges);
  }

  #open(id: GroupId, replica: ReplicaId): Group | undefined {
    const { engine, factory, makeCore } = this.#shared.options;
    const machine = factory.make(id, replica);
    if (machine === undefined) return undefined;
    const log = new LogStore(engine, id);
    const config = coreConfig(this.#shared.options, replica, log, this.#shared.startedMs);
    const core = makeCore?.(config, id) ?? new Core(config);
    const group = new Group({ group: id, replica, core, log, machine, nowMs: this.#shared.nowMs() });
    machine.load();
    this.#shared.groups.set(id, group);
    this.#shared.awake.add(group);
    this.#shared.peersDirty = true;
    const { voters, outgoing } = group.conf;
    if (voters.length === 1 && voters[0] === replica && outgoing.length === 0) this.#onLoneVoter(group);
    return group;
  }

  /**
   * The group a message is for. A replica is made from a message only by a leader's word, as a learner that
   * votes nowhere before it has a configuration, and never where one of that or a higher id was (R5).
   */
  forMessage(
    id: GroupId,
    from: ReplicaId,
    to: ReplicaId,
    node: NodeId,
    kind: Message["kind"],
  ): Group | undefined {
    const known = this.#shared.groups.get(id);
    if (known !== undefined) {
      if (known.replica !== to || !known.acceptsFrom(from, node)) return undefined;
      const asksForVote = kind === "vote" || kind === "preVote" || kind === "timeoutNow";
      return asksForVote && !known.initialised ? undefined : known;
    }
    const fromLeader = kind === "append" || kind === "heartbeat" || kind === "snapshot";
    if (!fromLeader || this.#creating.has(id) || this.#graveyard.has(id)) return undefined;
    if (this.#record(id, to) !== undefined) return undefined;
    const group = this.#open(id, to);
    if (group === undefined) {
      this.#shared.stats.messagesToUnknown += 1;
      return undefined;
    }
    const batch = this.#shared.options.engine.batch();
    batch.put("meta", replicaRow(id), replicaValue({ replica: to, state: "live" }));
    this.#shared.writeUnsynced(batch);
    group.acceptsFrom(from, node);
    return group;
  }

  /** The record of a replica of `replica`'s id or a higher one. */
  #record(id: GroupId, replica: ReplicaId): ReturnType<typeof readReplica> | undefined {
    const stored = this.#shared.options.engine.get("meta", replicaRow(id));
    const record = stored === undefined ? undefined : readReplica(stored);
    return record !== undefined && record.replica >= replica ? record : undefined;
  }

  /**
   * Whether rows of another replica, or of a dead one that are not cleared yet, lie in `ranges` (R5).
   * @param absorbed - groups that have ended in this one: theirs are its own by now
   */
  isTaken(id: GroupId, ranges: readonly Range[], absorbed: readonly GroupId[]): boolean {
    const left = [...this.#graveyard.rangesLeft(), ...this.#leftovers.rangesLeft()];
    if (anyOverlap(ranges, left)) return true;
    for (const group of this.#shared.groups.values()) {
      if (group.group === id || !anyOverlap(ranges, group.machine.snapshotRanges())) continue;
      // What an install is putting there is not to be cleared by another's.
      if (group.installing || !absorbed.includes(group.group)) return true;
    }
    return false;
  }

  create(creation: Creation): void {
    const { group } = creation.init;
    if (this.#creating.has(group)) {
      // The earlier order decides: by then this one finds a replica there.
      this.#afterCreation(group, () => this.create(creation));
      return;
    }
    this.#creating.set(group, []);
    // Over rows of a dead replica a new one would wake up with its log and its votes.
    this.#graveyard.whenCleared(group, () => {
      this.#waiting.push(creation);
      this.#shared.schedule();
    });
  }

  #afterCreation(group: GroupId, then: () => void): void {
    this.#creating.get(group)?.push(then);
  }

  get anyWaiting(): boolean {
    return this.#waiting.length > 0 || this.#graveyard.anyUnwritten;
  }

  /** Puts first states and tombstones in the turn's batch, which must then be synced if there are any. */
  collect(batch: Batch): Orders {
    const graves = this.#graveyard.collect(batch);
    const waiting = this.#waiting;
    this.#waiting = [];
    return { creations: waiting.filter((creation) => this.#writeFirst(creation, batch)), graves };
  }

  #writeFirst({ init, done }: Creation, batch: Batch): boolean {
    const { group, replica, index, term, conf, rows } = init;
    const record = this.#record(group, replica);
    if (this.#shared.groups.has(group) || record !== undefined) {
      this.#shared.answer(() => done(record?.state === "tombstone" ? "tombstone" : "exists"));
      this.#settle(group);
      return false;
    }
    batch.put("meta", replicaRow(group), replicaValue({ replica, state: "live" }));
    writeFirstState(batch, group, { index, term, conf });
    batch.put("meta", appliedRow(group), appliedValue({ index, term, conf }));
    rows(new OverlayBatch(this.#shared.options.engine, batch));
    return true;
  }

  #settle(group: GroupId): void {
    const waiting = this.#creating.get(group) ?? [];
    this.#creating.delete(group);
    for (const then of waiting) this.#shared.answer(then);
  }

  /** The turn's batch is durable. */
  carryOut({ creations, graves }: Orders): void {
    for (const { init, done } of creations) {
      const group = this.#open(init.group, init.replica);
      if (group !== undefined) this.#shared.markDirty(group);
      this.#shared.answer(() => done("created"));
      this.#settle(init.group);
    }
    this.#graveyard.written(graves);
  }

  /** Removes a replica for good; one that is being made, once it is there. */
  destroy(id: GroupId, close: (group: Group) => void, done: () => void): void {
    if (this.#creating.has(id)) {
      this.#afterCreation(id, () => this.destroy(id, close, done));
      return;
    }
    const group = this.#shared.groups.get(id);
    if (group === undefined) return this.#graveyard.whenCleared(id, done);
    const ranges = group.machine.snapshotRanges();
    this.#remove(group);
    this.#graveyard.bury(id, group.replica, ranges, done);
    close(group);
  }

  #remove(group: Group): void {
    group.closed = true;
    this.#shared.groups.delete(group.group);
    this.#shared.awake.delete(group);
    this.#shared.peersDirty = true;
  }

  /** Another group's entry, applied into `tx`, takes over this one's rows, but for `leftover`. */
  giveUp(group: Group, leftover: readonly Range[], tx: OverlayBatch): void {
    this.#remove(group);
    this.#graveyard.buryIn(tx, group.group, group.replica, leftover);
  }

  /** As `destroy`, in the batch of an install that comes to lie on `spared`. */
  buryUnder(group: Group, spared: readonly Range[]): void {
    const ranges = group.machine.snapshotRanges();
    this.#remove(group);
    this.#graveyard.bury(group.group, group.replica, ranges, () => {}, spared);
  }

  /** The host stops: what was ordered and not written will be ordered again. */
  abandonWaiting(): void {
    for (const { done } of this.#waiting) this.#shared.answer(() => done("exists"));
    this.#waiting = [];
  }
}
