import {
  decode,
  encode,
  FieldReader,
  type GroupId,
  groupRow,
  metaTags,
  type NodeId,
  type ReplicaId,
} from "#proto";
import type { ConfChange, ConfState, Entry } from "#raft/core";
import type { Engine, OverlayBatch, Range } from "#storage";
import type { GroupView, StateMachine } from "../types.ts";

/** Replica ids of node n are n, n + 10, n + 20, …: they never move and are never used twice. */
export function nodeOfReplica(replica: ReplicaId): NodeId {
  return replica % 10;
}

/**
 * A toy state machine for this room's tests: row [tag, group, index, part] → command, enough to see order,
 * loss and duplication, and a chain over all entries, which an entry applied twice would break for good.
 */
export class ListMachine implements StateMachine {
  readonly #engine: Engine;
  readonly #group: GroupId;
  leaderships = 0;
  isClosed = false;
  /** After each entry, with the chain as it stands then. */
  onApplied: (index: number, chain: string) => void = () => {};

  constructor(engine: Engine, group: GroupId) {
    this.#engine = engine;
    this.#group = group;
  }

  #row(index: number, part: number): Uint8Array {
    const row = Buffer.alloc(13);
    row[0] = metaTags.shardState;
    row.writeUInt32BE(this.#group, 1);
    row.writeUInt32BE(index, 5);
    row.writeUInt32BE(part, 9);
    return row;
  }

  encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    return encode(commands);
  }

  apply(entry: Entry, tx: OverlayBatch): readonly unknown[] {
    const commands = new FieldReader([decode(entry.data)], "entry").list((c) => c as Uint8Array);
    for (const [i, command] of commands.entries()) {
      if (Buffer.from(command).toString() === "poison") throw new Error("an operation nobody knows");
      tx.put("data", this.#row(entry.index, i), command);
    }
    this.#link(entry, tx);
    return commands.map((_, i) => `${entry.index}.${i}`);
  }

  applyConfChange(entry: Entry, _change: ConfChange, _conf: ConfState, tx: OverlayBatch): boolean {
    this.#link(entry, tx);
    return true;
  }

  #link(entry: Entry, tx: OverlayBatch): void {
    const key = groupRow(metaTags.shardState, this.#group);
    const before = tx.get("meta", key);
    let hash = before === undefined ? 1 : Buffer.from(before).readUInt32BE(0);
    for (const byte of entry.data) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
    hash = Math.imul(hash ^ entry.index, 0x01000193) >>> 0;
    const chain = Buffer.alloc(4);
    chain.writeUInt32BE(hash, 0);
    tx.put("meta", key, chain);
    this.onApplied(entry.index, chain.toString("hex"));
  }

  snapshotRanges(): readonly Range[] {
    const meta = metaTags.shardState;
    return [
      { family: "data", start: this.#row(0, 0), end: this.#row(0xffffffff, 0xffffffff) },
      { family: "meta", start: groupRow(meta, this.#group), end: groupRow(meta, this.#group + 1) },
    ];
  }

  load(): void {}

  nodeOf(replica: ReplicaId): NodeId | undefined {
    return nodeOfReplica(replica);
  }

  leadershipChanged(_view: GroupView): void {
    this.leaderships += 1;
  }

  closed(): void {
    this.isClosed = true;
  }

  get chain(): string {
    const value = this.#engine.get("meta", groupRow(metaTags.shardState, this.#group));
    return value === undefined ? "" : Buffer.from(value).toString("hex");
  }

  /** All commands applied, in order, as text. */
  commands(): string[] {
    const [range] = this.snapshotRanges();
    if (range === undefined) return [];
    const { rows } = this.#engine.scan(range, { limit: 1_000_000 });
    return rows.filter((_, i) => i % 2 === 1).map((row) => Buffer.from(row).toString());
  }
}
