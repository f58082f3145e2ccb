import { type GroupId, groupOfRow, groupRow, metaTags, type NodeId, type ReplicaId } from "#proto";
import { Core, type Message } from "#raft/core";
import { type Batch, OverlayBatch, type Range } from "#storage";
import { coreConfig } from "./core-config.ts";
import { Group } from "./group.ts";
import { LogStore, writeFirstState } from "./log-store.ts";
import { appliedRow, appliedValue, raftBounds, readReplica, replicaRow, replicaValue } from "./rows.ts";
import type { Shared } from "./shared.ts";
import { installer, markRow } from "./snapshot-receive.ts";
import type { ReplicaInit } from "./types.ts";

export interface Creation {
  readonly init: ReplicaInit;
  readonly done: (result: "created" | "exists" | "tombstone") => void;
}

/** Which replicas live on this node: opened from disk, made by order or by a leader's word, removed for good. */
export class Replicas {
  readonly #shared: Shared;
  #waiting: Creation[] = [];
  /** A lone voter has nobody to wait for. */
  readonly #onLoneVoter: (group: Group) => void;

  constructor(shared: Shared, onLoneVoter: (group: Group) => void) {
    this.#shared = shared;
    this.#onLoneVoter = onLoneVoter;
  }

  openStored(): void {
    const range: Range = {
      family: "meta",
      start: groupRow(metaTags.hostReplica, 0),
      end: groupRow(metaTags.hostReplica + 1, 0),
    };
    const { rows } = this.#shared.options.engine.scan(range, { limit: Number.MAX_SAFE_INTEGER });
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const record = readReplica(rows[i + 1] ?? new Uint8Array(0));
      if (record.state === "live") this.#open(groupOfRow(rows[i] ?? new Uint8Array(0)), record.replica);
    }
  }

  #open(id: GroupId, replica: ReplicaId): Group | undefined {
    const { engine, factory, makeCore } = this.#shared.options;
    const machine = factory.make(id, replica);
    if (machine === undefined) return undefined;
    this.#finishInstall(id);
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

  /** A crash in the middle of an install left its mark: go on from the staged rows (R4). */
  #finishInstall(id: GroupId): void {
    const { engine, limits } = this.#shared.options;
    if (engine.get("meta", markRow(id)) === undefined) return;
    const next = installer(engine, id, [], limits.sliceRows, (batch) => this.#shared.writeUnsynced(batch));
    while (next());
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
      if (known.replica !== to) return undefined;
      known.learnedNodes.set(from, node);
      return known;
    }
    const fromLeader = kind === "append" || kind === "heartbeat" || kind === "snapshot";
    if (!fromLeader || this.#waiting.some((creation) => creation.init.group === id)) return undefined;
    if (this.#record(id, to) !== undefined) return undefined;
    const batch = this.#shared.options.engine.batch();
    batch.put("meta", replicaRow(id), replicaValue({ replica: to, state: "live" }));
    const group = this.#open(id, to);
    if (group === undefined) {
      this.#shared.stats.messagesToUnknown += 1;
      return undefined;
    }
    this.#shared.writeUnsynced(batch);
    group.learnedNodes.set(from, node);
    return group;
  }

  /** The record of a replica of `replica`'s id or a higher one. */
  #record(id: GroupId, replica: ReplicaId): ReturnType<typeof readReplica> | undefined {
    const stored = this.#shared.options.engine.get("meta", replicaRow(id));
    const record = stored === undefined ? undefined : readReplica(stored);
    return record !== undefined && record.replica >= replica ? record : undefined;
  }

  create(creation: Creation): void {
    this.#waiting.push(creation);
    this.#shared.schedule();
  }

  get anyWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Puts the first states of ordered replicas in the turn's batch, which must then be synced. */
  collect(batch: Batch): readonly Creation[] {
    if (this.#waiting.length === 0) return [];
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting.filter((creation) => this.#writeFirst(creation, batch));
  }

  #writeFirst({ init, done }: Creation, batch: Batch): boolean {
    const { group, replica, index, term, conf, rows } = init;
    const record = this.#record(group, replica);
    if (this.#shared.groups.has(group) || record !== undefined) {
      done(record?.state === "tombstone" ? "tombstone" : "exists");
      return false;
    }
    batch.put("meta", replicaRow(group), replicaValue({ replica, state: "live" }));
    writeFirstState(batch, group, { index, term, conf });
    batch.put("meta", appliedRow(group), appliedValue({ index, term, conf }));
    rows(new OverlayBatch(this.#shared.options.engine, batch));
    return true;
  }

  openCreated(creations: readonly Creation[]): void {
    for (const { init, done } of creations) {
      if (this.#shared.groups.has(init.group)) {
        done("exists");
        continue;
      }
      const group = this.#open(init.group, init.replica);
      if (group !== undefined) this.#shared.markDirty(group);
      done("created");
    }
  }

  /** The tombstone is synced before any row goes (R34). The group is closed already. */
  bury(group: Group, done: () => void): void {
    const { engine } = this.#shared.options;
    const id = group.group;
    const ranges: Range[] = [...group.machine.snapshotRanges(), { family: "raft", ...raftBounds(id) }];
    const batch = engine.batch();
    batch.put("meta", replicaRow(id), replicaValue({ replica: group.replica, state: "tombstone" }));
    engine.write(batch, { sync: true }, (error) => {
      if (error !== undefined) return this.#shared.fatal(error);
      this.#clear(id, ranges, done);
    });
  }

  /** One slice, then the others' turn (R13). */
  #clear(id: GroupId, ranges: Range[], done: () => void): void {
    if (this.#shared.stopped) return;
    const { engine, clock, limits } = this.#shared.options;
    const batch = engine.batch();
    const range = ranges[0];
    if (range === undefined) {
      batch.delete("meta", appliedRow(id));
      this.#shared.writeUnsynced(batch);
      return done();
    }
    const { rows, finished } = engine.scan(range, { limit: limits.sliceRows });
    for (let i = 0; i < rows.length; i += 2) batch.delete(range.family, rows[i] ?? new Uint8Array(0));
    if (batch.size > 0) this.#shared.writeUnsynced(batch);
    if (finished) ranges.shift();
    clock.soon(() => this.#clear(id, ranges, done));
  }

  abandonWaiting(): void {
    for (const { done } of this.#waiting) done("exists");
    this.#waiting = [];
  }
}
