import { type GroupId, inRange, type ReplicaId, type ShardDescriptor } from "#proto";
import type { GroupView, StateMachine, StateMachineFactory } from "#raft/host";
import type { Clock } from "#runtime";
import type { Engine } from "#storage";
import { LoadMeter } from "./load-meter.ts";
import { LoadSample } from "./load-sample.ts";
import { ShardStateMachine } from "./machine.ts";

/** One shard's replica here, with what this node has measured of it. */
export interface LocalShard {
  readonly machine: ShardStateMachine;
  readonly writes: LoadMeter;
  readonly reads: LoadMeter;
  /** Keys lately written or read. */
  readonly sample: LoadSample;
}

/** One that has its first rows. */
export interface ReadyShard extends LocalShard {
  /** As of the asking. */
  readonly descriptor: ShardDescriptor;
}

/** What placement wants to know of a shard led here; rates per second, bytes and keys are estimates. */
export interface ShardReport {
  readonly descriptor: ShardDescriptor;
  readonly clockMicros: number;
  readonly bytes: number;
  readonly keys: number;
  readonly writesPerSecond: number;
  readonly readsPerSecond: number;
}

/** The shards of this node: makes their state machines, and knows which of them are led here. */
export class LocalShards implements StateMachineFactory {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #shards: Map<GroupId, LocalShard> = new Map();
  readonly #led: Set<GroupId> = new Set();

  constructor(engine: Engine, clock: Clock) {
    this.#engine = engine;
    this.#clock = clock;
  }

  make(group: GroupId, replica: ReplicaId): StateMachine {
    const machine = new ShardStateMachine({
      group,
      replica,
      engine: this.#engine,
      clock: this.#clock,
      observer: {
        leadershipChanged: (changed, view) => this.#leadershipChanged(changed, view),
        closed: (gone) => this.#closed(gone),
      },
      locate: (keyspace, key) => this.locate(keyspace, key),
      sibling: (other) => this.#shards.get(other)?.machine,
    });
    const shard = {
      machine,
      writes: new LoadMeter(this.#clock),
      reads: new LoadMeter(this.#clock),
      sample: new LoadSample(),
    };
    this.#shards.set(group, shard);
    return machine;
  }

  /** With a descriptor only: before that there is nothing to ask it. */
  get(group: GroupId): ReadyShard | undefined {
    const shard = this.#shards.get(group);
    const descriptor = shard?.machine.descriptor;
    return shard === undefined || descriptor === undefined ? undefined : { ...shard, descriptor };
  }

  /** The shard here that holds an encoded key. A walk over all: for refusals only. */
  locate(keyspace: number, key: Uint8Array): ShardDescriptor | undefined {
    for (const { machine } of this.#shards.values()) {
      const shard = machine.descriptor;
      if (shard?.keyspace === keyspace && inRange(key, shard.start, shard.end)) return shard;
    }
    return undefined;
  }

  /** As `locate`, but only what is newer than what the asker knows: else it learns nothing. */
  newHolderOf({
    version,
    keyspace,
    key,
  }: {
    readonly version: number;
    readonly keyspace: number;
    readonly key: Uint8Array;
  }): ShardDescriptor | undefined {
    const holder = this.locate(keyspace, key);
    return holder !== undefined && holder.epoch.version > version ? holder : undefined;
  }

  /** Ascending. */
  led(): readonly GroupId[] {
    return [...this.#led].sort((a, b) => a - b);
  }

  reportOf(group: GroupId): ShardReport | undefined {
    const shard = this.get(group);
    if (shard === undefined) return undefined;
    const { machine, descriptor, writes, reads } = shard;
    return {
      descriptor,
      clockMicros: machine.clockMicros,
      ...machine.approximateSize(),
      writesPerSecond: writes.perSecond(),
      readsPerSecond: reads.perSecond(),
    };
  }

  #leadershipChanged({ group }: ShardStateMachine, view: GroupView): void {
    if (view.role === "leader") this.#led.add(group);
    else this.#led.delete(group);
  }

  #closed(machine: ShardStateMachine): void {
    // A later replica of the same group may have its machine here already.
    if (this.#shards.get(machine.group)?.machine !== machine) return;
    this.#shards.delete(machine.group);
    this.#led.delete(machine.group);
  }
}
