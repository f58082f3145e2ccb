import type { Address, BootId, ClusterId } from "#proto";
import { type Cancel, type Clock, invariant, type Logger } from "#runtime";
import { Lane } from "./lane.ts";
import type { Link, TransportLimits } from "./link.ts";
import {
  asBuffer,
  flagHeartbeat,
  flagJoin,
  type Header,
  HeaderReader,
  plainView,
  readMessages,
} from "./packet.ts";
import { type AbsenceRule, PeerTable } from "./peers.ts";
import { type DropReason, emptyStats, type TransportStats } from "./stats.ts";
import { isAddress, type LaneName, packetSubject, sourceOf } from "./subjects.ts";
import type { Channel, Priority, Sender, SendResult, Transport, TransportEvent } from "./transport.ts";
import type { Wire } from "./wire.ts";

export interface MeshOptions {
  /** The cluster's name: a token of every subject. */
  readonly clusterName: string;
  readonly clusterId: ClusterId;
  readonly self: Address;
  /** Of this process. At most one mesh per boot id and address: positions never start anew within one. */
  readonly boot: BootId;
  readonly wire: Wire;
  /** A connection of its own for the channel `bulk`; without it `bulk` shares `wire`. */
  readonly bulkWire?: Wire;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default 100. */
  readonly heartbeatMs?: number;
  /** When "no responders" makes a peer absent (R21); default L 200 ms, connection age 600 ms. */
  readonly absence?: Partial<AbsenceRule>;
  readonly limits?: Partial<TransportLimits>;
}

const MiB = 1024 * 1024;

/** For the default `max_value_bytes`; the caller raises them with it (R29). */
export const defaultLimits: TransportLimits = {
  maxMessageBytes: 8 * MiB,
  windowBytes: 8 * MiB,
  minWindowBytes: 2 * MiB,
  natsMaxPendingBytes: 64 * MiB,
};

type MessageHandler = (from: Sender, body: Uint8Array) => void;

/** Beats between two looks for what is long silent. */
const sweepEveryBeats = 10;
const dropLogEveryMs = 1_000;

/**
 * The packet layer: `Transport` over a `Wire`, the same over NATS and over the simulated network. Keeps to
 * its clock; never awaits. Takes over its wires: `close` closes them.
 */
export class Mesh implements Transport {
  readonly self: Address;
  readonly stats: TransportStats = emptyStats();
  readonly #sender: Sender;
  readonly #options: MeshOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #heartbeatMs: number;
  #limits: TransportLimits;
  readonly #main: Lane;
  readonly #bulk: Lane;
  readonly #lanes: readonly Lane[];
  readonly #peers: PeerTable;
  readonly #reader: HeaderReader;
  readonly #handlers = new Map<Channel, MessageHandler>();
  readonly #eventHandlers: ((event: TransportEvent) => void)[] = [];
  readonly #burstHandlers: (() => void)[] = [];
  readonly #heartbeatHandlers: MessageHandler[] = [];
  readonly #foreignHandlers: ((from: Address, cluster: ClusterId) => void)[] = [];
  readonly #nextDropLogMs = new Map<DropReason, number>();
  #watched: ReadonlySet<Address> = new Set();
  #heartbeatBody: () => Uint8Array | undefined = () => undefined;
  #beats = 0;
  #beatSentMs = 0;
  #cancelBeat: Cancel;
  #local: { readonly channel: Channel; readonly body: Uint8Array }[] = [];
  #flushScheduled = false;
  #burstOpen = false;
  #closed = false;

