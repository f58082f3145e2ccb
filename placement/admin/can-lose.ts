import { type GroupModel, halves, type Model, nameOf } from "../model.ts";

export interface CanLose {
  /** However chosen, so many of the nodes that are up may die now and every group still has its quorum. */
  readonly nodes: number;
  readonly reason: string;
}

/** Placement's group counts like the shards': without it nothing heals. */
export function canLose(model: Model): CanLose {
  let worst: { margin: number; group: GroupModel; live: number; voters: number } | undefined;
  for (const group of [model.placement, ...model.shards.values()]) {
    for (const half of halves(group.descriptor)) {
      const live = half.filter(
        (r) => group.present.has(r.replicaId) && model.nodes.get(r.nodeId)?.liveness === "up",
      ).length;
      const margin = live - (Math.floor(half.length / 2) + 1);
      if (worst === undefined || margin < worst.margin) worst = { margin, group, live, voters: half.length };
    }
  }
  if (worst === undefined) return { nodes: 0, reason: "there is no group yet" };
  const { margin, group, live, voters } = worst;
  const name = group.id === 0 ? "placement" : `shard ${group.id}`;
  const count = `${live} of the ${voters} ${voters === 1 ? "voter" : "voters"} of ${name} up`;
  if (margin < 0) return { nodes: 0, reason: `${count}: no quorum now` };
  if (margin === 0) {
    const needed = group.descriptor.replicas.filter((r) => group.present.has(r.replicaId));
    const names = needed.map((r) => nameOf(model, r.nodeId)).join(", ");
    return { nodes: 0, reason: `${count}: it needs each of ${names}` };
  }
  return { nodes: margin, reason: `${count}: the fewest to spare of all groups` };
}
