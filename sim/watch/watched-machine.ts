import type { GroupId } from "#proto";
import type { ConfChange, ConfState, Entry } from "#raft/core";
import type { Absorb, Birth, GroupView, StateMachine } from "#raft/host";
import type { Engine, OverlayBatch, Range } from "#storage";
import { fingerprint } from "../checks/fingerprint.ts";
import type { Monitor } from "./monitor.ts";
import { RecordedBatch } from "./watched-engine.ts";

/** A state machine that compares what each entry changes with what it changed on other replicas. */
export class WatchedMachine implements StateMachine {
  readonly #inner: StateMachine;
  readonly #group: GroupId;
  readonly #name: string;
  readonly #monitor: Monitor;

  constructor(inner: StateMachine, group: GroupId, name: string, monitor: Monitor) {
    this.#inner = inner;
    this.#group = group;
    this.#name = name;
    this.#monitor = monitor;
  }

  apply(entry: Entry, tx: OverlayBatch, absorb: Absorb): readonly unknown[] {
    const { batch } = tx;
    const before = batch.size;
    // How far another group lags that is absorbed here differs from node to node: what that writes is its own.
    let foreign = { from: 0, to: 0 };
    const results = this.#inner.apply(entry, tx, (...absorbed) => {
      const from = batch.size;
      absorb(...absorbed);
      foreign = { from, to: batch.size };
    });
    if (batch instanceof RecordedBatch) {
      let print = batch.size - before - (foreign.to - foreign.from);
      for (let i = before; i < batch.size; i++) {
        if (i >= foreign.from && i < foreign.to) continue;
        print = fingerprint(batch.keys[i] ?? none, print);
        print = fingerprint(batch.values[i] ?? none, print ^ (batch.families[i]?.length ?? 0));
      }
      this.#monitor.see(() => this.#monitor.agreement.changed(this.#group, entry.index, print, this.#name));
    }
    return results;
  }

  encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    return this.#inner.encodeEntry(commands);
  }

  takeBirths(): readonly Birth[] {
    const births = this.#inner.takeBirths?.() ?? [];
    for (const { group, replica, index } of births) {
      if (replica === undefined) continue;
      this.#monitor.see(() => this.#monitor.durability.born(group, replica, index));
    }
    return births;
  }

  absorbed(): readonly GroupId[] {
    return this.#inner.absorbed?.() ?? [];
  }

  applyConfChange(entry: Entry, change: ConfChange, conf: ConfState, tx: OverlayBatch): boolean {
    return this.#inner.applyConfChange(entry, change, conf, tx);
  }

  snapshotRanges(): readonly Range[] {
    return this.#inner.snapshotRanges();
  }

  load(): void {
    this.#inner.load();
  }

  nodeOf(replica: number): number | undefined {
    return this.#inner.nodeOf(replica);
  }

  leadershipChanged(view: GroupView): void {
    this.#inner.leadershipChanged(view);
  }

  closed(): void {
    this.#inner.closed();
  }
}

const none = new Uint8Array(0);

/** A hash over the rows of `ranges`: equal on two replicas exactly when their rows are. */
export function hashOfRows(engine: Engine, ranges: readonly Range[]): string {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (const range of ranges) {
    const { rows } = engine.scan(range, { limit: Number.MAX_SAFE_INTEGER });
    for (const bytes of rows) {
      a = fingerprint(bytes, a);
      b = Math.imul(b ^ a, 0x85ebca6b) ^ (b >>> 13);
    }
  }
  return `${(a >>> 0).toString(16)}-${(b >>> 0).toString(16)}`;
}
