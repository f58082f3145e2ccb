import type { NodeId, Order } from "#proto";
import { firstIndex, firstTerm, isOrphan } from "../machine.ts";
import type { Model } from "../model.ts";
import { waitedFor } from "./births.ts";
import { orderOf } from "./operations.ts";

/** Everything nodes have to do now, by node, in the order it should be done. At most one per group and node. */
export function planOrders(model: Model): Map<NodeId, Order[]> {
  const orders = new Map<NodeId, Order[]>();
  const give = (node: NodeId, order: Order): void => {
    const list = orders.get(node);
    if (list === undefined) orders.set(node, [order]);
    else list.push(order);
  };
  for (const shard of model.shards.values()) {
    const { birth, keyspace } = shard;
    if (birth === undefined || keyspace === undefined) continue;
    for (const { nodeId, replicaId } of waitedFor(shard)) {
      give(nodeId, {
        kind: "create",
        shard: birth.descriptor,
        keyspace,
        replicaId,
        index: firstIndex,
        term: firstTerm,
        campaign: replicaId === birth.leader,
      });
    }
  }
  for (const operation of model.state.operations.values()) {
    if (operation.state !== "running") continue;
    const ordered = orderOf(model, operation);
    if (ordered !== undefined) give(ordered.node, ordered.order);
  }
  for (const [node, order] of planDestroys(model)) give(node, order);
  return orders;
}

/** R34: only of a retired shard, or under a newer membership without the replica. */
function* planDestroys(model: Model): Generator<[NodeId, Order]> {
  for (const [node, { heard }] of model.nodes) {
    for (const { group, replicaId, confVersion } of heard?.replicas.values() ?? []) {
      const reason = isOrphan(model.state, group, replicaId, confVersion);
      if (reason === undefined) continue;
      const into = model.state.merged.get(group);
      yield [node, { kind: "destroy", group, replicaId, reason, ...(into === undefined ? {} : { into }) }];
    }
  }
}
