import type { Random } from "#runtime";

/**
 * A router's session: the numbers by which shards know its retries (R23). A number is unanswered until its
 * caller has been told an outcome; after that the router never sends it again.
 */
export class Session {
  /** 16 hex digits, drawn at start. */
  readonly id: string;
  #next = 1;
  #lowest = 1;
  readonly #answered = new Set<number>();

  constructor(random: Random) {
    this.id = random.hex(8);
  }

  /** The lowest unanswered number; the next one when all are answered. Never goes back. */
  get lowestUnanswered(): number {
    return this.#lowest;
  }

  get unanswered(): number {
    return this.#next - this.#lowest - this.#answered.size;
  }

  open(): number {
    return this.#next++;
  }

  close(sequence: number): void {
    if (sequence !== this.#lowest) {
      this.#answered.add(sequence);
      return;
    }
    this.#lowest += 1;
    while (this.#answered.delete(this.#lowest)) this.#lowest += 1;
  }
}
