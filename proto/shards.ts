import { compareBytes, noBytes } from "./bytes.ts";
import { FieldReader } from "./codec.ts";
import type { GroupId, NodeId, ReplicaId } from "./ids.ts";
import type { Partition } from "./keys.ts";

/** TiKV's region epoch: splits and merges bump `version`, membership changes bump `confVersion`. */
export interface Epoch {
  readonly version: number;
  readonly confVersion: number;
}

/** `incoming` and `outgoing` are voters of one half of a joint configuration. */
export type ReplicaRole = "voter" | "learner" | "incoming" | "outgoing";

export interface ReplicaDescriptor {
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
  readonly role: ReplicaRole;
}

/** Where a shard's keys begin and end and who holds them. Ranges are over encoded keys; empty `end` is open. */
export interface ShardDescriptor {
  readonly id: GroupId;
  /** Keyspace id; 0 for the placement group. */
  readonly keyspace: number;
  readonly start: Uint8Array;
  readonly end: Uint8Array;
  readonly epoch: Epoch;
  readonly replicas: readonly ReplicaDescriptor[];
}

export interface KeyspaceDescriptor {
  readonly id: number;
  readonly name: string;
  readonly partition: Partition;
  /** 0 for `range`. */
  readonly slots: number;
  readonly replicas: number;
  /** `replicas` was asked for when it was made: the setting of that name does not change it. */
  readonly ownReplicas?: true;
}

const roles = ["voter", "learner", "incoming", "outgoing"] as const;

export function descriptorFields(d: ShardDescriptor): unknown[] {
  return [
    d.id,
    d.keyspace,
    d.start,
    d.end,
    d.epoch.version,
    d.epoch.confVersion,
    d.replicas.map((r) => [r.replicaId, r.nodeId, r.role]),
  ];
}

/** @throws ProtocolError */
export function readDescriptor(value: unknown): ShardDescriptor {
  const f = new FieldReader(value, "shard descriptor");
  return {
    id: f.integer(),
    keyspace: f.integer(),
    start: f.bytes().slice(),
    end: f.bytes().slice(),
    epoch: { version: f.integer(), confVersion: f.integer() },
    replicas: f.list((element) => {
      const r = new FieldReader(element, "replica descriptor");
      return { replicaId: r.integer(1), nodeId: r.integer(1), role: r.choice(roles) };
    }),
  };
}

export function keyspaceFields(k: KeyspaceDescriptor): unknown[] {
  return [k.id, k.name, k.partition, k.slots, k.replicas, k.ownReplicas ?? false];
}

/** @throws ProtocolError */
export function readKeyspace(value: unknown): KeyspaceDescriptor {
  const f = new FieldReader(value, "keyspace descriptor");
  const keyspace = {
    id: f.integer(1),
    name: f.text(),
    partition: f.choice(["hash", "range"] as const),
    slots: f.integer(),
    replicas: f.integer(1),
  };
  const own = f.optional((r) => r.boolean()) ?? false;
  return own ? { ...keyspace, ownReplicas: true } : keyspace;
}

/** Newer by membership or by range: what replaces what in caches and reports (R32). */
export function isNewerEpoch(a: Epoch, b: Epoch): boolean {
  return a.version > b.version || (a.version === b.version && a.confVersion > b.confVersion);
}

/** Do the shards, sorted by start, tile the whole of a keyspace with neither gap nor overlap? */
export function tiles(sorted: readonly ShardDescriptor[]): boolean {
  let expected: Uint8Array = noBytes;
  for (const [i, shard] of sorted.entries()) {
    if (compareBytes(shard.start, expected) !== 0) return false;
    if (shard.end.length === 0) return i === sorted.length - 1;
    expected = shard.end;
  }
  return false;
}
