import { decodeShardCommand, encodeCommand, type KvCommand, metaTags, placementGroup } from "#proto";
import type { Entry } from "#raft/core";
import type { Absorb, StateMachine } from "#raft/host";
import { decodeEntry, encodeEntry } from "#shard";
import type { OverlayBatch, Range } from "#storage";
import { withClockJumps, withPowerLosses, withRetries, withSnapshots } from "./bent-plans.ts";
import { MachineWrapper } from "./machine-wrapper.ts";
import type { Mutant } from "./mutant.ts";

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

/** Its clock is the highest that any entry came with. */
class MergesStamps extends MachineWrapper {
  #highestMicros = 0;

  override apply(entry: Entry, tx: OverlayBatch, absorb: Absorb): readonly unknown[] {
    this.#highestMicros = Math.max(this.#highestMicros, decodeEntry(entry.data).stampMicros);
    return super.apply(entry, tx, absorb);
  }

  override encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    const { stampMicros, commands: encoded } = decodeEntry(super.encodeEntry(commands));
    return encodeEntry({ stampMicros: Math.max(stampMicros, this.#highestMicros + 1), commands: encoded });
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
  {
    name: "stamp-merged-from-a-far-clock",
    about: "R25: a leader's stamps go on from the highest that came from others, not from its own clock",
    plan: withClockJumps,
    machine: (machine, group) => (group === placementGroup ? machine : new MergesStamps(machine)),
  },
];
