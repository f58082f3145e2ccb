import {
  changeSettings,
  decode,
  defaultSettings,
  descriptorFields,
  encode,
  FieldReader,
  type GroupId,
  type KeyspaceDescriptor,
  keyspaceFields,
  type MergedInto,
  memberships,
  metaTags,
  ProtocolError,
  readDescriptor,
  readKeyspace,
} from "#proto";
import type { Engine, Family, Range } from "#storage";
import {
  jobFields,
  onceFields,
  operationFields,
  readDecisions,
  readJob,
  readOnce,
  readOperation,
} from "./operation-rows.ts";
import {
  type Birth,
  type ClusterRow,
  type Counters,
  type Decision,
  emptyState,
  type JobRow,
  type NodeRow,
  type OnceRow,
  type OperationRow,
  type PlacementState,
  type ShardRow,
} from "./state.ts";

/**
 * Placement's rows in the `meta` family: `[metaTags.placement][table][id, 8 bytes big-endian]`, one object
 * each, so that all of the state is one range and a command writes only what it changes.
 */
const tables = {
  cluster: 1,
  counters: 2,
  clock: 3,
  settings: 4,
  own: 5,
  node: 6,
  keyspace: 7,
  shard: 8,
  retired: 9,
  operation: 10,
  job: 11,
  decisions: 12,
  once: 13,
  formerNode: 14,
} as const;

/** Reasons kept of each shard. */
const decisionsMax = 16;

export const placementRange: Range = {
  family: "meta",
  start: Uint8Array.of(metaTags.placement),
  end: Uint8Array.of(metaTags.placement + 1),
};

function rowKey(table: number, id: number): Uint8Array {
  const key = Buffer.allocUnsafe(10);
  key[0] = metaTags.placement;
  key[1] = table;
  key.writeBigUInt64BE(BigInt(id), 2);
  return key;
}

/** What rows are written to. */
export interface RowWriter {
  put(family: Family, key: Uint8Array, value: Uint8Array): void;
  delete(family: Family, key: Uint8Array): void;
}

/** Changes memory and rows together, so that they cannot differ. */
export class Tables {
  readonly state: PlacementState;
  readonly #tx: RowWriter;

  constructor(state: PlacementState, tx: RowWriter) {
    this.state = state;
    this.#tx = tx;
  }

  putCluster(row: ClusterRow): void {
    this.state.cluster = row;
    const w = row.wish;
    this.#put(tables.cluster, 0, [
      row.id,
      row.name,
      row.createdMicros,
      row.version,
      w.shards,
      w.replicas,
      w.partition,
    ]);
  }

  putCounters(row: Counters): void {
    this.state.counters = row;
    this.#put(tables.counters, 0, [row.node, row.keyspace, row.shard, row.replica, row.operation]);
  }

  putClock(micros: number): void {
    this.state.clockMicros = micros;
    this.#put(tables.clock, 0, [micros]);
  }

  putSettings(settings: PlacementState["settings"], version: number): void {
    this.state.settings = settings;
    this.state.settingsVersion = version;
    this.#put(tables.settings, 0, [version, settings]);
  }

  putOwn(descriptor: PlacementState["own"]): void {
    this.state.own = descriptor;
    this.#put(tables.own, 0, descriptorFields(descriptor));
  }

  putNode(row: NodeRow): void {
    this.state.nodes.set(row.id, row);
    this.#put(tables.node, row.id, [
      row.id,
      row.name,
      row.http,
      row.labels,
      row.startLabels,
      row.weight,
      row.membership,
      row.nonce,
      row.joinedMicros,
      row.version,
      row.downSinceMicros ?? null,
      row.drainUntilMicros ?? null,
    ]);
  }

  /** Its name stays known. */
  deleteNode({ id, name }: NodeRow): void {
    this.state.formerNodes.set(id, name);
    this.#put(tables.formerNode, id, [name]);
    this.state.nodes.delete(id);
    this.#delete(tables.node, id);
  }

  putKeyspace(row: KeyspaceDescriptor): void {
    this.state.keyspaces.set(row.id, row);
    this.#put(tables.keyspace, row.id, keyspaceFields(row));
  }

  deleteKeyspace(id: number): void {
    this.state.keyspaces.delete(id);
    this.#delete(tables.keyspace, id);
  }

  putShard(row: ShardRow): void {
    const { descriptor, birth } = row;
    this.state.shards.set(descriptor.id, row);
    this.#put(tables.shard, descriptor.id, [
      descriptorFields(descriptor),
      birth === undefined ? null : [descriptorFields(birth.descriptor), birth.leader],
    ]);
  }

  retireShard(id: number, into?: MergedInto): void {
    this.state.shards.delete(id);
    this.state.retired.add(id);
    if (into !== undefined) this.state.merged.set(id, into);
    this.#delete(tables.shard, id);
    this.#put(tables.retired, id, into === undefined ? [] : [into.group, into.version]);
    if (this.state.decisions.delete(id)) this.#delete(tables.decisions, id);
  }

  putOperation(row: OperationRow): void {
    this.state.operations.set(row.id, row);
    this.#put(tables.operation, row.id, operationFields(row));
  }

  deleteOperation(id: number): void {
    this.state.operations.delete(id);
    this.#delete(tables.operation, id);
  }

  putJob(row: JobRow): void {
    this.state.jobs.set(row.id, row);
    this.#put(tables.job, row.id, jobFields(row));
  }

  deleteJob(id: number): void {
    this.state.jobs.delete(id);
    this.#delete(tables.job, id);
  }

  /** Keeps why something was done to a shard; the oldest reasons go. */
  noteDecision(shard: GroupId, decision: Decision): void {
    if (!this.state.shards.has(shard)) return;
    const kept = [...(this.state.decisions.get(shard) ?? []), decision].slice(-decisionsMax);
    this.state.decisions.set(shard, kept);
    this.#put(
      tables.decisions,
      shard,
      kept.map((d) => [d.atMicros, d.kind, d.reason]),
    );
  }

  putOnce(row: OnceRow): void {
    this.state.once.set(row.key, row);
    this.#put(tables.once, row.sequence, onceFields(row));
  }

  deleteOnce(row: OnceRow): void {
    this.state.once.delete(row.key);
    this.#delete(tables.once, row.sequence);
  }

  #put(table: number, id: number, fields: unknown): void {
    this.#tx.put("meta", rowKey(table, id), encode(fields));
  }

  #delete(table: number, id: number): void {
    this.#tx.delete("meta", rowKey(table, id));
  }
}

