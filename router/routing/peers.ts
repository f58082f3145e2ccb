import type { NodeId } from "#proto";
import type { Clock } from "#runtime";

/** For how long a node that was silent or gone is asked only when nobody else is left, ms. */
const suspectMs = 1_000;
/** For how long a measured round trip is believed; then the node is tried again, ms. */
const roundTripFreshMs = 10_000;

interface Peer {
  lastAnswerMs: number;
  /** Since when it has been suspect, and until when. */
  suspectSinceMs: number;
  suspectUntilMs: number;
  /** Smoothed, of reads that a single replica answers. */
  roundTripMs: number;
  measuredAtMs: number;
}

/** What this router has seen of the nodes: who is silent, who is near. Hints, never a verdict. */
export class Peers {
  readonly #clock: Clock;
  readonly #lastHeardMs: (node: NodeId) => number | undefined;
  readonly #peers = new Map<NodeId, Peer>();

  /** @param lastHeardMs - when anything at all came from a node, where the transport exchanges heartbeats */
  constructor(clock: Clock, lastHeardMs: (node: NodeId) => number | undefined = () => undefined) {
    this.#clock = clock;
    this.#lastHeardMs = lastHeardMs;
  }

  answered(node: NodeId): void {
    const peer = this.#peer(node);
    peer.lastAnswerMs = this.#clock.nowMs();
    peer.suspectUntilMs = 0;
  }

  measured(node: NodeId, roundTripMs: number): void {
    const peer = this.#peer(node);
    peer.roundTripMs = peer.measuredAtMs === 0 ? roundTripMs : peer.roundTripMs * 0.8 + roundTripMs * 0.2;
    peer.measuredAtMs = this.#clock.nowMs();
  }

  /** Its process is gone, or our way to it. */
  gone(node: NodeId): void {
    this.#suspect(this.#peer(node));
  }

  /** A request sent at `sinceMs` has no answer: suspect unless it answered another one since. */
  silent(node: NodeId, sinceMs: number): void {
    const peer = this.#peer(node);
    if (peer.lastAnswerMs <= sinceMs) this.#suspect(peer);
  }

  isSuspect(node: NodeId): boolean {
    const peer = this.#peers.get(node);
    if (peer === undefined || peer.suspectUntilMs <= this.#clock.nowMs()) return false;
    return (this.#lastHeardMs(node) ?? 0) <= peer.suspectSinceMs;
  }

  /** Estimated round trip in ms; 0 for one not measured lately, so that it gets tried. */
  roundTripMs(node: NodeId): number {
    const peer = this.#peers.get(node);
    if (peer === undefined || this.#clock.nowMs() - peer.measuredAtMs > roundTripFreshMs) return 0;
    return peer.roundTripMs;
  }

  #suspect(peer: Peer): void {
    const nowMs = this.#clock.nowMs();
    peer.suspectSinceMs = nowMs;
    peer.suspectUntilMs = nowMs + suspectMs;
  }

  #peer(node: NodeId): Peer {
    let peer = this.#peers.get(node);
    if (peer === undefined) {
      peer = { lastAnswerMs: -1, suspectSinceMs: 0, suspectUntilMs: 0, roundTripMs: 0, measuredAtMs: 0 };
      this.#peers.set(node, peer);
    }
    return peer;
  }
}
