import type { GroupId } from "#proto";
import { entryOf } from "./entry-of.ts";
import { Violation } from "./violation.ts";

/**
 * R38: replicas that have applied the same entries hold the same rows. Two looks: what each entry changed, as
 * it is applied, and a hash over the whole state at an index, taken now and then and at the end.
 */
export class ApplyAgreement {
  readonly #changes = new Map<GroupId, Map<number, number>>();
  readonly #states = new Map<GroupId, Map<number, { readonly hash: string; readonly by: string }>>();
  statesCompared = 0;

  changed(group: GroupId, index: number, print: number, by: string): void {
    const seen = entryOf(this.#changes, group, () => new Map<number, number>());
    const other = seen.get(index);
    if (other === undefined) seen.set(index, print);
    else if (other !== print) {
      throw new Violation(
        "same state",
        `group ${group} entry ${index} changed other rows on ${by} than elsewhere`,
      );
    }
  }

  state(group: GroupId, index: number, hash: string, by: string): void {
    const seen = entryOf(this.#states, group, () => new Map<number, { hash: string; by: string }>());
    const other = seen.get(index);
    if (other === undefined) {
      seen.set(index, { hash, by });
      return;
    }
    this.statesCompared += 1;
    if (other.hash === hash) return;
    throw new Violation(
      "same state",
      `group ${group} at ${index}: ${by} has ${hash}, ${other.by} has ${other.hash}`,
    );
  }
}
