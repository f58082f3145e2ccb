import type { Address, BootId, ClusterId } from "#proto";
import type { Channel } from "./transport.ts";

/**
 * The layout of a packet, by hand since every turn of every node pays for it. Numbers are little-endian.
 *
 *     u8 version | u8 flags
 *     u8 length, cluster id | u8 length, destination | u8 length, source's boot id
 *     u8 length, destination's boot id as the source knows it (length 0: not at all)
 *     u32 source's connection epoch | f64 position | u32 granted window | f64 acknowledged position
 *     with flag `fragment`: u32 packet number | u16 index | u16 count | u32 bytes a fragment | u32 total
 *     then: heartbeat: its body. Else: messages, each u8 channel | u32 length | body
 *
 * The source's address is the last token of the subject, where a NATS server can enforce it.
 */
export const packetVersion = 1;

export const flagHeartbeat = 1;
export const flagFragment = 2;
/** Asks for an acknowledgement now. */
export const flagProbe = 4;
/** Join traffic: another layout follows; not for the mesh. */
export const flagJoin = 8;

const numbersBytes = 24;
const fragmentBytes = 16;
/** In front of each message: channel and length. */
export const messageHeaderBytes = 5;

const channels: readonly Channel[] = ["raft", "request", "response", "bulk", "event"];
const channelCodes: Readonly<Record<Channel, number>> = {
  raft: 0,
  request: 1,
  response: 2,
  bulk: 3,
  event: 4,
};

export interface Fragment {
  /** Counts the fragmented packets of a source and lane. */
  readonly packet: number;
  readonly index: number;
  readonly count: number;
  /** Bytes of every fragment but the last. */
  readonly step: number;
  /** Bytes of all fragments together. */
  readonly total: number;
}

export interface Header {
  readonly flags: number;
  readonly boot: BootId;
  /** The boot id to which the acknowledgement belongs; "" when the source does not know the destination. */
  readonly knownBoot: BootId;
  /** The source's connection epoch. */
  readonly epoch: number;
  /** Bytes the source has sent to this destination, this packet included. */
  readonly position: number;
  /** Bytes the source allows to be under way to it. */
  readonly grantBytes: number;
  /** Highest position the source has received from the destination. */
  readonly acked: number;
  readonly fragment: Fragment | undefined;
  readonly bodyStart: number;
}

/** Why a packet was refused by its header. */
export type HeaderFault =
  | { readonly fault: "version" | "destination" | "malformed" }
  | { readonly fault: "cluster"; readonly cluster: ClusterId };

/** The part of the header that stays the same between two boots of the destination. */
export function headerPrefix(
  cluster: ClusterId,
  destination: Address,
  boot: BootId,
  knownBoot: BootId,
): Buffer {
  const texts = [cluster, destination, boot, knownBoot].map((text) => Buffer.from(text, "latin1"));
  const parts = texts.flatMap((text) => [Buffer.of(text.length), text]);
  return Buffer.concat([Buffer.of(packetVersion, 0), ...parts]);
}

export interface HeaderNumbers {
  readonly flags: number;
  readonly epoch: number;
  readonly position: number;
  readonly grantBytes: number;
  readonly acked: number;
}

export function headerBytes(prefix: Buffer, fragmented: boolean): number {
  return prefix.length + numbersBytes + (fragmented ? fragmentBytes : 0);
}

/** Writes a header at the start of `target`; returns where the body begins. */
export function writeHeader(
  target: Buffer,
  prefix: Buffer,
  numbers: HeaderNumbers,
  fragment?: Fragment,
): number {
  target.set(prefix, 0);
  target[1] = numbers.flags | (fragment === undefined ? 0 : flagFragment);
  let at = target.writeUInt32LE(numbers.epoch, prefix.length);
  at = target.writeDoubleLE(numbers.position, at);
  at = target.writeUInt32LE(numbers.grantBytes, at);
  at = target.writeDoubleLE(numbers.acked, at);
  if (fragment === undefined) return at;
  at = target.writeUInt32LE(fragment.packet, at);
  at = target.writeUInt16LE(fragment.index, at);
  at = target.writeUInt16LE(fragment.count, at);
  at = target.writeUInt32LE(fragment.step, at);
  return target.writeUInt32LE(fragment.total, at);
}

/** Writes one message; returns where the next begins. */
export function writeMessage(target: Buffer, at: number, channel: Channel, body: Uint8Array): number {
  target[at] = channelCodes[channel];
  target.writeUInt32LE(body.length, at + 1);
  target.set(body, at + messageHeaderBytes);
  return at + messageHeaderBytes + body.length;
}

