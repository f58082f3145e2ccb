import type { Family } from "./engine.ts";
import { keyText } from "./key-text.ts";
import { type Measure, SortedMap } from "./sorted-map.ts";

/** One key in this many is sampled. On-disk format: samples already stored were chosen by it. */
const sampledOneIn = 32;

/**
 * Whether a key is among the sampled: a hash of its bytes decides (FNV-1a with a final mix), so that
 * overwriting and deleting a key finds its sample again. On-disk format, as above.
 */
export function isSampled(key: Uint8Array): boolean {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ (key[at] as number), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  hash ^= hash >>> 13;
  return (hash & (sampledOneIn - 1)) === 0;
}

/**
 * The sampled keys of a store with the sizes of their rows, in memory: tells roughly how large any range
 * is without reading it. RocksDB's own estimate cannot be asked for through the binding.
 */
export class SizeSamples {
  readonly #byFamily: Readonly<Record<Family, SortedMap<number>>> = {
    raft: new SortedMap(sizeOf),
    data: new SortedMap(sizeOf),
    history: new SortedMap(sizeOf),
    meta: new SortedMap(sizeOf),
  };

  /** @param bytes - of key and value */
  set(family: Family, key: Uint8Array, bytes: number): void {
    this.#byFamily[family].set(keyText(key), bytes);
  }

  delete(family: Family, key: Uint8Array): void {
    this.#byFamily[family].delete(keyText(key));
  }

  /** Samples in [start, end), with their summed bytes. */
  measure(family: Family, start: Uint8Array, end: Uint8Array | undefined): Measure {
    return this.#byFamily[family].measure(keyText(start), end && keyText(end));
  }

  /** What the whole weighs, if `samples` are of it. */
  static extrapolate(samples: Measure): { readonly bytes: number; readonly keys: number } {
    return { bytes: samples.weight * sampledOneIn, keys: samples.count * sampledOneIn };
  }
}

function sizeOf(_key: string, bytes: number): number {
  return bytes;
}
