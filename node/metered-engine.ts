import type { Clock } from "#runtime";
import type { Batch, Engine, Family, Range, RangeCursor, Rows, ScanOptions } from "#storage";

/** Syncs looked back on. */
const window = 512;

/** An engine that knows how long its syncs take, for reports and metrics. */
export class MeteredEngine implements Engine {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #durationsMs: number[] = [];
  #at = 0;

  constructor(engine: Engine, clock: Clock) {
    this.#engine = engine;
    this.#clock = clock;
  }

  /** The 99th percentile of the last syncs, ms; 0 before the first. */
  get syncP99Ms(): number {
    const sorted = [...this.#durationsMs].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  }

  write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    if (!options.sync) return this.#engine.write(batch, options, done);
    const beginMs = this.#clock.nowMs();
    this.#engine.write(batch, options, (error) => {
      this.#durationsMs[this.#at] = this.#clock.nowMs() - beginMs;
      this.#at = (this.#at + 1) % window;
      done(error);
    });
  }

  get(family: Family, key: Uint8Array): Uint8Array | undefined {
    return this.#engine.get(family, key);
  }

  getMany(family: Family, keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] {
    return this.#engine.getMany(family, keys);
  }

  scan(range: Range, options: ScanOptions): Rows {
    return this.#engine.scan(range, options);
  }

  cursor(ranges: readonly Range[]): RangeCursor {
    return this.#engine.cursor(ranges);
  }

  batch(): Batch {
    return this.#engine.batch();
  }

  approximateSize(range: Range): { readonly bytes: number; readonly keys: number } {
    return this.#engine.approximateSize(range);
  }

  get syncs(): number {
    return this.#engine.syncs;
  }

  diskSpace(): { readonly freeBytes: number; readonly totalBytes: number } {
    return this.#engine.diskSpace();
  }

  close(): Promise<void> {
    return this.#engine.close();
  }
}
