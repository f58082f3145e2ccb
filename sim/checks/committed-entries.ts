import type { GroupId } from "#proto";
import type { Entry } from "#raft/core";
import { entryOf } from "./entry-of.ts";
import { fingerprint } from "./fingerprint.ts";
import { Violation } from "./violation.ts";

interface Committed {
  readonly term: number;
  readonly print: number;
}

/**
 * What was committed anywhere stays, and is the same everywhere (state machine safety); a new leader has all of
 * it (leader completeness).
 */
export class CommittedEntries {
  readonly #entries = new Map<GroupId, Map<number, Committed>>();
  readonly #highest = new Map<GroupId, number>();

  committed(group: GroupId, entries: readonly Entry[]): void {
    const known = entryOf(this.#entries, group, () => new Map<number, Committed>());
    for (const entry of entries) {
      const print = fingerprint(entry.data);
      const other = known.get(entry.index);
      if (other === undefined) known.set(entry.index, { term: entry.term, print });
      else if (other.term !== entry.term || other.print !== print) {
        throw new Violation(
          "committed entries",
          `group ${group}: entry ${entry.index} was committed in term ${other.term} and again as one of term ${entry.term}`,
        );
      }
      if (entry.index > (this.#highest.get(group) ?? 0)) this.#highest.set(group, entry.index);
    }
  }

  /** @param termAt - the new leader's log: term of an index, undefined where it has none or compacted it */
  elected(
    group: GroupId,
    term: number,
    firstIndex: number,
    lastIndex: number,
    termAt: (index: number) => number | undefined,
  ): void {
    const highest = this.#highest.get(group) ?? 0;
    const entry = this.#entries.get(group)?.get(highest);
    // One elected in an older term may learn of it late: it can commit nothing any more.
    if (entry === undefined || entry.term >= term || highest < firstIndex) return;
    if (highest > lastIndex || (termAt(highest) ?? entry.term) !== entry.term) {
      throw new Violation(
        "leader completeness",
        `group ${group}: the leader of term ${term} lacks committed entry ${highest} of term ${entry.term}`,
      );
    }
  }

  highest(group: GroupId): number {
    return this.#highest.get(group) ?? 0;
  }

  /** The term of a committed entry, as far as any replica handed it out. */
  termOf(group: GroupId, index: number): number | undefined {
    return this.#entries.get(group)?.get(index)?.term;
  }
}
