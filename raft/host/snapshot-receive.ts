import { addressOf, type GroupId, groupRow, metaTags, type NodeId } from "#proto";
import type { Message } from "#raft/core";
import { invariant, type Logger } from "#runtime";
import type { Batch, Engine, Range } from "#storage";
import type { Transport } from "#transport";
import type { Group } from "./group.ts";
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
  next: number;
  checksum: number;
  end?: SnapshotEnd;
}

export const markRow = (group: GroupId): Uint8Array => groupRow(metaTags.hostInstalling, group);

function stagingRow(group: GroupId, sequence: number): Uint8Array {
  const row = Buffer.allocUnsafe(13);
  row.set(groupRow(metaTags.hostStaging, group), 0);
  row.writeUInt32BE(sequence, 9);
  return row;
}

function stagingRange(group: GroupId): Range {
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
  readonly #staging: Map<GroupId, Staging> = new Map();
  bytesReceived = 0;

  constructor(parts: {
    readonly engine: Engine;
    readonly transport: Transport;
    readonly logger: Logger;
    readonly onWriteError: (error: Error) => void;
  }) {
    this.#engine = parts.engine;
    this.#transport = parts.transport;
    this.#logger = parts.logger;
    this.#onWriteError = parts.onWriteError;
  }

  /** @returns the message to step into the core once the stream is whole */
  onChunk(group: Group, node: NodeId, chunk: Chunk): Message | undefined {
    if (chunk.sequence === 0) this.#begin(group, node, chunk.id);
    const staging = this.#staging.get(group.group);
    if (staging === undefined || staging.id !== chunk.id || staging.next !== chunk.sequence) {
      this.#answer(node, {
        kind: "refused",
        id: chunk.id,
        reason: "a chunk is missing or the group is busy",
      });
      return undefined;
    }
    staging.next += 1;
    if (chunk.body !== undefined) {
      this.#stage(group.group, staging, chunk.sequence, chunk.body);
      this.#answer(node, { kind: "ack", id: chunk.id, sequence: chunk.sequence });
      return undefined;
    }
    return this.#complete(group, staging, chunk);
  }

  #begin(group: Group, node: NodeId, id: string): void {
    this.#staging.delete(group.group);
    if (group.installing) return;
    this.#clearStaged(group.group);
    this.#staging.set(group.group, { id, node, next: 0, checksum: 0 });
  }

  #stage(group: GroupId, staging: Staging, sequence: number, body: Uint8Array): void {
    staging.checksum = addChecksum(staging.checksum, body);
    this.bytesReceived += body.length;
    const batch = this.#engine.batch();
    batch.put("meta", stagingRow(group, sequence), body);
    this.#write(batch);
  }

  #complete(group: Group, staging: Staging, chunk: Chunk): Message | undefined {
    const { end } = chunk;
    if (end === undefined || end.chunks !== chunk.sequence || end.checksum !== staging.checksum) {
      this.discard(group.group);
      this.#answer(staging.node, { kind: "refused", id: chunk.id, reason: "length or checksum differ" });
      return undefined;
    }
    staging.end = end;
    const { from, to } = chunk;
    return { kind: "snapshot", from, to, term: end.term, snapshot: end.meta };
  }

  /** The core did not want it (it is not ahead of the log): the sender may go on with the log. */
  unwanted(group: GroupId): void {
    const staging = this.#staging.get(group);
    this.discard(group);
    if (staging !== undefined) this.#answer(staging.node, { kind: "done", id: staging.id });
  }

  discard(group: GroupId): void {
    this.#staging.delete(group);
    this.#clearStaged(group);
  }

  /** Puts the applying mark in the batch that also holds the raft state; `batch` is to be synced. */
  mark(group: GroupId, batch: Batch): void {
    const end = this.#staging.get(group)?.end;
    invariant(end !== undefined, `group ${group}: a snapshot was accepted that is not staged`);
    batch.put("meta", markRow(group), encodeEnd(end));
  }

  /** After the install: the sender hears that it is done. */
  installed(group: GroupId): void {
    const staging = this.#staging.get(group);
    this.#staging.delete(group);
    if (staging !== undefined) this.#answer(staging.node, { kind: "done", id: staging.id });
  }

  /**
   * The work behind a durable mark, in slices (R13): each call does one and says whether more is left. The
   * old rows go, the staged ones come, then the applied row, and the mark is taken away.
   * @param oldRanges - what the state machine held before
   */
  installer(group: GroupId, oldRanges: readonly Range[], sliceRows: number): () => boolean {
    return installer(this.#engine, group, oldRanges, sliceRows, (batch) => this.#write(batch));
  }

  #clearStaged(group: GroupId): void {
    const { rows } = this.#engine.scan(stagingRange(group), { limit: 100_000 });
    if (rows.length === 0) return;
    const batch = this.#engine.batch();
    for (let i = 0; i < rows.length; i += 2) batch.delete("meta", rows[i] ?? new Uint8Array(0));
    this.#write(batch);
  }

  #write(batch: Batch): void {
    this.#engine.write(batch, { sync: false }, (error) => {
      if (error !== undefined) this.#onWriteError(error);
    });
  }

  #answer(node: NodeId, message: BulkMessage): void {
    if (message.kind === "refused") this.#logger.info({ reason: message.reason }, "snapshot not taken");
    this.#transport.send(addressOf(node), "bulk", encodeBulk(message), "urgent");
  }
}

/** Shared by a running install and by the start after a crash in the middle of one. */
export function installer(
  engine: Engine,
  group: GroupId,
  oldRanges: readonly Range[],
  sliceRows: number,
  write: (batch: Batch) => void,
): () => boolean {
  const mark = engine.get("meta", markRow(group));
  invariant(mark !== undefined, `group ${group}: an install without its mark`);
  const end = decodeEnd(mark);
  const toClear: Range[] = [...oldRanges, ...end.ranges];
  let chunk = 0;
  return () => {
    const range = toClear[0];
    const batch = engine.batch();
    if (range !== undefined) {
      const { rows, finished } = engine.scan(range, { limit: sliceRows });
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
