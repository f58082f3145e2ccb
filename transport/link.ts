import type { Address, BootId, ClusterId } from "#proto";
import {
  type Fragment,
  flagProbe,
  type Header,
  headerBytes,
  headerPrefix,
  messageHeaderBytes,
  writeHeader,
  writeMessage,
} from "./packet.ts";
import { Reassembly } from "./reassembly.ts";
import type { TransportStats } from "./stats.ts";
import type { Channel } from "./transport.ts";
import type { Wire } from "./wire.ts";

/** Sizes, all in bytes; they follow `max_value_bytes` (R29). */
export interface TransportLimits {
  /** Largest message; default 8 MiB. Unfinished fragments of one source may take twice this. */
  readonly maxMessageBytes: number;
  /** Most bytes under way to one destination; default 8 MiB. */
  readonly windowBytes: number;
  /** Least window granted to a source, however many there are: one largest command; default 2 MiB. */
  readonly minWindowBytes: number;
  /** What the server keeps for a slow connection before it cuts it; its default, 64 MiB, is ours. */
  readonly natsMaxPendingBytes: number;
}

/** So many heartbeats without an acknowledgement, and even a few bytes under way are taken for lost. */
const patientUpkeeps = 4;

/** What all links of one connection share. */
export interface LinkContext {
  readonly cluster: ClusterId;
  readonly boot: BootId;
  readonly wire: Wire;
  readonly stats: TransportStats;
  limits: TransportLimits;
  /** The window this node grants each source now. */
  grantBytes: number;
  /** Bytes sent over all links: where a new link's positions begin, so that they never go back. */
  totalSent: number;
}

/**
 * What is under way between this process and one address over one connection: the queue of the next
 * packet, the byte windows of both directions, and unfinished fragments.
 *
 * Windows (R28): `position` counts the bytes sent to the destination since the process's start and never
 * goes back; each packet carries it, and the receiver answers with the highest it has seen, which is a
 * cumulative acknowledgement that a lost packet cannot hold up: the next packet or heartbeat covers it. A
 * new connection epoch of either side counts all that was under way as gone.
 */
export class Link {
  readonly address: Address;
  /** Woken when the queue or a duty to acknowledge waits for the next flush. */
  dirty = false;
  ackDue = false;
  lastReceivedMs: number | undefined;
  readonly #context: LinkContext;
  readonly #subject: string;
  #prefix: Buffer;
  #knownBoot: BootId = "";
  #peerEpoch = 0;
  #channels: Channel[] = [];
  #bodies: Uint8Array[] = [];
  #queuedBytes = 0;
  #sent: number;
  #acked: number;
  #ackedAtUpkeep: number;
  /** Upkeeps in a row that found bytes under way and no new acknowledgement. */
  #stuckUpkeeps = 0;
  #windowBytes: number;
  #received = 0;
  #ackSent = 0;
  #fragmentedPackets = 0;
  readonly #reassembly = new Reassembly();

  constructor(context: LinkContext, address: Address, subject: string) {
    this.#context = context;
    this.address = address;
    this.#subject = subject;
    this.#prefix = headerPrefix(context.cluster, address, context.boot, "");
    this.#sent = context.totalSent;
    this.#acked = this.#sent;
    this.#ackedAtUpkeep = this.#sent;
    this.#windowBytes = Math.min(context.limits.windowBytes, context.limits.minWindowBytes);
  }

  get queuedMessages(): number {
    return this.#bodies.length;
  }

  get underWayBytes(): number {
    return this.#sent - this.#acked;
  }

  /** Whether a normal message may be queued. With nothing under way one always may (R28). */
  admits(bodyBytes: number): boolean {
    const taken = this.#sent - this.#acked + this.#queuedBytes;
    return taken === 0 || taken + messageHeaderBytes + bodyBytes <= this.#windowBytes;
  }

  enqueue(channel: Channel, body: Uint8Array): void {
    this.#channels.push(channel);
    this.#bodies.push(body);
    this.#queuedBytes += messageHeaderBytes + body.length;
  }

  /** Forgets the queue; returns how many messages it held. */
  dropQueue(): number {
    const lost = this.#bodies.length;
    this.#channels = [];
    this.#bodies = [];
    this.#queuedBytes = 0;
    return lost;
  }

  /** What was under way over an earlier connection is gone: the window is whole again. */
  resetWindow(): void {
    this.#acked = this.#sent;
    this.#reassembly.clear();
  }

  /** Sends the queue: one packet where it fits, else the fewest; an oversize message in fragments. */
  flush(): void {
    const channels = this.#channels;
    const bodies = this.#bodies;
    if (bodies.length === 0) {
      if (this.ackDue) this.sendControl(0);
      return;
    }
    this.#channels = [];
    this.#bodies = [];
    this.#queuedBytes = 0;
    const room = this.#context.wire.maxPayloadBytes - headerBytes(this.#prefix, false);
    let first = 0;
    let bytes = 0;
    for (let next = 0; next < bodies.length; next++) {
      const messageBytes = messageHeaderBytes + (bodies[next]?.length ?? 0);
      if (next > first && bytes + messageBytes > room) {
        this.#sendMessages(channels, bodies, first, next, bytes, room);
        first = next;
        bytes = 0;
      }
      bytes += messageBytes;
    }
    this.#sendMessages(channels, bodies, first, bodies.length, bytes, room);
  }

