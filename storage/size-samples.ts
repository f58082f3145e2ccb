import type { Family } from "./engine.ts";
import { keyText } from "./key-text.ts";
import { SortedMap } from "./sorted-map.ts";

/** One key in this many is sampled. On-disk format: samples already stored were chosen by it. */
const sampledOneIn = 32;

/**
 * Whether a key is among the sampled: a hash of its bytes decides (FNV-1a with a final mix), so that
 * overwriting and deleting a key finds its sample again. On-disk format, as above.
 */
function isSampled(key: Uint8Array): boolean {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ (key[at] as number), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  hash ^= hash >>> 13;
  return (hash & (sampledOneIn - 1)) === 0;
}

/**
 * Rows of users of at least so many bytes are all kept: a few of them weigh as much as thousands of others, and
 * a share of them would say little. As dense, for the data there is, as the samples of rows of 128 bytes.
 * Stored samples were chosen by it, too.
 */
const largeBytes = 4096;

/** What a range weighs, roughly. */
export interface Estimate {
  readonly bytes: number;
  readonly keys: number;
  /** Of the smaller rows: how many samples this rests on. */
  readonly samples: number;
  /** In large rows, which are known exactly. */
  readonly largeBytes: number;
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
  /** Of `data` alone. */
  readonly #large: SortedMap<number> = new SortedMap(sizeOf);

  /**
   * Takes note of a row.
   * @param bytes - of key and value; undefined: it is deleted
   * @returns what becomes of its stored sample
   */
  change(family: Family, key: Uint8Array, bytes: number | undefined): "put" | "delete" | "none" {
    const sampled = isSampled(key);
    const isLarge = family === "data" && bytes !== undefined && bytes >= largeBytes;
    const mayBeLarge = family === "data" && this.#large.size > 0;
    if (!sampled && !isLarge && !mayBeLarge) return "none";
    const text = keyText(key);
    const wasLarge = mayBeLarge && !isLarge && this.#large.delete(text) !== undefined;
    const samples = this.#byFamily[family];
    if (isLarge) this.#large.set(text, bytes);
    if (sampled && !isLarge && bytes !== undefined) samples.set(text, bytes);
    else if (sampled) samples.delete(text);
    if (bytes !== undefined && (sampled || isLarge)) return "put";
    return sampled || wasLarge ? "delete" : "none";
  }

  /** Of the rows in [start, end). */
  estimate(family: Family, start: Uint8Array, end: Uint8Array | undefined): Estimate {
    const [from, to] = [keyText(start), end && keyText(end)];
    const { count, weight } = this.#byFamily[family].measure(from, to);
    const large = family === "data" ? this.#large.measure(from, to) : { count: 0, weight: 0 };
    return {
      bytes: large.weight + weight * sampledOneIn,
      keys: large.count + count * sampledOneIn,
      samples: count,
      largeBytes: large.weight,
    };
  }
}

function sizeOf(_key: string, bytes: number): number {
  return bytes;
}
