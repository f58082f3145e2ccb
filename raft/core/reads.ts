/** A read that waits for its index: who asks (0: this replica) and the asker's id of it. */
export interface ReadRequest {
  readonly from: number;
  readonly context: string;
}

interface ReadBatch {
  readonly number: number;
  /** The commit index when the last of `requests` came. */
  index: number;
  readonly requests: ReadRequest[];
}

/**
 * ReadIndex on the leader (thesis 6.4, step 2 and 3): reads wait in batches until a quorum has answered a
 * heartbeat sent after the read came. A batch takes further reads only until its heartbeats are handed out:
 * an answer to a heartbeat already sent says nothing about a read that came later (R18). Batch numbers are
 * never used twice by a leader, and answers count only within the leader's term.
 */
export class ReadQueue {
  #batches: ReadBatch[] = [];
  /** Kept over terms: a number is not given again. */
  #lastNumber = 0;
  #open = false;

  get size(): number {
    let size = 0;
    for (const batch of this.#batches) size += batch.requests.length;
    return size;
  }

  get lastNumber(): number {
    return this.#lastNumber;
  }

  /** The number that heartbeats carry to confirm all that waits; 0 when nothing does. */
  get waitingNumber(): number {
    return this.#batches.length === 0 ? 0 : this.#lastNumber;
  }

  has(request: ReadRequest): boolean {
    return this.#batches.some((batch) =>
      batch.requests.some((other) => other.from === request.from && other.context === request.context),
    );
  }

  /** Adds a read at `commit`. True: it began a new batch, so heartbeats with its number must go out. */
  add(request: ReadRequest, commit: number): boolean {
    const last = this.#batches.at(-1);
    if (this.#open && last !== undefined) {
      last.requests.push(request);
      last.index = commit;
      return false;
    }
    this.#lastNumber++;
    this.#batches.push({ number: this.#lastNumber, index: commit, requests: [request] });
    this.#open = true;
    return true;
  }

  /** The heartbeats of the last batch are handed out: it takes no more reads. */
  close(): void {
    this.#open = false;
  }

  /** Takes out every batch up to `number`, which a quorum has confirmed. */
  confirmed(number: number, answer: (request: ReadRequest, index: number) => void): void {
    let count = 0;
    for (const batch of this.#batches) {
      if (batch.number > number) break;
      for (const request of batch.requests) answer(request, batch.index);
      count++;
    }
    if (count > 0) this.#batches.splice(0, count);
    if (this.#batches.length === 0) this.#open = false;
  }

  /** Leadership ended: whoever waits will ask again, with a new id. */
  clear(): void {
    this.#batches = [];
    this.#open = false;
  }
}
