import { addressOf, type GroupId, groupOfRow, groupRow, metaTags, type NodeId, ProtocolError } from "#proto";
import type { Message } from "#raft/core";
import { invariant, type Logger } from "#runtime";
import type { Batch, Engine, Range } from "#storage";
import type { Transport } from "#transport";
import type { Group } from "./group.ts";
import type { HostStats } from "./options.ts";
import { anyOverlap } from "./ranges.ts";
import type { Replicas } from "./replicas.ts";
import { appliedRow, appliedValue } from "./rows.ts";
import {
  addChecksum,
  type BulkMessage,
  decodeBlock,
  decodeEnd,
  encodeBulk,
  encodeEnd,
  type SnapshotEnd,
} from "./snapshot-wire.ts";

type Chunk = Extract<BulkMessage, { kind: "chunk" }>;

interface Staging {
  readonly id: string;
  readonly node: NodeId;
  /** Chunks staged so far, which is the sequence awaited. */
  next: number;
  checksum: number;
  /** All is there; the core is about to be asked, or has taken it. */
  end?: SnapshotEnd;
  /** Monotonic ms of the last chunk. */
  aliveMs: number;
}

/** Rows of a stream that has gone silent are given up after this long. */
const silentMs = 60_000;

const overlapsOther = "it overlaps another replica here";

/** Bytes cleared in one slice, at most. */
const sliceBytes = 1024 * 1024;

export const markRow = (group: GroupId): Uint8Array => groupRow(metaTags.hostInstalling, group);

function stagingRow(group: GroupId, sequence: number): Uint8Array {
  const row = Buffer.allocUnsafe(13);
  row.set(groupRow(metaTags.hostStaging, group), 0);
  row.writeUInt32BE(sequence, 9);
  return row;
}

export function stagingRange(group: GroupId): Range {
  return { family: "meta", start: stagingRow(group, 0), end: stagingRow(group, 0xffffffff) };
}

/**
 * Takes streamed snapshots. Chunks wait in rows of their own beside the state; only when all are there and
 * their checksum holds is the snapshot stepped into the core, and only behind a synced mark does the old
 * state give way. A crash in between finds the mark and goes on from the staged rows (R4).
 */
export class SnapshotReceiver {
  readonly #engine: Engine;
  readonly #transport: Transport;
  readonly #logger: Logger;
  readonly #onWriteError: (error: Error) => void;
  readonly #isTaken: Replicas["isTaken"];
  readonly #staging: Map<GroupId, Staging> = new Map();
  readonly #stats: Pick<HostStats, "snapshotBytesReceived">;

  constructor(parts: {
    readonly engine: Engine;
    readonly transport: Transport;
    readonly logger: Logger;
    readonly stats: Pick<HostStats, "snapshotBytesReceived">;
    readonly onWriteError: (error: Error) => void;
    /** Whether rows of another replica lie in these ranges, a dead one's not yet cleared among them (R5). */
    readonly isTaken: Replicas["isTaken"];
  }) {
    this.#engine = parts.engine;
    this.#transport = parts.transport;
    this.#logger = parts.logger;
    this.#stats = parts.stats;
    this.#onWriteError = parts.onWriteError;
    this.#isTaken = parts.isTaken;
  }

  /** @returns the message to step into the core once the stream is whole */
  onChunk(group: Group, node: NodeId, chunk: Chunk, nowMs: number): Message | undefined {
    const id = group.group;
    let staging = this.#staging.get(id);
    // What is whole is the core's to take or leave: a newer stream has to wait, or its first chunk would
    // sweep away what an accepted snapshot is about to be installed from.
    const isBusy = group.installing || staging?.end !== undefined;
    if (chunk.sequence === 0 && staging?.id !== chunk.id && !isBusy) {
      this.discard(id);
      // It is looked at again once all is there: a replica may come to lie there meanwhile.
      if (this.#overlaps(id, chunk.ranges ?? [], chunk.absorbed ?? [])) {
        this.#refuse(node, chunk.id, overlapsOther);
        return undefined;
      }
      staging = { id: chunk.id, node, next: 0, checksum: 0, aliveMs: nowMs };
      this.#staging.set(id, staging);
    }
    if (staging === undefined || staging.id !== chunk.id || chunk.sequence > staging.next) {
      this.#refuse(node, chunk.id, "a chunk is missing or the group is busy");
      return undefined;
    }
    staging.aliveMs = nowMs;
    if (chunk.sequence < staging.next || staging.end !== undefined) {
      // Doubled on the way.
      if (chunk.body !== undefined) this.#ack(node, chunk);
      return undefined;
    }
    return chunk.body === undefined
      ? this.#complete(group, staging, chunk)
      : this.#stage(id, staging, chunk, chunk.body);
  }