  #sendMessages(
    channels: readonly Channel[],
    bodies: readonly Uint8Array[],
    first: number,
    end: number,
    bytes: number,
    room: number,
  ): void {
    const whole = bytes <= room;
    const packet = Buffer.allocUnsafe(bytes + (whole ? headerBytes(this.#prefix, false) : 0));
    let at = whole ? this.#writeHeader(packet, 0) : 0;
    for (let i = first; i < end; i++) {
      const body = bodies[i];
      const channel = channels[i];
      if (body !== undefined && channel !== undefined) at = writeMessage(packet, at, channel, body);
    }
    this.#context.stats.messagesSent += end - first;
    if (whole) this.#publish(packet, true);
    else this.#sendFragments(packet);
  }

  #sendFragments(body: Buffer): void {
    const header = headerBytes(this.#prefix, true);
    const step = this.#context.wire.maxPayloadBytes - header;
    const count = Math.ceil(body.length / step);
    const packet = this.#fragmentedPackets++ >>> 0;
    for (let index = 0; index < count; index++) {
      const piece = body.subarray(index * step, (index + 1) * step);
      const bytes = Buffer.allocUnsafe(header + piece.length);
      const start = this.#writeHeader(bytes, 0, { packet, index, count, step, total: body.length });
      bytes.set(piece, start);
      this.#context.stats.fragmentsSent++;
      this.#publish(bytes, true);
    }
  }

  /** A packet of its own without messages: acknowledgement, probe. Not counted in the window. */
  sendControl(flags: number): void {
    const packet = Buffer.allocUnsafe(headerBytes(this.#prefix, false));
    this.#writeHeader(packet, flags, undefined, 0);
    if (this.#publish(packet, false)) this.#context.stats.acksSent++;
  }

  /** @param reply - where the network is to say that nobody listens */
  sendHeartbeat(flags: number, body: Uint8Array, reply: string): void {
    const packet = Buffer.allocUnsafe(headerBytes(this.#prefix, false) + body.length);
    packet.set(body, this.#writeHeader(packet, flags, undefined, 0));
    if (this.#publish(packet, false, reply)) this.#context.stats.heartbeatsSent++;
  }

  #writeHeader(target: Buffer, flags: number, fragment?: Fragment, counted = target.length): number {
    const { wire, grantBytes } = this.#context;
    const position = this.#sent + counted;
    const numbers = { flags, epoch: wire.epoch, position, grantBytes, acked: this.#received };
    return writeHeader(target, this.#prefix, numbers, fragment);
  }

  #publish(packet: Buffer, counted: boolean, reply?: string): boolean {
    const { wire, stats } = this.#context;
    if (!wire.publish(this.#subject, packet, reply)) return false;
    stats.packetsSent++;
    stats.bytesSent += packet.length;
    this.ackDue = false;
    this.#ackSent = this.#received;
    if (counted) {
      this.#sent += packet.length;
      this.#context.totalSent += packet.length;
    }
    return true;
  }

  /**
   * Takes in what a packet's header says about both directions. Wants no process older than the known.
   * @returns whether the process known already speaks over a new connection
   */
  onHeader(header: Header, nowMs: number): boolean {
    this.lastReceivedMs = nowMs;
    const reconnected = header.boot === this.#knownBoot && header.epoch > this.#peerEpoch;
    if (header.boot !== this.#knownBoot) {
      this.#knownBoot = header.boot;
      this.#prefix = headerPrefix(this.#context.cluster, this.address, this.#context.boot, header.boot);
      this.#received = 0;
      this.#ackSent = 0;
      this.#peerEpoch = header.epoch;
      this.resetWindow();
    } else if (reconnected) {
      this.#peerEpoch = header.epoch;
      this.resetWindow();
    }
    this.#windowBytes = Math.min(this.#context.limits.windowBytes, header.grantBytes);
    if (header.knownBoot === this.#context.boot && header.acked > this.#acked) {
      // Beyond what was sent lies only what a process before a clean start of this link acknowledged.
      if (header.acked <= this.#sent) this.#acked = header.acked;
    }
    if (header.position > this.#received) this.#received = header.position;
    const probed = (header.flags & flagProbe) !== 0;
    if (probed || this.#received - this.#ackSent >= this.#context.grantBytes / 4) this.ackDue = true;
    return reconnected;
  }

  reassemble(fragment: Fragment, piece: Buffer, nowMs: number, onDropped: () => void): Buffer | undefined {
    const limitBytes = 2 * this.#context.limits.maxMessageBytes;
    return this.#reassembly.add(fragment, piece, nowMs, limitBytes, onDropped);
  }

  /**
   * Once a heartbeat: no acknowledgement waits longer than that, and a window that stays half full without
   * one is probed, lest a lost tail closes it for ever (R28). A smaller tail may be on its way still; after a
   * few heartbeats it is lost, too, and would keep a message out that needs nearly all of the window.
   * @param beating - the heartbeat carries both already
   */
  upkeep(beating: boolean): void {
    const underWayBytes = this.#sent - this.#acked;
    const stuck = underWayBytes > 0 && this.#acked === this.#ackedAtUpkeep;
    this.#stuckUpkeeps = stuck ? this.#stuckUpkeeps + 1 : 0;
    this.#ackedAtUpkeep = this.#acked;
    if (beating) return;
    const lost = underWayBytes >= this.#windowBytes / 2 || this.#stuckUpkeeps >= patientUpkeeps;
    if (stuck && lost) this.sendControl(flagProbe);
    else if (this.ackDue || this.#received !== this.#ackSent) this.sendControl(0);
  }

  expireFragments(beforeMs: number, onDropped: () => void): void {
    this.#reassembly.expire(beforeMs, onDropped);
  }
}
