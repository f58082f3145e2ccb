import type { ReplicaId } from "#proto";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

function isDraining(shared: Shared, group: Group, replica: ReplicaId): boolean {
  const node = group.nodeOf(replica);
  return node !== undefined && shared.liveness.isDraining(node);
}

/** The live voter with the longest log that could lead in this leader's stead; undefined when none could. */
export function successor(
  shared: Shared,
  group: Group,
  suits: (replica: ReplicaId) => boolean = () => true,
): ReplicaId | undefined {
  if (group.core.role !== "leader") return undefined;
  const { voters, outgoing } = group.conf;
  let best: { readonly id: ReplicaId; readonly match: number } | undefined;
  for (const [id, { match }] of group.progress) {
    if (id === group.replica || !(voters.includes(id) || outgoing.includes(id))) continue;
    if (!suits(id) || !shared.isLive(group, id) || isDraining(shared, group, id)) continue;
    if (best === undefined || match > best.match) best = { id, match };
  }
  return best?.id;
}
