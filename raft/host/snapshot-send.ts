import { addressOf, type GroupId, type NodeId, type ReplicaId } from "#proto";
import type { Message, SnapshotMeta } from "#raft/core";
import type { Clock, Logger } from "#runtime";
import type { Engine, Range, RangeCursor } from "#storage";
import type { Transport } from "#transport";
import type { HostLimits } from "./config.ts";
import type { Group } from "./group.ts";
import type { HostStats } from "./options.ts";
import { Pace } from "./pace.ts";
import { addChecksum, type BulkMessage, encodeBlock, encodeBulk, type SnapshotEnd } from "./snapshot-wire.ts";

/** A message that is read and encoded, and has not left yet. */
interface Unsent {
  readonly bytes: Uint8Array;
  readonly isEnd: boolean;
}

interface Sending {
  readonly id: string;
  readonly group: Group;
  readonly to: ReplicaId;
  readonly node: NodeId;
  readonly term: number;
  readonly meta: SnapshotMeta;
  readonly ranges: readonly Range[];
  readonly absorbed: readonly GroupId[];
  readonly cursor: RangeCursor;
  sequence: number;
  acked: number;
  checksum: number;
  ended: boolean;
  unsent: Unsent | undefined;
  /** When each message left, by its sequence, monotonic ms. */
  readonly sentAtMs: number[];
  /** From leaving to acknowledgement, at best. */
  fastestMs: number;
  /** Monotonic ms of the last sign of progress. */
  aliveMs: number;
}

/** No sign of the receiver for this long: the core may try again. */
const stalledMs = 10_000;
/** Read and encoded in one go. Two, so that the window fills up from what an acknowledgement brings. */
const chunksAtOnce = 2;
/**
 * Streams state to followers that fell behind the log: chunks under an acknowledged window and a rate. The
 * cursor and the index it is sent under are taken in one go, so that they are the same state (R4).
 */
export class SnapshotSender {
  readonly #engine: Engine;
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #limits: HostLimits;
  readonly #boot: string;
  readonly #finished: (group: Group, to: ReplicaId, ok: boolean) => void;
  readonly #sending: Map<string, Sending> = new Map();
  #counter = 0;
  readonly #pace: Pace;
  readonly #stats: Pick<HostStats, "snapshotBytesSent">;

  constructor(parts: {
    readonly engine: Engine;
    readonly transport: Transport;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly limits: HostLimits;
    readonly boot: string;
    readonly stats: Pick<HostStats, "snapshotBytesSent">;
    readonly finished: (group: Group, to: ReplicaId, ok: boolean) => void;
    /** The rate allows for more: `goOn` is to be called. */
    readonly resumed: () => void;
  }) {
    this.#engine = parts.engine;
    this.#transport = parts.transport;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
    this.#limits = parts.limits;
    this.#boot = parts.boot;
    this.#finished = parts.finished;
    this.#stats = parts.stats;
    const { clock, limits, resumed } = parts;
    this.#pace = new Pace(clock, () => limits.snapshotBytesPerS, resumed);
  }

  get active(): number {
    return this.#sending.size;
  }

  /** Begins a stream for a core's snapshot message; one per replica at a time. */
  begin(group: Group, node: NodeId, message: Message): void {
    const { core } = group;
    if (core.role !== "leader" || core.term !== message.term) return;
    // The core may have written its message before the last entries were applied: what the cursor sees is
    // the state now, and under an older index the receiver would apply those entries twice.
    const meta = group.log.snapshot();
    if (meta === undefined) return;
    this.abort(group, message.to);
    const ranges = group.machine.snapshotRanges();
    this.#counter += 1;
    const id = `${this.#boot}:${this.#counter}`;
    const sending: Sending = {
      id,
      group,
      to: message.to,
      node,
      term: message.term,
      meta,
      ranges,
      absorbed: group.machine.absorbed?.() ?? [],
      cursor: this.#engine.cursor(ranges),
      sequence: 0,
      acked: -1,
      checksum: 0,
      ended: false,
      unsent: undefined,
      sentAtMs: [],
      fastestMs: Number.POSITIVE_INFINITY,
      aliveMs: this.#clock.nowMs(),
    };
    group.snapshotsOut.set(message.to, meta.index);
    this.#sending.set(id, sending);
    this.#logger.info({ group: group.group, to: message.to, index: meta.index }, "snapshot begins");
    this.#pump(sending);
  }

