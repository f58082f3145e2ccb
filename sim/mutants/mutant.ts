import type { GroupId } from "#proto";
import type { StateMachine } from "#raft/host";
import type { Clock, Random } from "#runtime";
import type { Engine } from "#storage";
import type { Wire } from "#transport";
import type { NodeClock } from "../node-clock.ts";
import type { Plan } from "../plan.ts";
import type { CoreClass } from "../watch/watched-core.ts";

/** Where a mutant's part stands. */
export interface Place {
  readonly node: string;
  /** Counts the starts of this node on this disk, from 1. */
  readonly start: number;
  readonly random: Random;
}

/**
 * A deliberate bug, put in at a seam, to show that the checks would catch it. Each replaces or wraps one part;
 * the watchers stand outside of it, next to the disk and around the core, and see only what it does.
 */
export interface Mutant {
  readonly name: string;
  /** What is wrong, and the rule it breaks. */
  readonly about: string;
  /** Bends the plan towards runs that give the bug a chance: no run may be made wrong by it alone. */
  readonly plan?: (plan: Plan) => Plan;
  readonly engine?: (engine: Engine, place: Place) => Engine;
  readonly core?: (Base: CoreClass, group: GroupId, place: Place) => CoreClass;
  readonly machine?: (machine: StateMachine, group: GroupId, place: Place) => StateMachine;
  readonly wire?: (wire: Wire, place: Place) => Wire;
  readonly clock?: (clock: NodeClock, place: Place) => Clock;
  /** The wiped node comes back under its old name with what this keeps of its disk. */
  readonly keepsIdentityWhenWiped?: boolean;
}
