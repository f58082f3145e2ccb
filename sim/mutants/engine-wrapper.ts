import type { Batch, Engine, Family, Range, RangeCursor, Rows, ScanOptions } from "#storage";

/** Hands everything on; bugs override what they spoil. */
export class EngineWrapper implements Engine {
  protected readonly inner: Engine;

  constructor(inner: Engine) {
    this.inner = inner;
  }

  get(family: Family, key: Uint8Array): Uint8Array | undefined {
    return this.inner.get(family, key);
  }

  getMany(family: Family, keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] {
    return this.inner.getMany(family, keys);
  }

  scan(range: Range, options: ScanOptions): Rows {
    return this.inner.scan(range, options);
  }

  cursor(ranges: readonly Range[]): RangeCursor {
    return this.inner.cursor(ranges);
  }

  batch(): Batch {
    return this.inner.batch();
  }

  write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    this.inner.write(batch, options, done);
  }

  approximateSize(range: Range): { readonly bytes: number; readonly keys: number } {
    return this.inner.approximateSize(range);
  }

  get syncs(): number {
    return this.inner.syncs;
  }

  diskSpace(): { readonly freeBytes: number; readonly totalBytes: number } {
    return this.inner.diskSpace();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}
