import type { GroupId, ReplicaId } from "#proto";
import { entryOf } from "./entry-of.ts";
import { Violation } from "./violation.ts";

/** Election safety: at most one replica of a group ever leads in one term (Raft paper, figure 3). */
export class OneLeaderPerTerm {
  readonly #leaders = new Map<GroupId, Map<number, ReplicaId>>();

  leads(group: GroupId, term: number, replica: ReplicaId): void {
    const terms = entryOf(this.#leaders, group, () => new Map<number, ReplicaId>());
    const other = terms.get(term);
    if (other === undefined) terms.set(term, replica);
    else if (other !== replica) {
      throw new Violation(
        "one leader per term",
        `group ${group} term ${term}: replicas ${other} and ${replica}`,
      );
    }
  }

  /** Elections won so far, over all groups. */
  get elections(): number {
    let count = 0;
    for (const terms of this.#leaders.values()) count += terms.size;
    return count;
  }
}
