import type { GroupId, ReplicaId } from "#proto";
import { ApplyAgreement } from "../checks/apply-agreement.ts";
import { CommittedEntries } from "../checks/committed-entries.ts";
import { Durability } from "../checks/durability.ts";
import { LeaderLease } from "../checks/leader-lease.ts";
import { LogMatching } from "../checks/log-matching.ts";
import { OneLeaderPerTerm } from "../checks/one-leader-per-term.ts";
import { Violation } from "../checks/violation.ts";

/**
 * All checks of a run. They throw; what they throw passes through product code that is made to survive
 * exceptions, so the first is kept here, where the driver finds it after the step.
 */
export class Monitor {
  readonly leaders: OneLeaderPerTerm = new OneLeaderPerTerm();
  readonly leases: LeaderLease = new LeaderLease();
  readonly logs: LogMatching = new LogMatching();
  readonly committed: CommittedEntries = new CommittedEntries();
  readonly durability: Durability = new Durability();
  readonly agreement: ApplyAgreement = new ApplyAgreement();
  readonly #onElected: (group: GroupId, term: number, replica: ReplicaId, disk: string) => void;
  #violation: Violation | undefined;

  constructor(onElected: (group: GroupId, term: number, replica: ReplicaId, disk: string) => void) {
    this.#onElected = onElected;
  }

  get violation(): Violation | undefined {
    return this.#violation;
  }

  /** Runs checks; the first violation is kept and thrown on. */
  see(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (error instanceof Violation) this.#violation ??= error;
      throw error;
    }
  }

  report(violation: Violation): void {
    this.#violation ??= violation;
  }

  elected(group: GroupId, term: number, replica: ReplicaId, disk: string): void {
    this.#onElected(group, term, replica, disk);
  }
}