  constructor(options: MeshOptions) {
    invariant(isAddress(options.self), "an address is one token of a subject");
    invariant(options.boot.length > 0, "a process has a boot id");
    this.self = options.self;
    this.#options = options;
    this.#sender = { address: options.self, boot: options.boot };
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#heartbeatMs = options.heartbeatMs ?? 100;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#peers = new PeerTable({ leaseMs: 200, minConnectionAgeMs: 600, ...options.absence });
    this.#reader = new HeaderReader(options.clusterId, options.self);
    this.#main = this.#lane("main", options.wire);
    this.#bulk = options.bulkWire === undefined ? this.#main : this.#lane("bulk", options.bulkWire);
    this.#lanes = this.#bulk === this.#main ? [this.#main] : [this.#main, this.#bulk];
    for (const lane of this.#lanes) this.#start(lane);
    this.#cancelBeat = this.#clock.after(this.#heartbeatMs, () => this.#beat());
  }

  get maxMessageBytes(): number {
    return this.#limits.maxMessageBytes;
  }

  get connected(): boolean {
    return !this.#closed && this.#main.wire.connected;
  }

  #lane(name: LaneName, wire: Wire): Lane {
    const { clusterName, clusterId, self, boot } = this.#options;
    return new Lane({
      name,
      clusterName,
      clusterId,
      self,
      boot,
      wire,
      stats: this.stats,
      limits: this.#limits,
    });
  }

