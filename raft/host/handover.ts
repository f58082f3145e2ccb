import type { ReplicaId } from "#proto";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

/** Asks the group's leader, this one or another, to let `to` lead (thesis 3.10). */
export function transferTo(shared: Shared, group: Group, to: ReplicaId): void {
  shared.wake(group);
  group.busyAtMs = shared.nowMs();
  group.core.step({ kind: "transferLeader", to, nowMs: group.busyAtMs });
  shared.markDirty(group);
}