  #stage(group: GroupId, staging: Staging, chunk: Chunk, body: Uint8Array): undefined {
    try {
      // Behind the mark there is no way back: what cannot be read must not get there.
      decodeBlock(body);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.discard(group);
      this.#refuse(staging.node, chunk.id, error.message);
      return;
    }
    staging.next += 1;
    staging.checksum = addChecksum(staging.checksum, body);
    this.#stats.snapshotBytesReceived += body.length;
    const batch = this.#engine.batch();
    batch.put("meta", stagingRow(group, chunk.sequence), body);
    this.#write(batch);
    this.#ack(staging.node, chunk);
  }

  #complete(group: Group, staging: Staging, chunk: Chunk): Message | undefined {
    const { end } = chunk;
    if (end === undefined || end.chunks !== chunk.sequence || end.checksum !== staging.checksum) {
      this.discard(group.group);
      this.#refuse(staging.node, chunk.id, "length or checksum differ");
      return undefined;
    }
    if (this.#overlaps(group.group, end.ranges, end.absorbed ?? [])) {
      this.discard(group.group);
      this.#refuse(staging.node, chunk.id, overlapsOther);
      return undefined;
    }
    staging.end = end;
    const { from, to } = chunk;
    return { kind: "snapshot", from, to, term: end.term, snapshot: end.meta };
  }

  #overlaps(group: GroupId, ranges: readonly Range[], absorbed: readonly GroupId[]): boolean {
    return this.#isTaken(group, ranges, absorbed) || this.#isPromised(group, ranges);
  }

  /** Whether a whole snapshot of another group, not installed yet, is to lie there. */
  #isPromised(group: GroupId, ranges: readonly Range[]): boolean {
    for (const [other, { end }] of this.#staging) {
      if (other !== group && end !== undefined && anyOverlap(end.ranges, ranges)) return true;
    }
    return false;
  }

  /** The core did not want it (it is not ahead of the log): the sender may go on with the log. */
  unwanted(group: GroupId): void {
    const staging = this.#staging.get(group);
    this.discard(group);
    if (staging !== undefined) this.#answer(staging.node, { kind: "done", id: staging.id });
  }

  /** Gives up what is staged. Never once the mark is written: the install would miss its chunks. */
  discard(group: GroupId): void {
    const staging = this.#staging.get(group);
    if (staging === undefined) return;
    this.#staging.delete(group);
    if (staging.next === 0) return;
    const batch = this.#engine.batch();
    for (let i = 0; i < staging.next; i++) batch.delete("meta", stagingRow(group, i));
    this.#write(batch);
  }

  /** The replica is buried: its rows go with the others. */
  forget(group: GroupId): void {
    this.#staging.delete(group);
  }

  /** Gives up streams that have gone silent. */
  sweep(nowMs: number): void {
    for (const [group, { end, aliveMs }] of this.#staging) {
      if (end === undefined && nowMs - aliveMs > silentMs) this.discard(group);
    }
  }

  /**
   * Puts the applying mark in the batch that also holds the raft state; `batch` is to be synced.
   * @param oldRanges - what the state machine holds: after a crash nobody else would remember to clear it
   * @returns what the install takes, and whom it takes it from
   */
  mark(group: GroupId, batch: Batch, oldRanges: readonly Range[]): SnapshotEnd {
    const end = this.#staging.get(group)?.end;
    invariant(end !== undefined, `group ${group}: a snapshot was accepted that is not staged`);
    const marked = { ...end, ranges: [...oldRanges, ...end.ranges] };
    batch.put("meta", markRow(group), encodeEnd(marked));
    return marked;
  }

  /** After the install: the sender hears that it is done. */
  installed(group: GroupId): void {
    const staging = this.#staging.get(group);
    this.#staging.delete(group);
    if (staging !== undefined) this.#answer(staging.node, { kind: "done", id: staging.id });
  }

  #write(batch: Batch): void {
    this.#engine.write(batch, { sync: false }, (error) => {
      if (error !== undefined) this.#onWriteError(error);
    });
  }

  #ack(node: NodeId, chunk: Chunk): void {
    this.#answer(node, { kind: "ack", id: chunk.id, sequence: chunk.sequence });
  }

  #refuse(node: NodeId, id: string, reason: string): void {
    this.#logger.info({ reason }, "snapshot not taken");
    this.#answer(node, { kind: "refused", id, reason });
  }

  #answer(node: NodeId, message: BulkMessage): void {
    this.#transport.send(addressOf(node), "bulk", encodeBulk(message), "urgent");
  }
}

