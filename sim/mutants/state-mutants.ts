import { decodeShardCommand, encodeCommand, type KvCommand, metaTags, placementGroup } from "#proto";
import type { ConfChange, ConfState, Entry } from "#raft/core";
import type { Absorb, Birth, GroupView, StateMachine } from "#raft/host";
import type { OverlayBatch, Range } from "#storage";
import { withPowerLosses, withRetries, withSnapshots } from "./bent-plans.ts";
import type { Mutant } from "./mutant.ts";

/** Hands everything on; bugs override what they spoil. */
class MachineWrapper implements StateMachine {
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

class LeavesDedupBehind extends MachineWrapper {
  override snapshotRanges(): readonly Range[] {
    return super
      .snapshotRanges()
      .filter((range) => range.family !== "meta" || range.start[0] !== metaTags.shardDedup);
  }
}

/** Changes users' commands on their way into the log. */
class Recodes extends MachineWrapper {
  readonly #change: (command: KvCommand) => KvCommand;

  constructor(inner: StateMachine, change: (command: KvCommand) => KvCommand) {
    super(inner);
    this.#change = change;
  }

  override encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    return super.encodeEntry(
      commands.map((bytes) => {
        const decoded = decodeShardCommand(bytes);
        return decoded.kind === "kv" ? encodeCommand(this.#change(decoded.command)) : bytes;
      }),
    );
  }
}

export const stateMutants: readonly Mutant[] = [
  {
    name: "dedup-not-in-the-snapshot",
    about: "R23: a replica that gets a snapshot knows nothing of attempts made before",
    plan: (plan) => withPowerLosses(withSnapshots(plan)),
    machine: (machine, group) => (group === placementGroup ? machine : new LeavesDedupBehind(machine)),
  },
  {
    name: "dedup-ignored",
    about: "R22: a router's second attempt counts as another write",
    plan: withRetries,
    machine: (machine, group, { random }) => {
      if (group === placementGroup) return machine;
      return new Recodes(machine, (command) => ({
        ...command,
        attempt: { ...command.attempt, session: random.hex(8) },
      }));
    },
  },
];