/** Reads headers meant for one node of one cluster. */
export class HeaderReader {
  /** Cluster id and destination as they must stand in each packet: compared in one go. */
  readonly #expected: Buffer;
  readonly #clusterBytes: number;

  constructor(cluster: ClusterId, self: Address) {
    const prefix = headerPrefix(cluster, self, "", "");
    this.#expected = prefix.subarray(2, prefix.length - 2);
    this.#clusterBytes = cluster.length;
  }

  /** @param packet - the bytes as they came; never throws, whatever they are */
  read(packet: Buffer): Header | HeaderFault {
    if (packet.length < 2) return { fault: "malformed" };
    if (packet[0] !== packetVersion) return { fault: "version" };
    const expected = this.#expected;
    const identityEnd = 2 + expected.length;
    if (packet.length < identityEnd || expected.compare(packet, 2, identityEnd) !== 0) {
      return this.#mismatch(packet);
    }
    const boot = readText(packet, identityEnd);
    if (boot === undefined || boot.length === 0) return { fault: "malformed" };
    const knownBootAt = identityEnd + 1 + boot.length;
    const knownBoot = readText(packet, knownBootAt);
    if (knownBoot === undefined) return { fault: "malformed" };
    return readNumbers(packet, knownBootAt + 1 + knownBoot.length, boot, knownBoot);
  }

  #mismatch(packet: Buffer): HeaderFault {
    const cluster = readText(packet, 2);
    if (cluster === undefined) return { fault: "malformed" };
    const same =
      cluster.length === this.#clusterBytes &&
      this.#expected.compare(packet, 2, 3 + cluster.length, 0, 1 + cluster.length) === 0;
    if (!same) return { fault: "cluster", cluster };
    return { fault: readText(packet, 3 + cluster.length) === undefined ? "malformed" : "destination" };
  }
}

function readNumbers(packet: Buffer, start: number, boot: BootId, knownBoot: BootId): Header | HeaderFault {
  const flags = packet[1] ?? 0;
  let bodyStart = start + numbersBytes;
  if (packet.length < bodyStart) return { fault: "malformed" };
  const position = packet.readDoubleLE(start + 4);
  const acked = packet.readDoubleLE(start + 16);
  if (!isPosition(position) || !isPosition(acked)) return { fault: "malformed" };
  let fragment: Fragment | undefined;
  if ((flags & flagFragment) !== 0) {
    fragment = readFragment(packet, bodyStart);
    if (fragment === undefined) return { fault: "malformed" };
    bodyStart += fragmentBytes;
  }
  const grantBytes = packet.readUInt32LE(start + 12);
  const epoch = packet.readUInt32LE(start);
  return { flags, boot, knownBoot, epoch, position, grantBytes, acked, fragment, bodyStart };
}

/** Takes only what fits together: with it, pieces cannot overlap or leave gaps. */
function readFragment(packet: Buffer, at: number): Fragment | undefined {
  const bodyBytes = packet.length - at - fragmentBytes;
  if (bodyBytes < 1) return undefined;
  const fragment = {
    packet: packet.readUInt32LE(at),
    index: packet.readUInt16LE(at + 4),
    count: packet.readUInt16LE(at + 6),
    step: packet.readUInt32LE(at + 8),
    total: packet.readUInt32LE(at + 12),
  };
  const { index, count, step, total } = fragment;
  if (step === 0 || index >= count || count !== Math.ceil(total / step)) return undefined;
  const expected = index === count - 1 ? total - index * step : step;
  return bodyBytes === expected ? fragment : undefined;
}

/**
 * Hands out each message of `bytes` as a view.
 * @returns false when the bytes end in the middle of one; those before it were handed out. `visit` gets
 *   undefined for a channel that this version does not know
 */
export function readMessages(
  bytes: Buffer,
  start: number,
  visit: (channel: Channel | undefined, body: Uint8Array) => void,
): boolean {
  let at = start;
  while (at < bytes.length) {
    if (bytes.length - at < messageHeaderBytes) return false;
    const length = bytes.readUInt32LE(at + 1);
    const bodyStart = at + messageHeaderBytes;
    if (bytes.length - bodyStart < length) return false;
    visit(channels[bytes[at] ?? 255], plainView(bytes, bodyStart, length));
    at = bodyStart + length;
  }
  return true;
}

/** A plain `Uint8Array`: a `Buffer`'s `slice` would be a view where readers expect a copy. */
export function plainView(bytes: Buffer, start: number, length: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, length);
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readText(packet: Buffer, at: number): string | undefined {
  const length = packet[at];
  if (length === undefined || packet.length < at + 1 + length) return undefined;
  return packet.toString("latin1", at + 1, at + 1 + length);
}

function isPosition(value: number): boolean {
  return value >= 0 && Number.isSafeInteger(value);
}
