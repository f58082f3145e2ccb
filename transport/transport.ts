import type { Address } from "#proto";

/** What a message is for; the receiving side registers one handler a channel. */
export type Channel = "raft" | "request" | "response" | "bulk" | "event";

/**
 * `urgent`: votes, acknowledgements, heartbeats: bypass the byte window (R28).
 * `normal`: subject to the window.
 */
export type Priority = "urgent" | "normal";

/** `queued`: leaves with the next flush. Others: dropped here, nothing was sent. */
export type SendResult = "queued" | "window_full" | "disconnected" | "too_large";

/** Who sent a packet: the address and the boot id of that process (R1). */
export interface Sender {
  readonly address: Address;
  readonly boot: string;
}

export type TransportEvent =
  /** The link to the network came up (again); what was under way before may be lost. */
  | { readonly kind: "connected"; readonly epoch: number }
  | { readonly kind: "disconnected" }
  /** Heard from a peer: first packet, or the first of a new process there. */
  | { readonly kind: "peer_up"; readonly peer: Sender }
  /** This peer's link to the network broke and is up again; what was under way to it may be lost. */
  | { readonly kind: "peer_reconnected"; readonly address: Address }
  /** Nobody listens at this address (no responders, by the conditions of R21). */
  | { readonly kind: "peer_absent"; readonly address: Address };

/**
 * Messages between nodes: one packet per destination and flush, identity on each packet, byte windows,
 * fragmentation above the network's packet limit. Losing, never reordering within a sender's connection,
 * never duplicating on the real network; the simulated one may do all of it.
 */
export interface Transport {
  readonly self: Address;
  /** Largest message `send` takes, in bytes. */
  readonly maxMessageBytes: number;
  readonly connected: boolean;
  /**
   * Queues `body` for `to`; it leaves with the next `flush`, which comes by itself after the next poll
   * (`Clock.soon`) when nobody calls it. A message to `self` is delivered after the next poll, off the
   * network. `body` must not be changed afterwards.
   */
  send(to: Address, channel: Channel, body: Uint8Array, priority?: Priority): SendResult;
  /** One packet to each destination with something queued. They are in the socket after `Clock.soon`. */
  flush(): void;
  /**
   * Registers the handler of a channel. `body` is a view that may pin a larger buffer: copy what is kept.
   * A handler that throws is logged and counted with the sender's name; it never stops the reader.
   */
  handle(channel: Channel, handler: (from: Sender, body: Uint8Array) => void): void;
  onEvent(handler: (event: TransportEvent) => void): void;
  /** Called once after each burst of received packets has been handed to the handlers. */
  onBurstEnd(handler: () => void): void;
  /**
   * Exchanges heartbeats with exactly these peers from now on. `body` is asked for each beat; undefined
   * keeps this node silent (R8).
   */
  heartbeat(peers: readonly Address[], body: () => Uint8Array | undefined): void;
  onHeartbeat(handler: (from: Sender, body: Uint8Array) => void): void;
  /** When a packet of this peer last came in, monotonic ms; undefined before the first. */
  lastHeardMs(peer: Address): number | undefined;
  close(): Promise<void>;
}
