import {
  dataKey,
  decodeShardCommand,
  equalBytes,
  type Frozen,
  type GroupId,
  inRange,
  type KvCommand,
  type MergeStep,
  type NodeId,
  ProtocolError,
  type ReplicaId,
  type ShardDescriptor,
  type SplitCommand,
  type WriteResponse,
  type WriteResult,
} from "#proto";
import type { ConfChange, ConfState, Entry } from "#raft/core";
import type { Absorb, Birth, GroupView, StateMachine } from "#raft/host";
import { type Clock, InvariantError, invariant, unreachable } from "#runtime";
import type { Engine, OverlayBatch, Range } from "#storage";
import { DedupTable } from "./dedup.ts";
import { dedupKey } from "./dedup-row.ts";
import { decodeEntry, encodeEntry, type ShardEntry, stampMicrosMax } from "./entry.ts";
import { withConfiguration } from "./membership.ts";
import { type MergeApplied, type MergeResult, mergedDescriptor, mergeProblem, movedOn } from "./merge.ts";
import { applyOperation } from "./operations.ts";
import { birthOf, type SplitApplied, type SplitResult, splitDescriptors, splitProblem } from "./split.ts";
import { hashRows } from "./state-hash.ts";
import {
  clockRow,
  dataRange,
  dedupRange,
  encodeClock,
  loadAbsorbed,
  loadClock,
  loadDescriptor,
  loadFrozen,
  putAbsorbed,
  putDescriptor,
  putFrozen,
  stateRange,
} from "./state-rows.ts";
import type { RowTx } from "./tx.ts";

const formerNodesMax = 16;
/** Of those that have ended here so many are named, so that a replica left of one gives way to a snapshot. */
const absorbedMax = 1_024;

const brokenClock: WriteResult = { kind: "not_now", detail: "the leader's clock is beyond the year 2112" };
const reusedSequence: WriteResult = {
  kind: "bad_command",
  detail: "the session has given this sequence to another key",
};

/** What the node's side of the shard wants to hear of. */
export interface ShardObserver {
  leadershipChanged(machine: ShardStateMachine, view: GroupView): void;
  closed(machine: ShardStateMachine): void;
}

export interface ShardMachineOptions {
  readonly group: GroupId;
  /** This replica's own id: it says which replica of a child is this node's. */
  readonly replica: ReplicaId;
  readonly engine: Engine;
  /** The leader's stamps come from its wall clock, never from messages (R25). */
  readonly clock: Clock;
  readonly observer?: ShardObserver;
  /** The shard of this node that holds the key, if any: to be named in refusals. */
  readonly locate?: (keyspace: number, key: Uint8Array) => ShardDescriptor | undefined;
  /** Another shard's replica here: what a merge takes over has its index of attempts in memory there. */
  readonly sibling?: (group: GroupId) => ShardStateMachine | undefined;
}

/** What a floor entry answers: where the clock stands now. */
export interface FloorResult {
  readonly clockMicros: number;
  readonly result?: undefined;
}

/** What `apply` answers for one command. */
export type CommandResult = WriteResponse | FloorResult | SplitApplied | MergeApplied;

/** Who leads, as of the last turn that changed it. */
export interface Leadership {
  readonly isLeader: boolean;
  readonly term: number;
  readonly leaderNode?: NodeId;
}

/**
 * The state machine of one shard. Every effect is decided here, in log order, from rows, entry and the
 * shard's clock alone (R38). `apply` gives one `WriteResponse` a command; a floor, a split and a merge's step
 * have answers of their own.
 */
export class ShardStateMachine implements StateMachine {
  readonly group: GroupId;
  readonly #replica: ReplicaId;
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #observer: ShardObserver | undefined;
  readonly #locate: (keyspace: number, key: Uint8Array) => ShardDescriptor | undefined;
  readonly #dedup: DedupTable = new DedupTable();
  readonly #sibling: (group: GroupId) => ShardStateMachine | undefined;
  readonly #clockRow: Uint8Array;
  #descriptor: ShardDescriptor | undefined;
  #clockMicros = 0;
  /** Set while the shard stands still, to be taken over by a neighbour. */
  #frozen: Frozen | undefined;
  /** Shards that have ended in this one. */
  #absorbed: readonly GroupId[] = [];
  #leadership: Leadership = { isLeader: false, term: 0 };
  /** What the last split made: named in refusals, and not yet open while the turn that applied it lasts. */
  #children: readonly ShardDescriptor[] = [];
  #births: Birth[] = [];
  /** Nodes of replicas that were removed: they must still be told so for a while (R10). */
  readonly #formerNodes: Map<ReplicaId, NodeId> = new Map();