  /** Ends the streams of a group (to one replica, or to all) without a word to the core. */
  abort(group: Group, to?: ReplicaId): void {
    for (const sending of [...this.#sending.values()]) {
      if (sending.group === group && (to === undefined || sending.to === to)) this.#drop(sending);
    }
  }

  onMessage(message: Exclude<BulkMessage, { kind: "chunk" }>): void {
    const sending = this.#sending.get(message.id);
    if (sending === undefined) return;
    sending.aliveMs = this.#clock.nowMs();
    if (message.kind === "ack") {
      this.#noteDelay(sending, message.sequence);
      sending.acked = Math.max(sending.acked, message.sequence);
      this.#pump(sending);
      return;
    }
    if (message.kind === "refused") {
      this.#logger.info({ group: sending.group.group, reason: message.reason }, "snapshot refused");
    }
    this.#drop(sending);
    this.#finished(sending.group, sending.to, message.kind === "done");
  }

  #noteDelay(sending: Sending, sequence: number): void {
    const sentAtMs = sending.sentAtMs[sequence];
    if (sentAtMs === undefined || sequence <= sending.acked) return;
    const tookMs = this.#clock.nowMs() - sentAtMs;
    sending.fastestMs = Math.min(sending.fastestMs, tookMs);
    this.#pace.arrived(tookMs - sending.fastestMs);
  }

  /** Goes on with what waited for the rate, and gives up on what stalled. */
  tick(): void {
    const nowMs = this.#clock.nowMs();
    for (const sending of [...this.#sending.values()]) {
      // With nothing under way it is our own rate that it waits for.
      const isFree = sending.acked === sending.sequence - 1 && sending.unsent === undefined;
      if (isFree && !sending.ended) sending.aliveMs = nowMs;
      if (nowMs - sending.aliveMs > stalledMs || sending.group.closed) {
        this.#drop(sending);
        this.#finished(sending.group, sending.to, false);
      }
    }
    this.goOn();
  }

  goOn(): void {
    for (const sending of [...this.#sending.values()]) {
      const before = sending.sequence;
      this.#pump(sending);
      if (sending.sequence === before || !this.#sending.delete(sending.id)) continue;
      // To the end of the line: the first must not use up the rate for ever.
      this.#sending.set(sending.id, sending);
    }
  }

  close(): void {
    this.#pace.stop();
    for (const sending of [...this.#sending.values()]) this.#drop(sending);
  }

  #drop(sending: Sending): void {
    if (!this.#sending.delete(sending.id)) return;
    sending.cursor.close();
    if (sending.group.snapshotsOut.get(sending.to) === sending.meta.index) {
      sending.group.snapshotsOut.delete(sending.to);
    }
  }

  /** A chunk or two: each acknowledgement brings the next, so that a turn is not long for a fast stream (R13). */
  #pump(sending: Sending): void {
    // The first chunk asks whether the snapshot may lie there at all: refused, it has cost no more.
    const window = sending.acked < 0 ? 1 : this.#limits.snapshotWindowChunks;
    for (let chunks = 0; chunks < chunksAtOnce; chunks++) {
      if (sending.ended || sending.sequence - sending.acked > window || !this.#pace.mayGo()) return;
      sending.unsent ??= this.#next(sending);
      const { bytes, isEnd } = sending.unsent;
      const result = this.#transport.send(addressOf(sending.node), "bulk", bytes);
      // Others fill the window too, and a new peer's is small at first: what was read waits for room (R28).
      if (result === "window_full") return;
      if (result !== "queued") {
        this.#drop(sending);
        this.#finished(sending.group, sending.to, false);
        return;
      }
      sending.unsent = undefined;
      sending.sentAtMs[sending.sequence] = this.#clock.nowMs();
      sending.sequence += 1;
      sending.ended = isEnd;
      this.#pace.spend(bytes.length);
      this.#stats.snapshotBytesSent += bytes.length;
    }
  }

  /** Reads on, and encodes it. */
  #next(sending: Sending): Unsent {
    const block = sending.cursor.next(this.#limits.sliceRows, this.#limits.snapshotChunkBytes);
    const body = block === undefined ? undefined : encodeBlock(block);
    const bytes = encodeBulk(this.#message(sending, body));
    if (body !== undefined) sending.checksum = addChecksum(sending.checksum, body);
    return { bytes, isEnd: block === undefined };
  }

  #message(sending: Sending, body: Uint8Array | undefined): BulkMessage {
    const head = {
      kind: "chunk",
      id: sending.id,
      group: sending.group.group,
      from: sending.group.replica,
      to: sending.to,
      sequence: sending.sequence,
      ...(sending.sequence === 0 ? { ranges: sending.ranges, absorbed: sending.absorbed } : {}),
    } as const;
    if (body !== undefined) return { ...head, body };
    const end: SnapshotEnd = {
      chunks: sending.sequence,
      checksum: sending.checksum,
      term: sending.term,
      meta: sending.meta,
      ranges: sending.ranges,
      absorbed: sending.absorbed,
    };
    return { ...head, end };
  }
}
