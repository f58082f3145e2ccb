import type { ServerResponse } from "node:http";
import type { Router } from "#router/routing";
import { Problem, problemJson } from "./problem.ts";

/** How often placement is asked for news while somebody listens, ms. */
const pollMs = 500;
/** A comment so often tells both ends that the stream lives, ms. */
const pulseMs = 5_000;
const askMs = 5_000;
/** A client that leaves this much unread gets no more. */
const unreadBytesMax = 4 * 1024 * 1024;

interface Event {
  readonly id: number;
  readonly shard?: number;
}

interface Stream {
  readonly response: ServerResponse;
  readonly requestId: string;
  readonly shard: number | undefined;
  /** Id of the last event that was seen, sent or not. */
  since: number;
}

/**
 * Placement's events as text/event-streams. However many listen, placement's leader is asked by one poll; a
 * stream outlives any leader, since ids grow from one to the next.
 */
export class EventStreams {
  readonly #router: Pick<Router, "admin">;
  readonly #streams = new Set<Stream>();
  #poll: NodeJS.Timeout | undefined;
  #asking = false;
  #nextPulseMs = 0;

  constructor(router: Pick<Router, "admin">) {
    this.#router = router;
  }

  get count(): number {
    return this.#streams.size;
  }

  /** @param first - what placement gave for `since`, to be sent at once */
  add(
    response: ServerResponse,
    requestId: string,
    since: number,
    shard: number | undefined,
    first: unknown,
  ): void {
    const stream: Stream = { response, requestId, shard, since };
    this.#streams.add(stream);
    response.once("close", () => this.#remove(stream));
    response.on("error", () => this.#remove(stream));
    response.write("retry: 1000\n\n");
    this.#send(stream, eventsOf(first));
    this.#later();
  }

  /** Ends all streams; their clients find another node. */
  close(): void {
    for (const stream of [...this.#streams]) this.#end(stream, "unavailable", "this node is shutting down");
  }

  #later(): void {
    if (this.#asking || this.#poll !== undefined || this.#streams.size === 0) return;
    this.#poll = setTimeout(() => {
      this.#poll = undefined;
      this.#ask();
    }, pollMs);
  }

  #ask(): void {
    const since = Math.min(...[...this.#streams].map((stream) => stream.since));
    this.#asking = true;
    this.#router.admin({ operation: "events.list", parameters: { since } }, askMs, (outcome) => {
      this.#asking = false;
      const found = outcome.kind === "ok" ? eventsOf(outcome.body) : [];
      for (const stream of [...this.#streams]) this.#send(stream, found);
      this.#pulse();
      this.#later();
    });
  }

  #send(stream: Stream, events: readonly Event[]): void {
    const text: string[] = [];
    for (const event of events) {
      if (event.id <= stream.since) continue;
      stream.since = event.id;
      if (stream.shard !== undefined && event.shard !== stream.shard) continue;
      text.push(`id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`);
    }
    if (text.length === 0) return;
    if (stream.response.writableLength > unreadBytesMax) {
      this.#end(stream, "too_busy", "the events are not read as fast as they come");
    } else stream.response.write(text.join(""));
  }

  #pulse(): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextPulseMs) return;
    this.#nextPulseMs = nowMs + pulseMs;
    for (const { response } of this.#streams) response.write(":\n\n");
  }

  #end(stream: Stream, code: "unavailable" | "too_busy", detail: string): void {
    const problem = problemJson(new Problem(code, detail), stream.requestId, undefined);
    stream.response.end(`event: problem\ndata: ${problem}\n\n`);
    this.#remove(stream);
  }

  #remove(stream: Stream): void {
    this.#streams.delete(stream);
    if (this.#streams.size > 0) return;
    clearTimeout(this.#poll);
    this.#poll = undefined;
  }
}

/** What the answer to `events.list` holds; a newer placement may say more of each. */
function eventsOf(body: unknown): Event[] {
  const items: unknown =
    typeof body === "object" && body !== null && "items" in body ? body.items : undefined;
  return Array.isArray(items) ? items.filter(isEvent) : [];
}

function isEvent(value: unknown): value is Event {
  return typeof value === "object" && value !== null && "id" in value && Number.isSafeInteger(value.id);
}
