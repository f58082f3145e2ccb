import type { ConfChange, ConfState, Entry } from "#raft/core";
import type { Absorb, Birth, GroupView, StateMachine } from "#raft/host";
import type { OverlayBatch, Range } from "#storage";

/** Hands everything on; bugs override what they spoil. */
export class MachineWrapper implements StateMachine {
  protected readonly inner: StateMachine;

  constructor(inner: StateMachine) {
    this.inner = inner;
  }

  encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    return this.inner.encodeEntry(commands);
  }

  apply(entry: Entry, tx: OverlayBatch, absorb: Absorb): readonly unknown[] {
    return this.inner.apply(entry, tx, absorb);
  }

  absorbed(): readonly number[] {
    return this.inner.absorbed?.() ?? [];
  }

  takeBirths(): readonly Birth[] {
    return this.inner.takeBirths?.() ?? [];
  }

  applyConfChange(entry: Entry, change: ConfChange, conf: ConfState, tx: OverlayBatch): boolean {
    return this.inner.applyConfChange(entry, change, conf, tx);
  }

  snapshotRanges(): readonly Range[] {
    return this.inner.snapshotRanges();
  }

  load(): void {
    this.inner.load();
  }

  nodeOf(replica: number): number | undefined {
    return this.inner.nodeOf(replica);
  }

  leadershipChanged(view: GroupView): void {
    this.inner.leadershipChanged(view);
  }

  closed(): void {
    this.inner.closed();
  }
}
