import type { Address } from "#proto";
import type { SendResult, Transport } from "./transport.ts";

/** What all full windows together may hold back, bytes; as much as a router lets its own requests take. */
const heldBytesMax = 64 * 1024 * 1024;

/**
 * Answers on their way out. One that meets a full window (R28) waits for it: its request has taken effect, and
 * who asked has no other way to hear of it but a deadline. Each goes at most once, in the order of answering.
 */
export class Answers {
  readonly #transport: Transport;
  readonly #held = new Map<Address, Uint8Array[]>();
  #heldBytes = 0;

  constructor(transport: Transport) {
    this.#transport = transport;
    // Windows open by packets that come in.
    transport.onBurstEnd(() => this.#drain());
  }

  /** Answers that wait. */
  get held(): number {
    let count = 0;
    for (const waiting of this.#held.values()) count += waiting.length;
    return count;
  }

  /** @returns `window_full` only when too much is held already: nothing was kept */
  send(to: Address, answer: Uint8Array): SendResult {
    const waiting = this.#held.get(to);
    if (waiting === undefined) {
      const sent = this.#transport.send(to, "response", answer);
      if (sent !== "window_full") return sent;
    }
    if (this.#heldBytes + answer.length > heldBytesMax) return "window_full";
    this.#heldBytes += answer.length;
    if (waiting === undefined) this.#held.set(to, [answer]);
    else waiting.push(answer);
    return "queued";
  }

  /** Nobody waits any more for what is held for these. @returns how many answers that were */
  forget(which: (to: Address) => boolean): number {
    let lost = 0;
    for (const [to, waiting] of this.#held) {
      if (!which(to)) continue;
      this.#held.delete(to);
      lost += waiting.length;
      for (const { length } of waiting) this.#heldBytes -= length;
    }
    return lost;
  }

  #drain(): void {
    for (const [to, waiting] of this.#held) {
      let sent = 0;
      for (const answer of waiting) {
        if (this.#transport.send(to, "response", answer) === "window_full") break;
        this.#heldBytes -= answer.length;
        sent += 1;
      }
      if (sent === waiting.length) this.#held.delete(to);
      else waiting.splice(0, sent);
    }
  }
}