/** What an install under way clears; nothing when none is. */
export function installedRanges(engine: Engine, group: GroupId): readonly Range[] {
  const mark = engine.get("meta", markRow(group));
  return mark === undefined ? [] : decodeEnd(mark).ranges;
}

/**
 * The work behind a durable mark, in slices (R13): each call does one and says whether more is left. The old
 * rows go, the staged ones come, then the applied row, and the mark is taken away. A crash begins it anew from
 * the mark and the staged rows, which stay to the end.
 */
export function installer(
  engine: Engine,
  group: GroupId,
  sliceRows: number,
  write: (batch: Batch) => void,
): () => boolean {
  const mark = engine.get("meta", markRow(group));
  invariant(mark !== undefined, `group ${group}: an install without its mark`);
  const end = decodeEnd(mark);
  const toClear: Range[] = [...end.ranges];
  let chunk = 0;
  return () => {
    const range = toClear[0];
    const batch = engine.batch();
    if (range !== undefined) {
      const { rows, finished } = engine.scan(range, { limit: sliceRows, maxBytes: sliceBytes });
      for (let i = 0; i < rows.length; i += 2) batch.delete(range.family, rows[i] ?? new Uint8Array(0));
      if (finished) toClear.shift();
      if (batch.size > 0) write(batch);
      return true;
    }
    if (chunk < end.chunks) {
      const body = engine.get("meta", stagingRow(group, chunk));
      invariant(body !== undefined, `group ${group}: staged chunk ${chunk} is missing`);
      const block = decodeBlock(body);
      for (let i = 0; i + 1 < block.rows.length; i += 2) {
        batch.put(block.family, block.rows[i] ?? new Uint8Array(0), block.rows[i + 1] ?? new Uint8Array(0));
      }
      chunk += 1;
      if (batch.size > 0) write(batch);
      return true;
    }
    batch.put("meta", appliedRow(group), appliedValue(end.meta));
    batch.delete("meta", markRow(group));
    for (let i = 0; i < end.chunks; i++) batch.delete("meta", stagingRow(group, i));
    write(batch);
    return false;
  };
}

/**
 * At the start: goes on with the installs that a crash broke off, then drops what streams had staged, which
 * nobody will continue. Nothing turns yet, so no slices.
 * @param failed - after a write that failed nothing is written any more (R8), so that no loop here would end
 */
export function recoverInstalls(
  engine: Engine,
  sliceRows: number,
  write: (batch: Batch) => void,
  failed: () => boolean,
): void {
  const marks = tagRange(metaTags.hostInstalling);
  for (;;) {
    const [row] = engine.scan(marks, { limit: 1 }).rows;
    if (row === undefined) break;
    const next = installer(engine, groupOfRow(row), sliceRows, write);
    while (next()) if (failed()) return;
    if (failed()) return;
  }
  for (;;) {
    const { rows, finished } = engine.scan(tagRange(metaTags.hostStaging), {
      limit: sliceRows,
      maxBytes: sliceBytes,
    });
    const batch = engine.batch();
    for (let i = 0; i < rows.length; i += 2) batch.delete("meta", rows[i] ?? new Uint8Array(0));
    if (batch.size > 0) write(batch);
    if (finished || failed()) return;
  }
}

function tagRange(tag: number): Range {
  return { family: "meta", start: groupRow(tag, 0), end: groupRow(tag + 1, 0) };
}