/**
 * Reads all of placement's rows.
 * @throws ProtocolError when one cannot be read: this replica must stop (R11)
 */
export function loadState(engine: Engine): PlacementState {
  const state = emptyState();
  const cursor = engine.cursor([placementRange]);
  try {
    for (let page = cursor.next(1_000, 4 << 20); page !== undefined; page = cursor.next(1_000, 4 << 20)) {
      for (let at = 0; at < page.rows.length; at += 2) {
        const [key, value] = page.rows.slice(at, at + 2);
        if (key !== undefined && value !== undefined) readRow(state, key, value);
      }
    }
  } finally {
    cursor.close();
  }
  return state;
}

function readRow(state: PlacementState, key: Uint8Array, value: Uint8Array): void {
  const fields = decode(value);
  const f = new FieldReader(fields, "placement row");
  switch (key[1]) {
    case tables.cluster:
      state.cluster = readCluster(f);
      return;
    case tables.counters:
      state.counters = {
        node: f.integer(1),
        keyspace: f.integer(1),
        shard: f.integer(1),
        replica: f.integer(1),
        operation: f.integer(1),
      };
      return;
    case tables.clock:
      state.clockMicros = f.integer();
      return;
    case tables.settings:
      readSettingsRow(state, f);
      return;
    case tables.own:
      state.own = readDescriptor(fields);
      return;
    case tables.node: {
      const row = readNode(f);
      state.nodes.set(row.id, row);
      return;
    }
    case tables.formerNode:
      state.formerNodes.set(idOf(key), f.text());
      return;
    case tables.keyspace: {
      const row = readKeyspace(fields);
      state.keyspaces.set(row.id, row);
      return;
    }
    case tables.shard: {
      const row = readShard(f);
      state.shards.set(row.descriptor.id, row);
      return;
    }
    case tables.retired:
      readRetired(state, idOf(key), f);
      return;
    case tables.operation: {
      const row = readOperation(f);
      state.operations.set(row.id, row);
      return;
    }
    case tables.job: {
      const row = readJob(f);
      state.jobs.set(row.id, row);
      return;
    }
    case tables.decisions:
      state.decisions.set(idOf(key), readDecisions(fields));
      return;
    case tables.once: {
      const row = readOnce(f);
      state.once.set(row.key, row);
      return;
    }
    default:
      throw new ProtocolError(`placement row of an unknown table ${key[1]}`);
  }
}

function readRetired(state: PlacementState, id: GroupId, f: FieldReader): void {
  state.retired.add(id);
  const group = f.optional((r) => r.integer(1));
  if (group !== undefined) state.merged.set(id, { group, version: f.integer() });
}

function idOf(key: Uint8Array): number {
  return Number(Buffer.from(key.buffer, key.byteOffset, key.byteLength).readBigUInt64BE(2));
}

function readCluster(f: FieldReader): ClusterRow {
  return {
    id: f.text(),
    name: f.text(),
    createdMicros: f.integer(),
    version: f.integer(1),
    wish: {
      shards: f.integer(1),
      replicas: f.integer(1),
      partition: f.choice(["hash", "range"] as const),
    },
  };
}

function readSettingsRow(state: PlacementState, f: FieldReader): void {
  state.settingsVersion = f.integer();
  const settings = changeSettings(defaultSettings, f.record());
  if (typeof settings === "string") throw new ProtocolError(`placement row of settings: ${settings}`);
  state.settings = settings;
}

function readNode(f: FieldReader): NodeRow {
  const row = {
    id: f.integer(1),
    name: f.text(),
    http: f.text(),
    labels: f.record() as Record<string, string>,
    startLabels: f.record() as Record<string, string>,
    weight: f.number(),
    membership: f.choice(memberships),
    nonce: f.text(),
    joinedMicros: f.integer(),
    version: f.text(),
  };
  const downSinceMicros = f.optional((r) => r.integer());
  const drainUntilMicros = f.optional((r) => r.integer());
  return {
    ...row,
    ...(downSinceMicros === undefined ? {} : { downSinceMicros }),
    ...(drainUntilMicros === undefined ? {} : { drainUntilMicros }),
  };
}

function readShard(f: FieldReader): ShardRow {
  const descriptor = readDescriptor(f.any());
  const birth = f.optional((r): Birth => {
    const b = new FieldReader(r.any(), "birth");
    return { descriptor: readDescriptor(b.any()), leader: b.integer(1) };
  });
  return { descriptor, ...(birth === undefined ? {} : { birth }) };
}
