import type { GroupId, ReplicaId } from "#proto";
import { Violation } from "./violation.ts";

/** A running replica, as far as leases go. */
export interface LeaseHolder {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  readonly term: number;
  readonly isLeader: boolean;
  /** By its own clock, as its own code reads it. */
  holdsLease(): boolean;
}

/** R17: nobody wins an election while another replica's lease runs: it would answer reads that are out of date. */
export class LeaderLease {
  readonly #running = new Map<GroupId, Set<LeaseHolder>>();

  opened(holder: LeaseHolder): void {
    const holders = this.#running.get(holder.group);
    if (holders === undefined) this.#running.set(holder.group, new Set([holder]));
    else holders.add(holder);
  }

  /** Its process is gone. */
  closed(holder: LeaseHolder): void {
    this.#running.get(holder.group)?.delete(holder);
  }

  elected(group: GroupId, term: number): void {
    for (const other of this.#running.get(group) ?? []) {
      if (!other.isLeader || other.term >= term || !other.holdsLease()) continue;
      const lease = `replica ${other.replica} still holds its lease of term ${other.term}`;
      throw new Violation(
        "leader lease",
        `group ${group} elected a leader of term ${term} while ${lease} (R17)`,
      );
    }
  }
}
