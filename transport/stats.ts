/** Why a received packet, or a part of it, was thrown away. */
export type DropReason =
  /** Another format version. */
  | "version"
  /** Of another cluster (R1). */
  | "cluster"
  /** Meant for another node (R1). */
  | "destination"
  | "malformed"
  /** From a process that another one at the same address has followed. */
  | "stale_boot"
  /** An answer to an earlier process of this node. */
  | "stale_response"
  | "unknown_channel"
  /** No handler is registered for the channel. */
  | "unhandled"
  /** Fragments that waited too long for the others, or exceeded the bound of their source. */
  | "reassembly"
  /** The handler threw. */
  | "handler_threw";

/** Counters since the start of a mesh, for metrics. Bytes are whole packets'. */
export interface TransportStats {
  packetsSent: number;
  packetsReceived: number;
  bytesSent: number;
  bytesReceived: number;
  messagesSent: number;
  messagesReceived: number;
  /** Messages to this very node: never on the network. */
  messagesLocal: number;
  heartbeatsSent: number;
  heartbeatsReceived: number;
  /** Packets with nothing but an acknowledgement or a probe for one. */
  acksSent: number;
  fragmentsSent: number;
  fragmentsReceived: number;
  packetsReassembled: number;
  /** Messages refused since their destination's window was full (R28). */
  windowStalls: number;
  /** Messages that were queued when the connection broke. */
  lostOnDisconnect: number;
  noRespondersReceived: number;
  readonly dropped: Record<DropReason, number>;
}

export function emptyStats(): TransportStats {
  return {
    packetsSent: 0,
    packetsReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    messagesSent: 0,
    messagesReceived: 0,
    messagesLocal: 0,
    heartbeatsSent: 0,
    heartbeatsReceived: 0,
    acksSent: 0,
    fragmentsSent: 0,
    fragmentsReceived: 0,
    packetsReassembled: 0,
    windowStalls: 0,
    lostOnDisconnect: 0,
    noRespondersReceived: 0,
    dropped: {
      version: 0,
      cluster: 0,
      destination: 0,
      malformed: 0,
      stale_boot: 0,
      stale_response: 0,
      unknown_channel: 0,
      unhandled: 0,
      reassembly: 0,
      handler_threw: 0,
    },
  };
}
