/** Entries of a full block; it splits above. Small enough that copying one on write costs little. */
const blockEntriesMax = 128;

interface Block<V> {
  readonly keys: string[];
  readonly values: V[];
  weight: number;
  /** The map's edition when the block was made; of an older edition, a snapshot may hold it. */
  readonly edition: number;
}

type Blocks<V> = readonly Block<V>[];

/** Looks at one entry; false ends the walk. */
export type Visit<V> = (key: string, value: V) => boolean;

/** How many entries a range has, and their summed weight. */
export interface Measure {
  readonly count: number;
  readonly weight: number;
}

/** An unchanging view of a SortedMap. */
export class SortedView<V> {
  readonly #blocks: Blocks<V>;

  constructor(blocks: Blocks<V>) {
    this.#blocks = blocks;
  }

  /** Visits the entries of [start, end) in order, or in the reverse order. */
  walk(start: string, end: string | undefined, reverse: boolean, visit: Visit<V>): void {
    walk(this.#blocks, start, end, reverse, visit);
  }
}

/**
 * A sorted map from strings in blocks of at most 128 entries, copied on write: a snapshot costs nothing
 * until the next change, and then only the blocks that change. Made for tens of thousands of entries; a
 * million works, slower at the list of blocks.
 */
export class SortedMap<V> {
  #blocks: Block<V>[] = [];
  #edition = 0;
  /** A snapshot holds the very array of blocks, so that it is copied before it changes. */
  #listShared = false;
  #size = 0;
  #weight = 0;
  readonly #weigh: (key: string, value: V) => number;

  /** @param weigh - what one entry adds to `weight`; must give the same for the same entry */
  constructor(weigh: (key: string, value: V) => number) {
    this.#weigh = weigh;
  }

  get size(): number {
    return this.#size;
  }

  get weight(): number {
    return this.#weight;
  }

  get(key: string): V | undefined {
    const block = this.#blocks[floorBlock(this.#blocks, key)];
    if (block === undefined) return undefined;
    const at = lowerBound(block.keys, key);
    return block.keys[at] === key ? block.values[at] : undefined;
  }

