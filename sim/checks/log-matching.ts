import type { GroupId } from "#proto";
import type { Entry } from "#raft/core";
import { entryOf } from "./entry-of.ts";
import { fingerprint } from "./fingerprint.ts";
import { Violation } from "./violation.ts";

interface Seen {
  readonly previousTerm: number;
  readonly print: number;
}

/**
 * Log matching: entries of one index and term are the same on every replica, and so are those before them.
 * Each append is compared with all appends ever seen; that the predecessors agree follows by induction from
 * comparing the predecessor's term.
 */
export class LogMatching {
  readonly #entries = new Map<GroupId, Map<string, Seen>>();

  /** @param previousTerm - of the entry before the first, undefined when that one is compacted away */
  appended(group: GroupId, entries: readonly Entry[], previousTerm: number | undefined): void {
    const seen = entryOf(this.#entries, group, () => new Map<string, Seen>());
    let before = previousTerm;
    for (const entry of entries) {
      const name = `${entry.index}/${entry.term}`;
      const print = fingerprint(entry.data, entry.kind === "conf" ? 2 : 1);
      const other = seen.get(name);
      if (other === undefined) {
        if (before !== undefined) seen.set(name, { previousTerm: before, print });
      } else if (other.print !== print || (before !== undefined && other.previousTerm !== before)) {
        throw new Violation(
          "log matching",
          `group ${group}: two different entries ${entry.index} of term ${entry.term}`,
        );
      }
      before = entry.term;
    }
  }
}
