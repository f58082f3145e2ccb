import { encode, type GroupId, groupRow, metaTags, placementGroup } from "#proto";
import { type ConfChange, type ConfState, type CoreStatus, changeConf, type Entry } from "#raft/core";
import type { Absorb, Birth, StateMachine } from "#raft/host";
import { ShardStateMachine } from "#shard";
import type { OverlayBatch } from "#storage";
import type { CoreClass } from "../watch/watched-core.ts";
import { withMoves, withOldLeaders, withRetries, withSplits, withStaleRouters } from "./bent-plans.ts";
import { MachineWrapper } from "./machine-wrapper.ts";
import type { Mutant } from "./mutant.ts";

const leave: ConfChange = { transition: "auto", changes: [], context: new Uint8Array(0) };

/** The configuration that is meant, at once: no time in which both majorities must agree. */
function inOneStep(Base: CoreClass): CoreClass {
  return class extends Base {
    override previewConfChange(change: ConfChange): ConfState {
      const next = super.previewConfChange(change);
      return next.outgoing.length === 0 ? next : changeConf(next, leave).conf;
    }

    override applyConfChange(change: ConfChange): ConfState {
      const next = super.applyConfChange(change);
      return next.outgoing.length === 0 ? next : super.applyConfChange(leave);
    }
  };
}

/** A leader that believes of its learners that they have all it has. */
function trusting(Base: CoreClass): CoreClass {
  return class extends Base {
    override status(): CoreStatus {
      const status = super.status();
      const progress = new Map(status.progress);
      for (const id of status.conf.learners) {
        const peer = progress.get(id);
        if (peer !== undefined) progress.set(id, { ...peer, match: status.lastIndex, state: "Replicate" });
      }
      return { ...status, progress };
    }
  };
}

/** Splits whose children are written once more, later, as they were at first. */
class BearsTwice extends MachineWrapper {
  #born: Birth[] = [];

  override takeBirths(): readonly Birth[] {
    const births = super.takeBirths();
    this.#born.push(...births.filter(({ replica }) => replica !== undefined));
    return births;
  }

  override apply(entry: Entry, tx: OverlayBatch, absorb: Absorb): readonly unknown[] {
    const results = super.apply(entry, tx, absorb);
    if (entry.index % 8 === 0) for (const birth of this.#born.splice(0)) writeFirstState(birth, tx);
    return results;
  }
}

function writeFirstState({ group, index, term, conf, rows }: Birth, tx: OverlayBatch): void {
  const { voters, outgoing, learners, learnersNext, autoLeave } = conf;
  const fields = [voters, outgoing, learners, learnersNext, autoLeave];
  tx.put("raft", hardStateRow(group), encode([term, 0, index]));
  tx.put("meta", groupRow(metaTags.hostApplied, group), encode([index, term, fields]));
  rows(tx);
}

/** As the host has it: eight bytes of group, then the tag. */
function hardStateRow(group: GroupId): Uint8Array {
  const row = Buffer.alloc(9, 1);
  row.writeBigUInt64BE(BigInt(group), 0);
  return row;
}

/** Splits whose children begin without their parent's record of attempts. */
class LosesDedup extends MachineWrapper {
  #born: readonly Birth[] = [];

  override apply(entry: Entry, tx: OverlayBatch, absorb: Absorb): readonly unknown[] {
    const results = super.apply(entry, tx, absorb);
    this.#born = super.takeBirths();
    for (const range of this.#born.flatMap(({ ranges }) => ranges)) {
      if (range.family !== "meta" || range.start[0] !== metaTags.shardDedup) continue;
      const { rows } = tx.scan(range, { limit: Number.MAX_SAFE_INTEGER });
      for (let i = 0; i < rows.length; i += 2) tx.delete("meta", rows[i] ?? none);
    }
    return results;
  }

  override takeBirths(): readonly Birth[] {
    const born = this.#born;
    this.#born = [];
    return born;
  }
}

const none = new Uint8Array(0);

/** Takes any command, whatever has become of the shard since its router learned of it. */
function asksNoEpoch(machine: StateMachine): StateMachine {
  if (machine instanceof ShardStateMachine) machine.mismatch = () => undefined;
  return machine;
}

export const reshapeMutants: readonly Mutant[] = [
  {
    name: "two-membership-changes-at-once",
    about: "R10: one replica comes and one goes in a single step, without a joint configuration (thesis 4.3)",
    plan: (plan) => withOldLeaders(withMoves(plan)),
    core: inOneStep,
  },
  {
    name: "moved-before-it-has-caught-up",
    about: "R10: a new replica votes, and the old one goes, before the new one has anything",
    plan: withMoves,
    core: trusting,
  },
  {
    name: "child-created-twice",
    about: "R5: a split's child is given its first state again, over what it has become",
    plan: withSplits,
    machine: (machine, group) => (group === placementGroup ? machine : new BearsTwice(machine)),
  },
  {
    name: "split-loses-dedup",
    about: "R23: a split's child does not know the attempts that its parent has applied",
    plan: (plan) => withSplits(withRetries(plan)),
    machine: (machine, group) => (group === placementGroup ? machine : new LosesDedup(machine)),
  },
  {
    name: "epoch-check-skipped",
    about: "R6: a shard takes commands for keys that a split has given to another",
    plan: (plan) => withSplits(withStaleRouters(plan)),
    machine: asksNoEpoch,
  },
];
