import type { GroupId, ReplicaId } from "#proto";
import type { ConfState } from "#raft/core";
import { Violation } from "./violation.ts";

/**
 * R10, as a leader applies a change: a group never rests at an even size, never changes by more than one step can
 * bear, and nobody votes who has nothing.
 */
export function checkConfChange(
  group: GroupId,
  before: ConfState,
  after: ConfState,
  hasState: (replica: ReplicaId) => boolean,
): void {
  const fail = (why: string): never => {
    throw new Violation(
      "membership",
      `group ${group}: ${describe(before)} became ${describe(after)}: ${why}`,
    );
  };
  const joint = before.outgoing.length > 0 || after.outgoing.length > 0;
  const came = after.voters.filter((id) => !before.voters.includes(id));
  const went = before.voters.filter((id) => !after.voters.includes(id));
  if (after.outgoing.length === 0 && after.voters.length % 2 === 0) fail("an even number of voters (R10)");
  if (!joint && came.length + went.length > 1) fail("two changes in one step");
  const empty = came.filter((id) => !hasState(id));
  if (empty.length > 0) fail(`replica ${empty.join(" ")} has nothing yet (R10)`);
}

function describe({ voters, outgoing }: ConfState): string {
  return outgoing.length === 0
    ? `[${voters.join(" ")}]`
    : `[${voters.join(" ")}] from [${outgoing.join(" ")}]`;
}
