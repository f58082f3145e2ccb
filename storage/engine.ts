/** The column families, fixed and shared by all groups of a node (docs/architecture.md). */
export const families = ["raft", "data", "history", "meta"] as const;
export type Family = (typeof families)[number];

/** A half-open key range [start, end) of one family; an absent `end` is open. */
export interface Range {
  readonly family: Family;
  readonly start: Uint8Array;
  readonly end?: Uint8Array;
}

/** Changes that become visible and durable together, in the order they were added. Used once. */
export interface Batch {
  put(family: Family, key: Uint8Array, value: Uint8Array): void;
  delete(family: Family, key: Uint8Array): void;
  /** Number of changes so far. */
  readonly size: number;
  /** Bytes of keys and values so far. */
  readonly bytes: number;
}

/**
 * Rows in key order, flat: key, value, key, value… `finished` is false as soon as `limit` or `maxBytes` is
 * reached, even where by chance nothing follows.
 */
export interface Rows {
  readonly rows: readonly Uint8Array[];
  readonly finished: boolean;
}

export interface ScanOptions {
  /** Rows at most. */
  readonly limit: number;
  /** Stops after the row that reaches this many bytes of keys and values. */
  readonly maxBytes?: number;
  readonly reverse?: boolean;
}

/** A consistent view of several ranges as of its opening (R4); `next` walks them in the order given. */
export interface RangeCursor {
  /**
   * Up to `limit` rows, ending with the row that reaches `maxBytes`, with the family they are of; never
   * empty, never of two ranges; undefined when all ranges are done.
   * @throws StorageError `closed` after `close` of the cursor or the engine, so that an interrupted walk is
   *   not taken for a finished one
   */
  next(
    limit: number,
    maxBytes: number,
  ): { readonly family: Family; readonly rows: readonly Uint8Array[] } | undefined;
  close(): void;
}

/**
 * One node's ordered, durable store. Reads are synchronous and see every write already handed in. Byte
 * arrays handed in or out are never changed afterwards by either side.
 */
export interface Engine {
  get(family: Family, key: Uint8Array): Uint8Array | undefined;
  getMany(family: Family, keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[];
  scan(range: Range, options: ScanOptions): Rows;
  cursor(ranges: readonly Range[]): RangeCursor;
  batch(): Batch;
  /**
   * Writes `batch` whole. Visible to reads on return. `done` runs when it is durable (`sync: true`: this
   * batch and all before it survive power loss) or accepted (`sync: false`), either before `write` returns
   * or later, in order. After an error nothing more can be written: the node must stop (R8). The error is
   * a StorageError, `write_failed` for the write that met it, `stopped` for all others.
   */
  write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void;
  /** Rows and bytes of keys and values of a range, roughly; cheap. */
  approximateSize(range: Range): { readonly bytes: number; readonly keys: number };
  /** Syncs completed since the opening. */
  readonly syncs: number;
  /** Bytes free on the disk, and in all. */
  diskSpace(): { readonly freeBytes: number; readonly totalBytes: number };
  /** Makes everything written durable and gives the disk back; calls after it throw `closed`. */
  close(): Promise<void>;
}
