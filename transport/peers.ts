import type { Address, BootId } from "#proto";
import type { Sender } from "./transport.ts";

interface Peer {
  sender: Sender | undefined;
  /** Processes that came before `sender.boot`; the newest last. */
  readonly retired: BootId[];
  lastHeardMs: number | undefined;
  /** The epoch of our own connection over which it was last heard. */
  heardEpoch: number;
  absent: boolean;
  noResponders: number;
  firstNoRespondersMs: number;
}

/** Boot ids remembered of the processes that came before: more never lie in one network's buffers. */
const retiredMax = 8;

export interface AbsenceRule {
  /** "No responders" must last at least this long: L, so that no lease of the absent one still holds. */
  readonly leaseMs: number;
  /** Our connection must be this old: after a restart of the server everybody seems absent for a moment. */
  readonly minConnectionAgeMs: number;
}

export type Heard =
  /** The process known already. */
  | "same"
  /** The first packet ever, of a new process, or after the peer was declared absent. */
  | "up"
  /** A process that another one has followed: its packet must be dropped. */
  | "stale";

/** Who is there: which process holds each address, when it was heard, and whether nobody listens (R21). */
export class PeerTable {
  readonly #peers = new Map<Address, Peer>();
  readonly #rule: AbsenceRule;

  constructor(rule: AbsenceRule) {
    this.#rule = rule;
  }

  /** @param epoch - of our connection the packet came over; undefined for one that R21 does not count */
  heard(address: Address, boot: BootId, nowMs: number, epoch: number | undefined): Heard {
    const peer = this.#peers.get(address) ?? this.#add(address);
    const before = peer.sender?.boot;
    if (before !== boot) {
      if (peer.retired.includes(boot)) return "stale";
      if (before !== undefined) peer.retired.push(before);
      if (peer.retired.length > retiredMax) peer.retired.shift();
      peer.sender = { address, boot };
    }
    const up = before !== boot || peer.absent;
    peer.lastHeardMs = nowMs;
    if (epoch !== undefined) peer.heardEpoch = epoch;
    peer.absent = false;
    peer.noResponders = 0;
    return up ? "up" : "same";
  }

  /**
   * Takes in a "no responders" for `address`.
   * @param sentMs - when the last heartbeat left: the way of the answers does not count as time of absence
   * @param connectedForMs - age of our connection
   * @returns true when it makes the peer absent: once, until it is heard again
   */
  noResponders(address: Address, sentMs: number, epoch: number, connectedForMs: number): boolean {
    const peer = this.#peers.get(address);
    if (peer === undefined || peer.absent) return false;
    if (peer.heardEpoch !== epoch || connectedForMs < this.#rule.minConnectionAgeMs) return false;
    if (peer.noResponders === 0) peer.firstNoRespondersMs = sentMs;
    peer.noResponders++;
    if (peer.noResponders < 3 || sentMs - peer.firstNoRespondersMs < this.#rule.leaseMs) return false;
    peer.absent = true;
    return true;
  }

  /** Nothing that was counted over an earlier connection means anything on a new one. */
  resetAbsence(): void {
    for (const peer of this.#peers.values()) peer.noResponders = 0;
  }

  sender(address: Address): Sender | undefined {
    return this.#peers.get(address)?.sender;
  }

  lastHeardMs(address: Address): number | undefined {
    return this.#peers.get(address)?.lastHeardMs;
  }

  forget(address: Address): void {
    this.#peers.delete(address);
  }

  #add(address: Address): Peer {
    const peer: Peer = {
      sender: undefined,
      retired: [],
      lastHeardMs: undefined,
      heardEpoch: -1,
      absent: false,
      noResponders: 0,
      firstNoRespondersMs: 0,
    };
    this.#peers.set(address, peer);
    return peer;
  }
}
