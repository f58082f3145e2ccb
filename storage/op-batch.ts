import { invariant } from "#runtime";
import type { Batch, Family } from "./engine.ts";

/** The changes of a batch in the order they were added, in three arrays of one length. */
export class OpBatch implements Batch {
  readonly families: Family[] = [];
  readonly keys: Uint8Array[] = [];
  /** `undefined` deletes. */
  readonly values: (Uint8Array | undefined)[] = [];
  #bytes = 0;
  #used = false;

  get size(): number {
    return this.keys.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  put(family: Family, key: Uint8Array, value: Uint8Array): void {
    this.families.push(family);
    this.keys.push(key);
    this.values.push(value);
    this.#bytes += key.length + value.length;
  }

  delete(family: Family, key: Uint8Array): void {
    this.families.push(family);
    this.keys.push(key);
    this.values.push(undefined);
    this.#bytes += key.length;
  }

  /** Marks the batch as written; a second write of it would repeat old values over newer ones. */
  use(): void {
    invariant(!this.#used, "a batch is written once");
    this.#used = true;
  }
}

/** The batch as the engines' own kind. */
export function opBatchOf(batch: Batch): OpBatch {
  invariant(batch instanceof OpBatch, "a batch is written to the kind of engine that made it");
  return batch;
}
