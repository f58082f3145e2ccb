/** A gone head of the run is cut off only in pieces of this size, so that a pop costs the same on average. */
const cutMin = 64;

/**
 * A priority queue: the least element first, by a total order, so that what comes out never depends on
 * history. What comes in order, the rule with deadlines, waits in a run and costs nothing to sort; the rest
 * goes to a binary heap.
 */
export class Heap<T> {
  readonly #isBefore: (a: T, b: T) => boolean;
  /** In order from `#runAt` on; what was taken out is no longer held. */
  #run: (T | undefined)[] = [];
  #runAt = 0;
  readonly #items: T[] = [];

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#items.length + this.#run.length - this.#runAt;
  }

  peek(): T | undefined {
    return this.#isRunFirst() ? this.#run[this.#runAt] : this.#items[0];
  }

  push(item: T): void {
    const last = this.#run.length > this.#runAt ? this.#run.at(-1) : undefined;
    if (last === undefined || !this.#isBefore(item, last)) this.#run.push(item);
    else this.#rise(item);
  }

  pop(): T | undefined {
    return this.#isRunFirst() ? this.#takeRun() : this.#takeHeap();
  }

  #isRunFirst(): boolean {
    const first = this.#run[this.#runAt];
    const other = this.#items[0];
    return first !== undefined && (other === undefined || !this.#isBefore(other, first));
  }

  #takeRun(): T | undefined {
    const first = this.#run[this.#runAt];
    this.#run[this.#runAt] = undefined;
    this.#runAt += 1;
    if (this.#runAt === this.#run.length || (this.#runAt >= cutMin && 2 * this.#runAt >= this.#run.length)) {
      this.#run = this.#run.slice(this.#runAt);
      this.#runAt = 0;
    }
    return first;
  }

  #takeHeap(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (items.length > 0) this.#sink(last as T);
    return first;
  }

  #rise(item: T): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = items[parentAt] as T;
      if (!this.#isBefore(item, parent)) break;
      items[at] = parent;
      at = parentAt;
    }
    items[at] = item;
  }

  /** Puts `item` at the root's place and lets it sink. */
  #sink(item: T): void {
    const items = this.#items;
    let at = 0;
    for (let child = 1; child < items.length; child = 2 * at + 1) {
      const other = child + 1;
      if (other < items.length && this.#isBefore(items[other] as T, items[child] as T)) child = other;
      const least = items[child] as T;
      if (!this.#isBefore(least, item)) break;
      items[at] = least;
      at = child;
    }
    items[at] = item;
  }
}
