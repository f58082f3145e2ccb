import { FieldReader, type GroupId, groupOfRow, metaTags, type ReplicaId } from "#proto";
import type { Batch, Engine, Family, Range, RangeCursor, Rows, ScanOptions } from "#storage";
import { Violation } from "../checks/violation.ts";
import type { Monitor } from "./monitor.ts";

/** A batch that also remembers what is in it. */
export class RecordedBatch implements Batch {
  readonly inner: Batch;
  readonly families: Family[] = [];
  readonly keys: Uint8Array[] = [];
  readonly values: (Uint8Array | undefined)[] = [];

  constructor(inner: Batch) {
    this.inner = inner;
  }

  get size(): number {
    return this.inner.size;
  }

  get bytes(): number {
    return this.inner.bytes;
  }

  put(family: Family, key: Uint8Array, value: Uint8Array): void {
    this.#note(family, key, value);
    this.inner.put(family, key, value);
  }

  delete(family: Family, key: Uint8Array): void {
    this.#note(family, key, undefined);
    this.inner.delete(family, key);
  }

  #note(family: Family, key: Uint8Array, value: Uint8Array | undefined): void {
    this.families.push(family);
    this.keys.push(key);
    this.values.push(value);
  }
}

const entryTag = 2;

function groupOfRaftRow(key: Uint8Array): GroupId {
  const row = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return row.readUInt32BE(0) * 2 ** 32 + row.readUInt32BE(4);
}

interface Written {
  readonly batch: RecordedBatch;
  /** By the time of the write. */
  readonly owners: ReadonlyMap<GroupId, ReplicaId>;
}

/**
 * The engine next to the disk, as the product's own wrappers and bugs do not see it: tells what really became
 * durable, and when. Knows the layout of the host's log rows: `[group, 8 bytes][tag][index, 8 bytes]`.
 */
export class WatchedEngine implements Engine {
  readonly #inner: Engine;
  readonly #disk: string;
  readonly #monitor: Monitor;
  /** Batches with raft rows that are not known to be durable, oldest first. */
  #unsynced: Written[] = [];
  /** Whose the raft rows of a group are; a replica that was destroyed may be followed by another. */
  #owners: ReadonlyMap<GroupId, ReplicaId> = new Map();

  constructor(inner: Engine, disk: string, monitor: Monitor) {
    this.#inner = inner;
    this.#disk = disk;
    this.#monitor = monitor;
    const replicas = {
      family: "meta",
      start: Uint8Array.of(metaTags.hostReplica),
      end: Uint8Array.of(metaTags.hostReplica + 1),
    } as const;
    const known = inner.scan(replicas, { limit: Number.MAX_SAFE_INTEGER }).rows;
    for (let i = 0; i + 1 < known.length; i += 2) this.#own(known[i], known[i + 1]);
    const all = { family: "raft", start: new Uint8Array(0) } as const;
    const { rows } = inner.scan(all, { limit: Number.MAX_SAFE_INTEGER });
    monitor.see(() => {
      for (let i = 0; i + 1 < rows.length; i += 2) this.#durable(rows[i], rows[i + 1], this.#owners);
    });
  }

