/**
 * The calls of @nxtedition/rocksdb 12.2.12's native part that we use; it has no types and no documentation.
 * We call it without the abstract-level classes around it: their synchronous, cheap calls never detach the
 * iterators and batches they attach to the database, so that each batch would be kept for ever.
 */
declare module "@nxtedition/rocksdb/binding.js" {
  /** Opaque native objects; the garbage collector frees them. */
  export interface Database {
    readonly kind: "database";
  }
  export interface Column {
    readonly kind: "column";
  }
  export interface Iterator {
    readonly kind: "iterator";
  }
  export interface WriteBatch {
    readonly kind: "batch";
  }

  export interface ColumnOptions {
    readonly compaction: "level" | "universal";
    /** Two memtables of a quarter of it are merged into one file; at most six wait. Bytes. */
    readonly memtableMemoryBudget: number;
    /** Bytes of the block cache. */
    readonly cacheSize: number;
    readonly compression: boolean;
  }

  export interface OpenOptions {
    readonly createIfMissing: boolean;
    readonly walCompression: boolean;
    /** Every family of the directory must be named, `default` too. */
    readonly columns: Readonly<Record<string, ColumnOptions>>;
  }

  export interface IteratorOptions {
    readonly column: Column;
    readonly gte?: Uint8Array;
    readonly lt?: Uint8Array;
    readonly reverse?: boolean;
    readonly limit?: number;
    /** A page ends after the row that makes it larger than this. At most 2^31 - 1. */
    readonly highWaterMarkBytes?: number;
    readonly fillCache?: boolean;
    /** Must be given: the native part leaves it uninitialised otherwise. */
    readonly keyEncoding: "buffer";
    readonly valueEncoding: "buffer";
  }

  /** `finished` is also true when the iterator's own `limit` ended it. */
  export interface NativeRows {
    readonly rows: Buffer[];
    readonly finished: boolean;
  }

  export interface ColumnRef {
    readonly column: Column;
  }

  const binding: {
    db_init(location: string): Database;
    db_open(
      db: Database,
      options: OpenOptions,
      callback: (error: Error | null, columns: Readonly<Record<string, Column>>) => void,
    ): void;
    /** Closes iterators, syncs the WAL, closes. */
    db_close(db: Database, callback: (error: Error | null) => void): void;
    db_get_latest_sequence(db: Database): number;
    db_get_many_sync(db: Database, keys: readonly Uint8Array[], options: ColumnRef): (Buffer | undefined)[];
    db_query(db: Database, options: IteratorOptions): NativeRows;
    iterator_init(db: Database, options: IteratorOptions): Iterator;
    iterator_nextv_sync(iterator: Iterator, count: number): NativeRows;
    iterator_close(iterator: Iterator): void;
    batch_init(): WriteBatch;
    batch_put(batch: WriteBatch, key: Uint8Array, value: Uint8Array, options: ColumnRef): void;
    batch_del(batch: WriteBatch, key: Uint8Array, options: ColumnRef): void;
    batch_clear(batch: WriteBatch): void;
    batch_write(db: Database, batch: WriteBatch, options: { readonly sync: boolean }): void;
  };
  // biome-ignore lint/style/noDefaultExport: a CommonJS module has no other export
  export default binding;
}
