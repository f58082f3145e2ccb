import type { ReplicaId } from "#proto";
import type { HostLimits } from "./config.ts";
import type { Group } from "./group.ts";

/**
 * Up to where a group's log may be forgotten, when it has grown beyond its size (R9): never past an
 * outstanding snapshot; held back by the slowest live follower up to a cap of bytes. A follower keeps half of
 * what it applied, so that it can feed others should it lead.
 */
export function compactionTarget(
  group: Group,
  limits: HostLimits,
  isLive: (replica: ReplicaId) => boolean,
): number | undefined {
  const { log } = group;
  if (log.bytes < limits.compactLogBytes) return undefined;
  const first = log.firstIndex();
  const applied = log.applied.index;
  const target = heldBack(group, first + ((applied - first) >> 1), limits, isLive);
  return target > first ? target : undefined;
}

/** `target`, or what R9 allows of it. */
export function heldBack(
  group: Group,
  target: number,
  limits: HostLimits,
  isLive: (replica: ReplicaId) => boolean,
): number {
  let index = target;
  if (group.core.role === "leader" && group.log.bytes < limits.compactCapBytes) {
    for (const [replica, progress] of group.progress) {
      if (replica !== group.replica && isLive(replica)) index = Math.min(index, progress.match);
    }
  }
  for (const sent of group.snapshotsOut.values()) index = Math.min(index, sent);
  return index;
}
