/**
 * Latencies in logarithmic buckets, after the idea of HdrHistogram: constant memory, constant time to
 * record, a relative error below 1/128 at any size. @module
 */

/** Buckets of one power of two; below this many microseconds every value has its own bucket. */
const perOctave = 128;
const octaveBits = 7;
const largestUs = 2 ** 31 - 1;
const bucketCount = (31 - octaveBits + 1) * perOctave;

export class Histogram {
  readonly #counts: Uint32Array;
  #total = 0;

  /** @param counts - of another histogram, as `counts` gave it, perhaps from another process */
  constructor(counts: Uint32Array = new Uint32Array(bucketCount)) {
    if (counts.length !== bucketCount) throw new RangeError(`expected ${bucketCount} buckets`);
    this.#counts = counts.slice();
    for (const count of counts) this.#total += count;
  }

  get total(): number {
    return this.#total;
  }

  get counts(): Uint32Array {
    return this.#counts.slice();
  }

  /** Beyond 35 minutes it counts as 35 minutes. */
  record(us: number): void {
    const bucket = bucketOf(us);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#total++;
  }

  add(other: Histogram): void {
    const theirs = other.#counts;
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      this.#counts[bucket] = (this.#counts[bucket] ?? 0) + (theirs[bucket] ?? 0);
    }
    this.#total += other.#total;
  }

  /**
   * @param share - 0 to 1; 0.99 for p99
   * @returns microseconds that this share of the values does not exceed, rounded up to its bucket's end; NaN of none
   */
  quantileUs(share: number): number {
    if (this.#total === 0) return Number.NaN;
    const wanted = Math.max(1, Math.ceil(share * this.#total));
    let seen = 0;
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      seen += this.#counts[bucket] ?? 0;
      if (seen >= wanted) return endOf(bucket);
    }
    return largestUs;
  }
}

function bucketOf(us: number): number {
  const value = Math.min(largestUs, Math.max(0, Math.round(us)));
  if (value < perOctave) return value;
  const shift = 31 - Math.clz32(value) - octaveBits;
  return shift * perOctave + (value >>> shift);
}

/** The largest value of a bucket. */
function endOf(bucket: number): number {
  if (bucket < perOctave) return bucket;
  const shift = Math.floor(bucket / perOctave) - 1;
  return (perOctave + (bucket % perOctave) + 1) * 2 ** shift - 1;
}