  constructor(options: ShardMachineOptions) {
    this.group = options.group;
    this.#engine = options.engine;
    this.#clock = options.clock;
    this.#replica = options.replica;
    this.#observer = options.observer;
    this.#locate = options.locate ?? (() => undefined);
    this.#sibling = options.sibling ?? (() => undefined);
    this.#clockRow = clockRow(options.group);
  }

  /** Undefined until the first rows or a snapshot have come. */
  get descriptor(): ShardDescriptor | undefined {
    return this.#descriptor;
  }

  /** The last stamp, µs: what deadlines and revisions are measured by. */
  get clockMicros(): number {
    return this.#clockMicros;
  }

  get frozen(): Frozen | undefined {
    return this.#frozen;
  }

  get leadership(): Leadership {
    return this.#leadership;
  }

  encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    return encodeEntry({ stampMicros: this.#clock.wallMicros(), commands });
  }

  apply(entry: Entry, tx: OverlayBatch, absorb?: Absorb): readonly CommandResult[] {
    const { stampMicros, commands } = this.#decoded(entry);
    if (stampMicros > stampMicrosMax) return commands.map(() => this.#answer(brokenClock));
    const results = commands.map((bytes) => this.#applyCommand(bytes, stampMicros, entry, tx, absorb));
    // What is to be taken over must be the same wherever a replica of it stands behind its freeze.
    if (this.#frozen === undefined) this.#dedup.expire(this.#clockMicros, tx);
    tx.put("meta", this.#clockRow, encodeClock(this.#clockMicros));
    return results;
  }

  takeBirths(): readonly Birth[] {
    const births = this.#births;
    this.#births = [];
    return births;
  }

  applyConfChange(_entry: Entry, change: ConfChange, conf: ConfState, tx: OverlayBatch): boolean {
    const before = this.#mustHaveDescriptor();
    // The freeze waits for all of these replicas: no other may come, none may go.
    if (this.#frozen !== undefined) return false;
    const after = withConfiguration(before, change, conf);
    if (after === undefined) return false;
    this.#rememberNodes(before, after);
    putDescriptor(tx, after);
    this.#descriptor = after;
    return true;
  }

  /** What a command would meet now: undefined when this shard holds the key in that version. */
  mismatch(version: number, keyspace: number, key: Uint8Array): readonly ShardDescriptor[] | undefined {
    const shard = this.#mustHaveDescriptor();
    if (!this.#holds(keyspace, key)) return [shard, ...this.#holderOf(keyspace, key)];
    // Whether its keys are another's by now, this shard cannot know: whoever asks is to ask again.
    if (this.#frozen !== undefined) return [shard];
    return version === shard.epoch.version ? undefined : [shard];
  }

  absorbed(): readonly GroupId[] {
    return this.#absorbed;
  }

  snapshotRanges(): readonly Range[] {
    const shard = this.#descriptor;
    const own = stateRange(this.group);
    return shard === undefined ? [own] : [own, dedupRange(shard), dataRange(shard)];
  }

  load(): void {
    this.#descriptor = loadDescriptor(this.#engine, this.group);
    this.#clockMicros = loadClock(this.#engine, this.group);
    this.#frozen = loadFrozen(this.#engine, this.group);
    this.#absorbed = loadAbsorbed(this.#engine, this.group);
    this.#children = [];
    this.#dedup.clear();
    if (this.#descriptor !== undefined) this.#dedup.load(this.#engine, dedupRange(this.#descriptor));
  }

  nodeOf(replica: ReplicaId): NodeId | undefined {
    const member = this.#descriptor?.replicas.find((r) => r.replicaId === replica);
    return member?.nodeId ?? this.#formerNodes.get(replica);
  }

  leadershipChanged(view: GroupView): void {
    const { role, term, leaderNode } = view;
    this.#leadership = {
      isLeader: role === "leader",
      term,
      ...(leaderNode === undefined ? {} : { leaderNode }),
    };
    this.#observer?.leadershipChanged(this, view);
  }

  closed(): void {
    this.#observer?.closed(this);
  }

  /** Over data, dedup rows and the clock: equal on all replicas that have applied the same (R38). */
  stateHash(): string {
    const shard = this.#descriptor;
    const clock = { family: "meta", start: this.#clockRow, end: stateRange(this.group).end } as Range;
    return hashRows(
      this.#engine,
      shard === undefined ? [clock] : [clock, dedupRange(shard), dataRange(shard)],
    );
  }

  /** Rows and bytes of the users' keys, roughly. */
  approximateSize(): { readonly bytes: number; readonly keys: number } {
    if (this.#descriptor === undefined) return { bytes: 0, keys: 0 };
    return this.#engine.approximateSize(dataRange(this.#descriptor));
  }

  #rememberNodes(before: ShardDescriptor, after: ShardDescriptor): void {
    for (const { replicaId, nodeId } of before.replicas) this.#formerNodes.set(replicaId, nodeId);
    for (const { replicaId } of after.replicas) this.#formerNodes.delete(replicaId);
    for (const replicaId of this.#formerNodes.keys()) {
      if (this.#formerNodes.size <= formerNodesMax) return;
      this.#formerNodes.delete(replicaId);
    }
  }

  #holds(keyspace: number, key: Uint8Array): boolean {
    const shard = this.#mustHaveDescriptor();
    return keyspace === shard.keyspace && inRange(key, shard.start, shard.end);
  }

  /** So that a router heals in one step: what is open here knows best, else what the last split said. */
  #holderOf(keyspace: number, key: Uint8Array): readonly ShardDescriptor[] {
    const holder =
      this.#locate(keyspace, key) ??
      this.#children.find((c) => c.keyspace === keyspace && inRange(key, c.start, c.end));
    return holder === undefined || holder.id === this.group ? [] : [holder];
  }

  #applyCommand(
    bytes: Uint8Array,
    stampMicros: number,
    entry: Entry,
    tx: RowTx,
    absorb: Absorb | undefined,
  ): CommandResult {
    const decoded = this.#decodedCommand(bytes, entry.index);
    // Every command draws a stamp of its own, whatever becomes of it: so an idle shard's clock moves on too.
    // A frozen one's stands: it is what the target's is lifted above.
    if (this.#frozen === undefined) this.#clockMicros = Math.max(stampMicros, this.#clockMicros + 1);
    switch (decoded.kind) {
      case "floor":
        return { clockMicros: this.#clockMicros };
      case "split":
        return { clockMicros: this.#clockMicros, split: this.#applySplit(decoded.split, tx) };
      case "merge":
        return {
          clockMicros: this.#clockMicros,
          merge: this.#applyMerge(decoded.step, entry, tx, absorb),
        };
      case "kv":
        return this.#answer(this.#applyKv(decoded.command, tx));
      default:
        return unreachable(decoded);
    }
  }

  /** Metadata only: rows stay where they are, and from here on some of them are the children's (R5, R6). */
  #applySplit(command: SplitCommand, tx: RowTx): SplitResult {
    const current = this.#mustHaveDescriptor();
    const reason = this.#frozen === undefined ? splitProblem(command, current) : "the shard is being merged";
    if (reason !== undefined) return { kind: "void", reason, current };
    const { parent, children } = splitDescriptors(command, current);
    putDescriptor(tx, parent);
    this.#descriptor = parent;
    this.#dedup.keepOnly(dedupRange(parent));
    this.#children = children;
    for (const [i, child] of command.children.entries()) {
      const descriptor = children[i];
      if (descriptor !== undefined)
        this.#births.push(birthOf(descriptor, child, this.#replica, this.#clockMicros));
    }
    return { kind: "split", shards: [parent, ...children] };
  }

  /** One step of a merge: void, or it takes effect (R6). */
  #applyMerge(step: MergeStep, entry: Entry, tx: RowTx, absorb: Absorb | undefined): MergeResult {
    const current = this.#mustHaveDescriptor();
    const reason = mergeProblem(step, current, this.#frozen);
    if (reason !== undefined) return { kind: "void", reason };
    if (step.kind === "merge") return this.#takeOver(step, current, tx, absorb);
    const shard = movedOn(current);
    if (step.kind !== "seal") {
      const { operation } = step;
      const { index, term } = entry;
      this.#frozen =
        step.kind === "freeze"
          ? { operation, target: step.target, index, term, clockMicros: this.#clockMicros }
          : undefined;
      putFrozen(tx, this.group, this.#frozen);
    }
    putDescriptor(tx, shard);
    this.#descriptor = shard;
    return { kind: "done", shard };
  }

  /** The source's rows are here already and become this shard's; its replica here ends (R23, R25). */
  #takeOver(
    { source, index, term, clockMicros }: Extract<MergeStep, { kind: "merge" }>,
    current: ShardDescriptor,
    tx: RowTx,
    absorb: Absorb | undefined,
  ): MergeResult {
    invariant(absorb !== undefined, `shard ${this.group}: a merge without a host`);
    absorb(source.id, { index, term }, [stateRange(source.id)]);
    const taken = this.#sibling(source.id);
    invariant(taken?.frozen?.index === index, `shard ${this.group}: shard ${source.id} is not frozen here`);
    const shard = mergedDescriptor(source, current);
    this.#clockMicros = Math.max(this.#clockMicros, clockMicros);
    this.#dedup.absorb(taken.#dedup, dedupRange(shard));
    this.#absorbed = [...this.#absorbed, ...taken.#absorbed, source.id].slice(-absorbedMax);
    putAbsorbed(tx, this.group, this.#absorbed);
    putDescriptor(tx, shard);
    this.#descriptor = shard;
    return { kind: "done", shard };
  }

  /** R22, R23: dedup before all else, then range, deadline, epoch, and the condition with its effect. */
  #applyKv(command: KvCommand, tx: RowTx): WriteResult {
    const { attempt, keyspace, key } = command;
    const rowKey = dedupKey(keyspace, key, attempt.session, attempt.sequence);
    const recorded = this.#dedup.find(attempt);
    if (recorded !== undefined) return equalBytes(recorded.key, rowKey) ? recorded.effect : reusedSequence;
    if (this.#frozen !== undefined) return { kind: "epoch_mismatch", current: [this.#mustHaveDescriptor()] };
    const result = this.#applyFirst(command, rowKey, tx);
    this.#dedup.trim(attempt, this.#clockMicros, tx);
    return result;
  }

  #applyFirst(command: KvCommand, rowKey: Uint8Array, tx: RowTx): WriteResult {
    const { attempt, version, keyspace, key, operation } = command;
    const revision = this.#clockMicros;
    const current = this.mismatch(version, keyspace, key);
    // `deadline` says that no copy was or will be applied (R24). Of a key that went to another shard only that
    // one can say so: it has the record.
    if (current !== undefined && !this.#holds(keyspace, key)) return { kind: "epoch_mismatch", current };
    if (revision > attempt.deadlineMicros) return { kind: "deadline" };
    if (current !== undefined) return { kind: "epoch_mismatch", current };
    const effect = applyOperation(operation, { tx, row: dataKey(keyspace, key), revision });
    this.#dedup.record(attempt, rowKey, effect, tx);
    return effect;
  }

  #answer(result: WriteResult): WriteResponse {
    return { clockMicros: this.#clockMicros, result };
  }

  #mustHaveDescriptor(): ShardDescriptor {
    invariant(this.#descriptor !== undefined, "a shard has its first rows before it applies anything");
    return this.#descriptor;
  }

  /** R11: what cannot be read in the log stops the replica; skipping it would part it from the others. */
  #decoded(entry: Entry): ShardEntry {
    return orStop(() => decodeEntry(entry.data), this.group, entry.index);
  }

  #decodedCommand(bytes: Uint8Array, index: number): ReturnType<typeof decodeShardCommand> {
    return orStop(() => decodeShardCommand(bytes), this.group, index);
  }
}

function orStop<T>(read: () => T, group: GroupId, index: number): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw new InvariantError(`shard ${group}: entry ${index} cannot be read`, { cause });
  }
}
