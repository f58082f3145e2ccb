import type { Random } from "#runtime";
import { type Family, families } from "./engine.ts";
import { StorageError } from "./errors.ts";
import { SortedMap } from "./sorted-map.ts";

export interface Row {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** What is wrong with the disk at the moment; a simulator changes the fields as it goes. */
export interface DiskFaults {
  /** Asked at each sync: how long it takes, in ms on the engine's clock; Infinity hangs it. */
  syncDelayMs: () => number;
  /** Writes fail with an input/output error. */
  failWrites: boolean;
  /** Syncs fail when they would complete. */
  failSyncs: boolean;
  /** Bytes that something else takes up on the disk. */
  occupiedBytes: number;
}

/** What is done with the batches that were accepted but not synced. */
export interface CrashOptions {
  /**
   * `random`: power loss; a random prefix of them survives (the default). `none`: the unluckiest power
   * loss. `all`: only the process died, and the page cache with what it wrote lives on.
   */
  readonly keep?: "random" | "none" | "all";
}

export interface CrashOutcome {
  /** Unsynced batches that survived. */
  readonly kept: number;
  /** Unsynced batches that are gone, a torn one among them: it is dropped whole. */
  readonly lost: number;
}

/** How to take back one batch: what stood there before, change by change. */
export type Undo = { readonly family: Family; readonly text: string; readonly old: Row | undefined }[];

/** What the disk tells the engine that has it open. */
export interface DiskUser {
  crashed(): void;
}

/**
 * A simulated disk. It outlives its engine: opening it anew after `crash` or `close` finds what was durable.
 */
export class MemoryDisk {
  readonly faults: DiskFaults = {
    syncDelayMs: () => 0,
    failWrites: false,
    failSyncs: false,
    occupiedBytes: 0,
  };
  readonly totalBytes: number;
  /** The rows as reads see them, unsynced changes included. */
  readonly rows: Readonly<Record<Family, SortedMap<Row>>> = {
    raft: newRows(),
    data: newRows(),
    history: newRows(),
    meta: newRows(),
  };
  /** One per unsynced batch, oldest first. */
  readonly #unsynced: Undo[] = [];
  #user: DiskUser | undefined;

  /** @param totalBytes - capacity; 1 TiB unless given */
  constructor(totalBytes: number = 2 ** 40) {
    this.totalBytes = totalBytes;
  }

  get freeBytes(): number {
    let used = this.faults.occupiedBytes;
    for (const family of families) used += this.rows[family].weight;
    return Math.max(0, this.totalBytes - used);
  }

  /** Batches that a power loss may take. */
  get unsyncedBatches(): number {
    return this.#unsynced.length;
  }

  /**
   * The machine or its process dies: the engine that has the disk open is dead at once (none of its
   * outstanding callbacks runs, its calls throw `closed`), and the disk holds what a restart finds: every
   * synced batch, and of the others a prefix. A batch is there whole or not at all.
   */
  crash(random: Random, options: CrashOptions = {}): CrashOutcome {
    this.#user?.crashed();
    this.#user = undefined;
    const count = this.#unsynced.length;
    const keep = options.keep ?? "random";
    const kept = keep === "all" ? count : keep === "none" ? 0 : random.below(count + 1);
    while (this.#unsynced.length > kept) this.#undo(this.#unsynced.pop() ?? []);
    // After power loss the survivors are on the disk; the page cache is only until the next recovery.
    if (keep !== "all") this.#unsynced.length = 0;
    return { kept, lost: count - kept };
  }

  /** @internal Gives the disk to an engine. @throws StorageError `locked` while another has it */
  attach(user: DiskUser): void {
    if (this.#user !== undefined)
      throw new StorageError("locked", "another engine has this simulated disk open");
    this.#user = user;
    // Recovery writes what it replays into synced tables.
    this.#unsynced.length = 0;
  }

  /** @internal */
  detach(): void {
    this.#user = undefined;
  }

  /** @internal Notes a batch that was applied to `rows` and is not durable yet. */
  noteUnsynced(undo: Undo): void {
    this.#unsynced.push(undo);
  }

  /** @internal Makes the oldest `count` unsynced batches durable. */
  sync(count: number): void {
    if (count > 0) this.#unsynced.splice(0, count);
  }

  #undo(changes: Undo): void {
    for (const { family, text, old } of changes.reverse()) {
      if (old === undefined) this.rows[family].delete(text);
      else this.rows[family].set(text, old);
    }
  }
}

function newRows(): SortedMap<Row> {
  return new SortedMap((_text, row) => row.key.length + row.value.length);
}
