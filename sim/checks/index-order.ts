import type { GroupId } from "#proto";
import { Violation } from "./violation.ts";

export interface Indexes {
  readonly term: number;
  readonly applied: number;
  readonly commit: number;
  readonly lastIndex: number;
}

/** Within one process: applied ≤ commit ≤ last; term, commit and applied never go back. */
export class IndexOrder {
  #before: Indexes | undefined;

  saw(group: GroupId, now: Indexes): void {
    if (now.applied > now.commit || now.commit > now.lastIndex) {
      throw new Violation("index order", `group ${group}: ${describe(now)}`);
    }
    const before = this.#before;
    if (before !== undefined) {
      if (now.term < before.term || now.commit < before.commit || now.applied < before.applied) {
        throw new Violation(
          "index order",
          `group ${group} went from ${describe(before)} to ${describe(now)}`,
        );
      }
    }
    this.#before = now;
  }
}

function describe(i: Indexes): string {
  return `term ${i.term} applied ${i.applied} commit ${i.commit} last ${i.lastIndex}`;
}
