import type { ReplicaId } from "#proto";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

/**
 * Asks the group's leader, this one or another, to let `to` lead (thesis 3.10). Not on a node that is draining
 * (R35) or seems gone: the leader takes no proposals until the target leads or an election timeout is over.
 */
export function transferTo(shared: Shared, group: Group, to: ReplicaId): void {
  const node = group.nodeOf(to);
  if (node !== undefined && (shared.liveness.isDraining(node) || shared.suspected(node))) return;
  shared.wake(group);
  group.busyAtMs = shared.nowMs();
  group.core.step({ kind: "transferLeader", to, nowMs: group.busyAtMs });
  shared.markDirty(group);
}
