import type { GroupId, NodeId } from "#proto";

/** Something that happened to the cluster, with the reason in words. */
export interface PlacementEvent {
  /** Grows; of an event's time in µs, so that ids of successive placement leaders sort too. */
  readonly id: number;
  readonly atMicros: number;
  readonly kind: string;
  readonly reason: string;
  readonly shard?: GroupId;
  readonly node?: NodeId;
}

export type NewEvent = Omit<PlacementEvent, "id">;

/** The last events of this process, in memory. What a log entry causes is in the ring of every member. */
export class EventRing {
  readonly #events: PlacementEvent[] = [];
  readonly #limit: number;
  #start = 0;
  #lastId = 0;
  readonly #listeners = new Set<(event: PlacementEvent) => void>();

  constructor(limit = 10_000) {
    this.#limit = limit;
  }

  add(event: NewEvent): void {
    const id = Math.max(this.#lastId + 1, event.atMicros);
    this.#lastId = id;
    const kept = { id, ...event };
    if (this.#events.length < this.#limit) this.#events.push(kept);
    else {
      this.#events[this.#start] = kept;
      this.#start = (this.#start + 1) % this.#limit;
    }
    for (const listener of this.#listeners) listener(kept);
  }

  /** Events after `since`, oldest first, at most the last 10,000. */
  after(since: number): PlacementEvent[] {
    const ordered = [...this.#events.slice(this.#start), ...this.#events.slice(0, this.#start)];
    return ordered.filter((event) => event.id > since);
  }

  listen(listener: (event: PlacementEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