  #start(lane: Lane): void {
    lane.start(
      (subject, data, noResponders) => this.#onWire(lane, subject, data, noResponders),
      (connected) => this.#onStatus(lane, connected),
    );
    if (!lane.wire.connected) return;
    // Told later, so that handlers registered right after construction hear of it too.
    const { epoch } = lane.wire;
    lane.connectedAtMs = this.#clock.nowMs();
    this.#clock.soon(() => {
      if (lane.wire.connected && lane.wire.epoch === epoch) this.#onStatus(lane, true);
    });
  }

  /** New sizes from here on, such as after a change of `max_value_bytes` (R29). */
  setLimits(limits: Partial<TransportLimits>): void {
    this.#limits = { ...this.#limits, ...limits };
    for (const lane of this.#lanes) lane.setLimits(this.#limits);
  }

  send(to: Address, channel: Channel, body: Uint8Array, priority: Priority = "normal"): SendResult {
    if (body.length > this.#limits.maxMessageBytes) return "too_large";
    if (this.#closed) return "disconnected";
    if (to === this.self) {
      this.#local.push({ channel, body });
      if (this.#local.length === 1) this.#clock.soon(() => this.#deliverLocal());
      return "queued";
    }
    const lane = channel === "bulk" ? this.#bulk : this.#main;
    if (!lane.wire.connected) return "disconnected";
    const link = lane.link(to);
    if (priority === "normal" && !link.admits(body.length)) {
      this.stats.windowStalls++;
      return "window_full";
    }
    link.enqueue(channel, body);
    this.#wantFlush(lane, link);
    return "queued";
  }

  #wantFlush(lane: Lane, link: Link): void {
    lane.markDirty(link);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#clock.soon(() => {
      this.#flushScheduled = false;
      this.flush();
    });
  }

  flush(): void {
    for (const lane of this.#lanes) lane.flush();
  }

  handle(channel: Channel, handler: MessageHandler): void {
    invariant(!this.#handlers.has(channel), `one handler a channel: ${channel}`);
    this.#handlers.set(channel, handler);
  }

  onEvent(handler: (event: TransportEvent) => void): void {
    this.#eventHandlers.push(handler);
  }

  onBurstEnd(handler: () => void): void {
    this.#burstHandlers.push(handler);
  }

  onHeartbeat(handler: MessageHandler): void {
    this.#heartbeatHandlers.push(handler);
  }

  /** Told of each packet of another cluster under this cluster's name; it was dropped already (R1, R30). */
  onForeignCluster(handler: (from: Address, cluster: ClusterId) => void): void {
    this.#foreignHandlers.push(handler);
  }

  heartbeat(peers: readonly Address[], body: () => Uint8Array | undefined): void {
    this.#watched = new Set(peers.filter((peer) => peer !== this.self));
    this.#heartbeatBody = body;
    this.#sendHeartbeats();
  }

  lastHeardMs(peer: Address): number | undefined {
    return peer === this.self ? this.#clock.nowMs() : this.#peers.lastHeardMs(peer);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    this.#cancelBeat();
    for (const lane of this.#lanes) lane.stop();
    await Promise.all(this.#lanes.map((lane) => lane.wire.close()));
  }

  #onStatus(lane: Lane, connected: boolean): void {
    if (this.#closed) return;
    if (!connected) {
      lane.onDisconnected();
      if (lane === this.#main) this.#emit({ kind: "disconnected" });
      return;
    }
    lane.onConnected(this.#clock.nowMs());
    if (lane !== this.#main) return;
    this.#peers.resetAbsence();
    this.#emit({ kind: "connected", epoch: lane.wire.epoch });
    this.#sendHeartbeats();
  }

  #emit(event: TransportEvent): void {
    for (const handler of this.#eventHandlers) {
      this.#guard("event", this.self, () => handler(event));
    }
  }

  /** Nothing a handler throws may reach the wire's reader, which would stop. */
  #guard(what: string, from: Address, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.stats.dropped.handler_threw++;
      this.#logger.error({ err: error, from, what }, "a transport handler threw");
    }
  }

  // ---- receiving

  #onWire(lane: Lane, subject: string, data: Uint8Array, noResponders: boolean): void {
    if (this.#closed) return;
    const from = sourceOf(subject);
    if (noResponders) {
      if (lane === this.#main) this.#onNoResponders(from);
      return;
    }
    const packet = asBuffer(data);
    if (((packet[1] ?? 0) & flagJoin) !== 0) return;
    this.stats.packetsReceived++;
    this.stats.bytesReceived += packet.length;
    const header = this.#reader.read(packet);
    if ("fault" in header) {
      this.#drop(header.fault, from);
      if (header.fault !== "cluster") return;
      const { cluster } = header;
      for (const handler of this.#foreignHandlers) this.#guard("cluster", from, () => handler(from, cluster));
      return;
    }
    if (isAddress(from) && from !== this.self) this.#onPacket(lane, from, header, packet);
    else this.#drop("malformed", from);
  }

  #onPacket(lane: Lane, from: Address, header: Header, packet: Buffer): void {
    const nowMs = this.#clock.nowMs();
    const epoch = lane === this.#main ? lane.wire.epoch : undefined;
    const heard = this.#peers.heard(from, header.boot, nowMs, epoch);
    const sender = this.#peers.sender(from);
    if (heard === "stale" || sender === undefined) {
      this.#drop("stale_boot", from);
      return;
    }
    const link = lane.link(from);
    const reconnected = link.onHeader(header, nowMs);
    if (link.ackDue) this.#wantFlush(lane, link);
    this.#openBurst();
    if (heard === "up") this.#emit({ kind: "peer_up", peer: sender });
    if (reconnected && lane === this.#main) this.#emit({ kind: "peer_reconnected", address: from });
    if ((header.flags & flagHeartbeat) !== 0) {
      this.stats.heartbeatsReceived++;
      const body = plainView(packet, header.bodyStart, packet.length - header.bodyStart);
      for (const handler of this.#heartbeatHandlers)
        this.#guard("heartbeat", from, () => handler(sender, body));
      return;
    }
    // Correlation ids of an earlier process of this node may mean something else now.
    const acceptResponses = header.knownBoot === this.#sender.boot;
    if (header.fragment === undefined) {
      this.#deliver(sender, packet, header.bodyStart, acceptResponses);
      return;
    }
    this.stats.fragmentsReceived++;
    const piece = packet.subarray(header.bodyStart);
    const whole = link.reassemble(header.fragment, piece, nowMs, () => this.#drop("reassembly", from));
    if (whole === undefined) return;
    this.stats.packetsReassembled++;
    this.#deliver(sender, whole, 0, acceptResponses);
  }

  #deliver(sender: Sender, bytes: Buffer, start: number, acceptResponses: boolean): void {
    const complete = readMessages(bytes, start, (channel, body) => {
      if (channel === undefined) this.#drop("unknown_channel", sender.address);
      else if (channel === "response" && !acceptResponses) this.#drop("stale_response", sender.address);
      else {
        this.stats.messagesReceived++;
        this.#hand(channel, sender, body);
      }
    });
    if (!complete) this.#drop("malformed", sender.address);
  }

  #hand(channel: Channel, sender: Sender, body: Uint8Array): void {
    const handler = this.#handlers.get(channel);
    if (handler === undefined) {
      this.#drop("unhandled", sender.address);
      return;
    }
    try {
      handler(sender, body);
    } catch (error) {
      this.stats.dropped.handler_threw++;
      this.#logger.error({ err: error, from: sender.address, what: channel }, "a transport handler threw");
    }
  }

  #deliverLocal(): void {
    const messages = this.#local;
    this.#local = [];
    if (this.#closed) return;
    for (const { channel, body } of messages) {
      this.stats.messagesLocal++;
      this.#hand(channel, this.#sender, body);
    }
    if (!this.#burstOpen) this.#endBurst();
  }

  /**
   * A burst ends after the next poll: by then every packet that waited in the socket has been handed on,
   * over several reads too, and nothing was waited for, since a turn would not start before that poll.
   */
  #openBurst(): void {
    if (this.#burstOpen) return;
    this.#burstOpen = true;
    this.#clock.soon(() => {
      this.#burstOpen = false;
      this.#endBurst();
    });
  }

  #endBurst(): void {
    if (this.#closed) return;
    for (const handler of this.#burstHandlers) this.#guard("burst end", this.self, handler);
  }

  #onNoResponders(address: Address): void {
    this.stats.noRespondersReceived++;
    const nowMs = this.#clock.nowMs();
    const { wire, connectedAtMs } = this.#main;
    if (!this.#peers.noResponders(address, this.#beatSentMs, wire.epoch, nowMs - connectedAtMs)) return;
    this.#emit({ kind: "peer_absent", address });
  }

  #drop(reason: DropReason, from: Address): void {
    this.stats.dropped[reason]++;
    const nowMs = this.#clock.nowMs();
    if (nowMs < (this.#nextDropLogMs.get(reason) ?? Number.NEGATIVE_INFINITY)) return;
    this.#nextDropLogMs.set(reason, nowMs + dropLogEveryMs);
    this.#logger.warn({ from, reason, total: this.stats.dropped[reason] }, "dropped a packet");
  }

  // ---- once a heartbeat

  #beat(): void {
    if (this.#closed) return;
    // Set anew only now: after a stall one late beat, not one for each that was missed (R15).
    this.#cancelBeat = this.#clock.after(this.#heartbeatMs, () => this.#beat());
    const silent = !this.#sendHeartbeats() && this.#watched.size > 0;
    for (const lane of this.#lanes) {
      if (!lane.wire.connected || silent) continue;
      for (const link of lane.links()) link.upkeep(lane === this.#main && this.#watched.has(link.address));
    }
    this.#beats++;
    if (this.#beats % sweepEveryBeats === 0) this.#sweep();
  }

  /** @returns false when nothing was sent: disconnected, or kept silent (R8) */
  #sendHeartbeats(): boolean {
    const { wire } = this.#main;
    if (this.#closed || !wire.connected || this.#watched.size === 0) return false;
    let body: Uint8Array | undefined;
    this.#guard("heartbeat body", this.self, () => {
      body = this.#heartbeatBody();
    });
    if (body === undefined) return false;
    const { clusterName } = this.#options;
    this.#beatSentMs = this.#clock.nowMs();
    for (const peer of this.#watched) {
      // "No responders" comes to our own inbox, as if from the peer: the subject says who is missing.
      const reply = packetSubject("main", clusterName, this.self, peer);
      this.#main.link(peer).sendHeartbeat(flagHeartbeat, body, reply);
    }
    return true;
  }

  #sweep(): void {
    const nowMs = this.#clock.nowMs();
    const forgotten = this.#main.sweep(nowMs, this.#watched);
    if (this.#bulk !== this.#main) this.#bulk.sweep(nowMs, this.#watched);
    for (const address of forgotten) this.#peers.forget(address);
  }
}
