import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Cancel, Clock, Logger } from "#runtime";
import { StorageError } from "./errors.ts";

const fileName = "sequence";
const recordEveryMs = 1000;

/**
 * Guards against truncated recovery (R7): RocksDB drops what follows a damaged WAL record without a word,
 * votes and acknowledged entries too. Within a second of a synced write the database's sequence number as
 * of that write goes to a file beside it; a recovery that ends below it has lost what was promised. The
 * file is replaced by rename and never synced, so it costs no disk wait, and only ever lags.
 */
export class SequenceFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #synced = 0;
  #recorded = 0;
  #timer: Cancel | undefined;

  constructor(dir: string, clock: Clock, logger: Logger) {
    this.#path = join(dir, fileName);
    this.#clock = clock;
    this.#logger = logger;
  }

  /**
   * Compares what recovery found with what was recorded; a missing or torn file only warns.
   * @throws StorageError `truncated_recovery`
   */
  check(recovered: number): void {
    const recorded = this.#read();
    if (recorded === undefined) {
      if (recovered > 0) {
        this.#logger.warn(
          { path: this.#path, recovered },
          "no readable sequence file: a truncated recovery would go unnoticed",
        );
      }
      return;
    }
    this.#recorded = recorded;
    if (recovered < recorded) {
      throw new StorageError(
        "truncated_recovery",
        `recovery ended at sequence ${recovered}, but everything up to ${recorded} was synced: this node has ` +
          "forgotten votes or entries it acknowledged and must not rejoin with this data; " +
          "replace the node: delete it from the cluster and start a new one on an empty directory",
      );
    }
  }

  /** Notes the sequence number as of a synced write; the file follows within a second. */
  synced(sequence: number): void {
    this.#synced = sequence;
    this.#timer ??= this.#clock.after(recordEveryMs, () => {
      this.#timer = undefined;
      this.#record();
    });
  }

  /** Records the last synced sequence now and sets no more timers. */
  close(): void {
    this.#timer?.();
    this.#timer = undefined;
    this.#record();
  }

  #record(): void {
    if (this.#synced <= this.#recorded) return;
    try {
      const next = `${this.#path}.new`;
      writeFileSync(next, `${this.#synced} ${this.#synced}\n`);
      renameSync(next, this.#path);
      this.#recorded = this.#synced;
    } catch (error) {
      // The guard lags then, which is safe; the data itself was synced.
      this.#logger.warn({ path: this.#path, error }, "the sequence file cannot be written");
    }
  }

  /** The number, written twice so that a torn file is known as such. */
  #read(): number | undefined {
    try {
      const [, first, second] = /^(\d+) (\d+)\n$/.exec(readFileSync(this.#path, "latin1")) ?? [];
      return first !== undefined && first === second ? Number(first) : undefined;
    } catch {
      return undefined;
    }
  }
}
