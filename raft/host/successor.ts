import type { ReplicaId } from "#proto";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

/** The live voter with the longest log that could lead in this leader's stead; undefined when none could. */
export function successor(shared: Shared, group: Group): ReplicaId | undefined {
  if (group.core.role !== "leader") return undefined;
  let best: { readonly id: ReplicaId; readonly match: number } | undefined;
  for (const [id, progress] of group.progress) {
    if (id === group.replica || !group.conf.voters.includes(id) || !shared.isLive(group, id)) continue;
    if (best === undefined || progress.match > best.match) best = { id, match: progress.match };
  }
  return best?.id;
}
