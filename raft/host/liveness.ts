import { addressOf, encode, FieldReader, type NodeId, nodeOf } from "#proto";
import type { Clock } from "#runtime";
import type { Transport } from "#transport";
import type { HostTiming } from "./config.ts";

/** What a node says of itself in every heartbeat. */
export interface Beat {
  readonly wallMicros: number;
  /** Time since its last completed sync, ms (R8). */
  readonly sinceSyncMs: number;
  /** It is giving its leaderships away, perhaps to stop at once: nobody should give it one (R35). */
  readonly draining: boolean;
}

export function encodeBeat(beat: Beat): Uint8Array {
  return encode([beat.wallMicros, beat.sinceSyncMs, beat.draining]);
}

/** @throws ProtocolError */
export function decodeBeat(body: Uint8Array): Beat {
  const f = FieldReader.of(body, "heartbeat");
  return { wallMicros: f.integer(), sinceSyncMs: f.number(), draining: f.boolean() };
}

/**
 * Which peers this node believes to be gone: silent for an election timeout, or absent in NATS's own words
 * under the conditions of R21. Liveness is between nodes; groups only ask here.
 */
export class Liveness {
  readonly #clock: Clock;
  readonly #transport: Transport;
  readonly #timing: HostTiming;
  readonly #peers: Set<NodeId> = new Set();
  /** Suspected since, monotonic ms. */
  readonly #suspected: Map<NodeId, number> = new Map();
  readonly #knownSinceMs: Map<NodeId, number> = new Map();
  readonly #beats: Map<NodeId, Beat & { readonly atMs: number }> = new Map();

  constructor(clock: Clock, transport: Transport, timing: HostTiming) {
    this.#clock = clock;
    this.#transport = transport;
    this.#timing = timing;
  }

  get peers(): ReadonlySet<NodeId> {
    return this.#peers;
  }

  setPeers(peers: ReadonlySet<NodeId>, body: () => Uint8Array | undefined): void {
    const nowMs = this.#clock.nowMs();
    this.#peers.clear();
    for (const node of peers) {
      this.#peers.add(node);
      if (!this.#knownSinceMs.has(node)) this.#knownSinceMs.set(node, nowMs);
    }
    for (const node of [...this.#knownSinceMs.keys()]) {
      if (peers.has(node)) continue;
      this.#knownSinceMs.delete(node);
      this.#suspected.delete(node);
      this.#beats.delete(node);
    }
    this.#transport.heartbeat([...peers].map(addressOf), body);
  }

  /** The last beat of a peer, with our own clock when it came. */
  beat(node: NodeId): (Beat & { readonly atMs: number }) | undefined {
    return this.#beats.get(node);
  }

  onBeat(node: NodeId, beat: Beat): void {
    this.#beats.set(node, { ...beat, atMs: this.#clock.nowMs() });
  }

  isDraining(node: NodeId): boolean {
    return this.#beats.get(node)?.draining === true;
  }

  isSuspected(node: NodeId): boolean {
    return this.#suspected.has(node);
  }

  /** By its heartbeats, not by any packet: a node whose disk hangs keeps those back (R8). */
  lastHeardMs(node: NodeId): number | undefined {
    return this.#beats.get(node)?.atMs;
  }

  /** Nobody listens at this address. @returns the node when that is news */
  absent(address: string): NodeId | undefined {
    const node = nodeOf(address);
    if (node === undefined || !this.#peers.has(node) || this.#suspected.has(node)) return undefined;
    this.#suspected.set(node, this.#clock.nowMs());
    return node;
  }

  /** Judged after the poll (R15). @returns who became suspected, and who was heard again */
  judge(): { readonly lost: readonly NodeId[]; readonly back: readonly NodeId[] } {
    const nowMs = this.#clock.nowMs();
    const lost: NodeId[] = [];
    const back: NodeId[] = [];
    for (const node of this.#peers) {
      const heardMs = this.lastHeardMs(node) ?? this.#knownSinceMs.get(node) ?? nowMs;
      const sinceMs = this.#suspected.get(node);
      if (sinceMs !== undefined) {
        if (heardMs > sinceMs) {
          this.#suspected.delete(node);
          back.push(node);
        }
      } else if (nowMs - heardMs > this.#timing.electionMinMs) {
        this.#suspected.set(node, heardMs);
        lost.push(node);
      }
    }
    return { lost, back };
  }
}