  /** Sets or replaces; returns the value there was. */
  set(key: string, value: V): V | undefined {
    const blockAt = Math.max(0, floorBlock(this.#blocks, key));
    const block = this.#owned(blockAt);
    const at = lowerBound(block.keys, key);
    const added = this.#weigh(key, value);
    if (block.keys[at] === key) {
      const old = block.values[at] as V;
      block.values[at] = value;
      this.#addWeight(block, added - this.#weigh(key, old));
      return old;
    }
    if (at === block.keys.length) {
      block.keys.push(key);
      block.values.push(value);
    } else {
      block.keys.splice(at, 0, key);
      block.values.splice(at, 0, value);
    }
    this.#addWeight(block, added);
    this.#size += 1;
    if (block.keys.length > blockEntriesMax) this.#split(blockAt, block);
    return undefined;
  }

  /** Removes; returns the value there was. */
  delete(key: string): V | undefined {
    const blockAt = floorBlock(this.#blocks, key);
    const found = this.#blocks[blockAt];
    if (found === undefined) return undefined;
    const at = lowerBound(found.keys, key);
    if (found.keys[at] !== key) return undefined;
    const block = this.#owned(blockAt);
    const old = block.values[at] as V;
    block.keys.splice(at, 1);
    block.values.splice(at, 1);
    this.#addWeight(block, -this.#weigh(key, old));
    this.#size -= 1;
    if (block.keys.length === 0) this.#blocks.splice(blockAt, 1);
    return old;
  }

  /** The map as it is now, whatever changes later. */
  snapshot(): SortedView<V> {
    this.#edition += 1;
    this.#listShared = true;
    return new SortedView(this.#blocks);
  }

  walk(start: string, end: string | undefined, reverse: boolean, visit: Visit<V>): void {
    walk(this.#blocks, start, end, reverse, visit);
  }

  /** Count and weight of [start, end); blocks wholly inside are not looked into. */
  measure(start: string, end: string | undefined): Measure {
    let count = 0;
    let weight = 0;
    for (let i = Math.max(0, floorBlock(this.#blocks, start)); i < this.#blocks.length; i++) {
      const block = this.#blocks[i] as Block<V>;
      const first = block.keys[0] as string;
      const last = block.keys[block.keys.length - 1] as string;
      if (end !== undefined && first >= end) break;
      if (first >= start && (end === undefined || last < end)) {
        count += block.keys.length;
        weight += block.weight;
        continue;
      }
      const to = end === undefined ? block.keys.length : lowerBound(block.keys, end);
      for (let at = lowerBound(block.keys, start); at < to; at++) {
        count += 1;
        weight += this.#weigh(block.keys[at] as string, block.values[at] as V);
      }
    }
    return { count, weight };
  }

  #addWeight(block: Block<V>, weight: number): void {
    block.weight += weight;
    this.#weight += weight;
  }

  /** The block at `index`, copied first where a snapshot may hold it; made where there is none. */
  #owned(index: number): Block<V> {
    if (this.#listShared) {
      this.#blocks = this.#blocks.slice();
      this.#listShared = false;
    }
    const block = this.#blocks[index];
    if (block !== undefined && block.edition === this.#edition) return block;
    const { keys, values, weight } = block ?? { keys: [], values: [], weight: 0 };
    const copy = { keys: keys.slice(), values: values.slice(), weight, edition: this.#edition };
    this.#blocks[index] = copy;
    return copy;
  }

  /** Halves a block; one that grew at the end of all keeps all but its last, as appended keys leave it. */
  #split(index: number, block: Block<V>): void {
    const atEnd = index === this.#blocks.length - 1;
    const from = atEnd ? block.keys.length - 1 : block.keys.length >> 1;
    const keys = block.keys.splice(from);
    const values = block.values.splice(from);
    let weight = 0;
    for (const [at, key] of keys.entries()) weight += this.#weigh(key, values[at] as V);
    block.weight -= weight;
    this.#blocks.splice(index + 1, 0, { keys, values, weight, edition: this.#edition });
  }
}

/** Index of the last block that starts at or before `key`; -1 where all start behind it. */
function floorBlock<V>(blocks: Blocks<V>, key: string): number {
  let low = 0;
  let high = blocks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((blocks[middle]?.keys[0] as string) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Index of the first key not below `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function walk<V>(
  blocks: Blocks<V>,
  start: string,
  end: string | undefined,
  reverse: boolean,
  visit: Visit<V>,
): void {
  if (reverse) walkBack(blocks, start, end, visit);
  else walkForth(blocks, start, end, visit);
}

function walkForth<V>(blocks: Blocks<V>, start: string, end: string | undefined, visit: Visit<V>): void {
  const from = Math.max(0, floorBlock(blocks, start));
  for (let i = from; i < blocks.length; i++) {
    const { keys, values } = blocks[i] as Block<V>;
    for (let at = i === from ? lowerBound(keys, start) : 0; at < keys.length; at++) {
      const key = keys[at] as string;
      if (end !== undefined && key >= end) return;
      if (!visit(key, values[at] as V)) return;
    }
  }
}

function walkBack<V>(blocks: Blocks<V>, start: string, end: string | undefined, visit: Visit<V>): void {
  const from = end === undefined ? blocks.length - 1 : floorBlock(blocks, end);
  for (let i = from; i >= 0; i--) {
    const { keys, values } = blocks[i] as Block<V>;
    const behind = i === from && end !== undefined ? lowerBound(keys, end) : keys.length;
    for (let at = behind - 1; at >= 0; at--) {
      const key = keys[at] as string;
      if (key < start) return;
      if (!visit(key, values[at] as V)) return;
    }
  }
}