  write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    if (!(batch instanceof RecordedBatch)) {
      this.#inner.write(batch, options, done);
      return;
    }
    this.#noteOwners(batch);
    if (!options.sync && batch.families.includes("raft")) this.#noteBirths(batch);
    if (batch.families.includes("raft")) this.#unsynced.push({ batch, owners: this.#owners });
    // Which batches a sync covers is settled now; those written while it runs are not among them.
    const covered = options.sync ? [...this.#unsynced] : [];
    let failed = false;
    this.#inner.write(batch.inner, options, (error) => {
      if (error !== undefined) failed = true;
      else if (options.sync) this.#monitor.see(() => this.#synced(covered));
      done(error);
    });
    if (!failed && batch.families.includes("raft")) this.#monitor.see(() => this.#checkSuffixes(batch));
  }

  /** R3: an append replaces all that stood from its first entry on, in the batch that writes it. */
  #checkSuffixes(batch: RecordedBatch): void {
    const last = new Map<string, Uint8Array>();
    for (let i = 0; i < batch.keys.length; i++) {
      const key = batch.keys[i];
      if (
        key === undefined ||
        batch.families[i] !== "raft" ||
        key[8] !== entryTag ||
        batch.values[i] === undefined
      )
        continue;
      last.set(Buffer.from(key.subarray(0, 8)).toString("latin1"), key);
    }
    for (const key of last.values()) {
      const start = Buffer.concat([key, Buffer.of(0)]);
      const end = Buffer.concat([key.subarray(0, 8), Buffer.of(entryTag + 1)]);
      if (this.#inner.scan({ family: "raft", start, end }, { limit: 1 }).rows.length === 0) continue;
      throw new Violation(
        "removed suffix",
        `${this.#disk}: entries behind the last one appended are still there (R3)`,
      );
    }
  }

  #noteOwners(batch: RecordedBatch): void {
    for (let i = 0; i < batch.keys.length; i++) {
      if (batch.families[i] === "meta") this.#own(batch.keys[i], batch.values[i]);
    }
  }

  /**
   * R5: a split's child begins behind a fixed index, written unsynced with its parent's entry, which is
   * durable: a restart that lost the one makes it anew from the other.
   */
  #noteBirths(batch: RecordedBatch): void {
    for (let i = 0; i < batch.keys.length; i++) {
      const key = batch.keys[i];
      if (key === undefined || batch.families[i] !== "meta" || key[0] !== metaTags.hostReplica) continue;
      const group = groupOfRow(key);
      for (let j = 0; j < batch.keys.length; j++) {
        const other = batch.keys[j];
        if (other === undefined || batch.families[j] !== "raft" || other[8] !== 0) continue;
        if (groupOfRaftRow(other) === group)
          this.#monitor.see(() => this.#durable(other, batch.values[j], this.#owners));
      }
    }
  }

  #own(key: Uint8Array | undefined, value: Uint8Array | undefined): void {
    if (key === undefined || value === undefined || key[0] !== metaTags.hostReplica) return;
    const replica = FieldReader.of(value, "replica record").integer(1);
    // Batches under way keep the map of their time.
    this.#owners = new Map(this.#owners).set(groupOfRow(key), replica);
  }

  #synced(covered: readonly Written[]): void {
    if (covered.length === 0) return;
    const done = new Set(covered);
    for (const written of covered) {
      if (!this.#unsynced.includes(written)) continue;
      const { batch, owners } = written;
      for (let i = 0; i < batch.keys.length; i++) {
        if (batch.families[i] === "raft") this.#durable(batch.keys[i], batch.values[i], owners);
      }
    }
    this.#unsynced = this.#unsynced.filter((written) => !done.has(written));
  }

  #durable(
    key: Uint8Array | undefined,
    value: Uint8Array | undefined,
    owners: ReadonlyMap<GroupId, ReplicaId>,
  ): void {
    if (key === undefined || value === undefined) return;
    const row = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
    const group = groupOfRaftRow(key);
    const replica = owners.get(group);
    if (replica === undefined) return;
    const { durability } = this.#monitor;
    switch (row[8]) {
      case 0: {
        durability.truncatedSynced(group, replica, FieldReader.of(value, "truncated").integer());
        break;
      }
      case 1: {
        const f = FieldReader.of(value, "hard state");
        const state = { term: f.integer(), vote: f.integer(), commit: f.integer() };
        durability.hardStateSynced(group, replica, state);
        break;
      }
      default: {
        const term = Buffer.from(value.buffer, value.byteOffset, value.byteLength).readUIntBE(1, 6);
        const index = row.readUInt32BE(9) * 2 ** 32 + row.readUInt32BE(13);
        durability.entrySynced(group, replica, index, term);
      }
    }
  }

  batch(): Batch {
    return new RecordedBatch(this.#inner.batch());
  }

  get(family: Family, key: Uint8Array): Uint8Array | undefined {
    return this.#inner.get(family, key);
  }

  getMany(family: Family, keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] {
    return this.#inner.getMany(family, keys);
  }

  scan(range: Range, options: ScanOptions): Rows {
    return this.#inner.scan(range, options);
  }

  cursor(ranges: readonly Range[]): RangeCursor {
    return this.#inner.cursor(ranges);
  }

  approximateSize(range: Range): { readonly bytes: number; readonly keys: number } {
    return this.#inner.approximateSize(range);
  }

  get syncs(): number {
    return this.#inner.syncs;
  }

  diskSpace(): { readonly freeBytes: number; readonly totalBytes: number } {
    return this.#inner.diskSpace();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
