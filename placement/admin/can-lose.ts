import { type GroupModel, type Model, nameOf, type Quorum, quorumsOf } from "../model.ts";

export interface CanLose {
  /** However chosen, so many of the nodes that are up may die now and every group still has its quorum. */
  readonly nodes: number;
  readonly reason: string;
}

/** Placement's group counts like the shards': without it nothing heals. */
export function canLose(model: Model): CanLose {
  let worst: (Quorum & { readonly group: GroupModel }) | undefined;
  for (const group of [model.placement, ...model.shards.values()]) {
    for (const quorum of quorumsOf(model, group)) {
      if (worst === undefined || quorum.margin < worst.margin) worst = { ...quorum, group };
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
