/** Keys kept. */
const keptMax = 256;
/** One request in this many is noted, so that the keys kept cover more time than a burst. */
const notedOneIn = 8;

/** A sample of the keys lately asked for: where a shard's load lies, for splitting it in the middle. */
export class LoadSample {
  readonly #keys: Uint8Array[] = [];
  #at = 0;
  #requests = 0;

  /** @param key - encoded; may be a view */
  note(key: Uint8Array): void {
    this.#requests += 1;
    if (this.#requests % notedOneIn !== 0) return;
    this.#keys[this.#at] = Uint8Array.from(key);
    this.#at = (this.#at + 1) % keptMax;
  }

  /** In no order. */
  get keys(): readonly Uint8Array[] {
    return this.#keys;
  }
}
