import { type GroupId, metaTags, placementGroup } from "#proto";
import type { CoreStatus, Entry } from "#raft/core";
import type { Absorb } from "#raft/host";
import { ShardStateMachine } from "#shard";
import type { OverlayBatch } from "#storage";
import type { CoreClass } from "../watch/watched-core.ts";
import { withMerges, withRetries } from "./bent-plans.ts";
import { MachineWrapper } from "./machine-wrapper.ts";
import type { Mutant, Place } from "./mutant.ts";

/** Machines by node, start and group: a core does not know its own. */
const machines = new Map<string, ShardStateMachine>();

function nameOf({ node, start }: Place, group: GroupId): string {
  return `${node}/${start}/${group}`;
}

/** A leader that takes its followers to have the freeze as soon as it has it itself. */
function waitingForNobody(Base: CoreClass, group: GroupId, place: Place): CoreClass {
  return class extends Base {
    override status(): CoreStatus {
      const status = super.status();
      if (machines.get(nameOf(place, group))?.frozen === undefined) return status;
      const progress = new Map(status.progress);
      for (const [id, peer] of progress) progress.set(id, { ...peer, match: status.lastIndex });
      return { ...status, progress };
    }
  };
}

/** Takes over a neighbour's rows, but not what is known of the attempts on them. */
class ForgetsAttempts extends MachineWrapper {
  override apply(entry: Entry, tx: OverlayBatch, absorb: Absorb): readonly unknown[] {
    let absorbs = false;
    const before = this.#dedupRanges();
    const results = super.apply(entry, tx, (...what) => {
      absorbs = true;
      absorb(...what);
    });
    if (!absorbs) return results;
    for (const range of this.#dedupRanges()) {
      const { rows } = tx.scan(range, { limit: Number.MAX_SAFE_INTEGER });
      for (let i = 0; i < rows.length; i += 2) {
        const key = rows[i] ?? none;
        const own = before.some(
          (r) => Buffer.compare(r.start, key) <= 0 && (r.end === undefined || Buffer.compare(key, r.end) < 0),
        );
        if (!own) tx.delete("meta", key);
      }
    }
    return results;
  }

  #dedupRanges() {
    return this.snapshotRanges().filter((r) => r.family === "meta" && r.start[0] === metaTags.shardDedup);
  }
}

const none = new Uint8Array(0);

export const mergeMutants: readonly Mutant[] = [
  {
    name: "merge-waits-for-nobody",
    about: "R5: a shard is taken over before each of its replicas has all of its log",
    plan: withMerges,
    core: waitingForNobody,
    machine: (machine, group, place) => {
      if (machine instanceof ShardStateMachine) machines.set(nameOf(place, group), machine);
      return machine;
    },
  },
  {
    name: "merge-loses-dedup",
    about: "R23: a shard takes over another's keys without the record of the attempts on them",
    plan: (plan) => withMerges(withRetries(plan)),
    machine: (machine, group) => (group === placementGroup ? machine : new ForgetsAttempts(machine)),
  },
];
