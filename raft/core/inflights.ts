import { invariant } from "#runtime";

/**
 * The appends on their way to one follower: a window limited by count and by bytes. Each is known by the
 * index of its last entry; an acknowledgement of an index frees all up to it.
 */
export class Inflights {
  readonly #limit: number;
  readonly #bytesLimit: number;
  #items: { readonly index: number; readonly bytes: number }[] = [];
  #bytes = 0;

  /** @param bytesLimit - 0: no limit */
  constructor(limit: number, bytesLimit: number) {
    this.#limit = limit;
    this.#bytesLimit = bytesLimit === 0 ? Number.POSITIVE_INFINITY : bytesLimit;
  }

  get count(): number {
    return this.#items.length;
  }

  /** Nothing more may be sent. One message may go over the bytes limit, else a large entry would never go. */
  get full(): boolean {
    return this.#items.length >= this.#limit || this.#bytes >= this.#bytesLimit;
  }

  add(index: number, bytes: number): void {
    invariant(!this.full, "nothing is sent into a full window");
    this.#items.push({ index, bytes });
    this.#bytes += bytes;
  }

  /** Frees what ends at or below `index`. */
  freeThrough(index: number): void {
    let freed = 0;
    for (const item of this.#items) {
      if (item.index > index) break;
      this.#bytes -= item.bytes;
      freed++;
    }
    if (freed === this.#items.length) this.#items = [];
    else if (freed > 0) this.#items.splice(0, freed);
  }

  reset(): void {
    this.#items = [];
    this.#bytes = 0;
  }
}
