import type { GroupId, NodeId } from "#proto";
import type { Draft, DraftShard, ReplicaMove } from "./draft.ts";

/**
 * How much of a replica's share the difference must be on both sides, at least. Below 1 a move would swap the
 * two nodes' places and could be planned back; sizes are estimates to a tenth.
 */
const worthwhile = 0.9;
/** A background move is not worth its bytes while the difference is a smaller part of the mean load. */
export const calm = 0.05;

/**
 * Moves that even out the load, the most loaded node's replicas going to the least loaded ones that may have
 * them. Each lowers the sum of squared loads, so there is an end, and a second plan is empty. None makes
 * replicas fail together more than before. Changes `draft`.
 * @param tolerance - of the mean load; smaller differences are left
 * @param limit - moves at most
 */
export function evenReplicas(draft: Draft, tolerance: number, limit: number): ReplicaMove[] {
  const moves: ReplicaMove[] = [];
  const arrived = new Map<GroupId, Set<NodeId>>();
  while (moves.length < limit) {
    const move = nextMove(draft, tolerance, arrived);
    if (move === undefined) break;
    moves.push(draft.move(move));
    const nodes = arrived.get(move.shard) ?? new Set();
    arrived.set(move.shard, nodes.add(move.to));
  }
  return moves;
}

type Move = Pick<ReplicaMove, "shard" | "from" | "to">;

function nextMove(
  draft: Draft,
  tolerance: number,
  arrived: ReadonlyMap<GroupId, ReadonlySet<NodeId>>,
): Move | undefined {
  // A node that takes nothing new is no source either: it is drained or emptied by other rules.
  const nodes = [...draft.nodes.values()].filter((node) => node.takes).map((node) => node.id);
  const byLoad = nodes.sort((a, b) => draft.load(b) - draft.load(a) || a - b);
  const mean = byLoad.reduce((sum, node) => sum + draft.load(node), 0) / Math.max(1, byLoad.length);
  for (const from of byLoad) {
    for (const to of [...byLoad].reverse()) {
      const difference = draft.load(from) - draft.load(to);
      if (difference <= 0 || difference < tolerance * mean) break;
      const shard = pick(draft, from, to, difference, arrived);
      if (shard !== undefined) return { shard: shard.id, from, to };
    }
  }
  return undefined;
}

/** The replica on `from` whose move to `to` evens out the most; one that does not lead there, of equals. */
function pick(
  draft: Draft,
  from: NodeId,
  to: NodeId,
  difference: number,
  arrived: ReadonlyMap<GroupId, ReadonlySet<NodeId>>,
): DraftShard | undefined {
  let best: { shard: DraftShard; rest: number; leads: boolean } | undefined;
  for (const id of draft.held(from)) {
    const shard = draft.shards.get(id);
    if (shard?.movable !== true || !draft.fits(shard, to) || arrived.get(id)?.has(from)) continue;
    const rest = difference - draft.share(shard, from) - draft.share(shard, to);
    if (difference < worthwhile * (draft.share(shard, from) + draft.share(shard, to))) continue;
    if (draft.conflictsAfter(id, from, to) > draft.conflicts(draft.on(id))) continue;
    const leads = shard.leader === from;
    const better =
      best === undefined ||
      Number(leads) < Number(best.leads) ||
      (leads === best.leads && Math.abs(rest) < Math.abs(best.rest)) ||
      (leads === best.leads && Math.abs(rest) === Math.abs(best.rest) && id < best.shard.id);
    if (better) best = { shard, rest, leads };
  }
  return best?.shard;
}

/** Moves that part replicas which would fail together, where another node allows it. Changes `draft`. */
export function partReplicas(draft: Draft, limit: number): ReplicaMove[] {
  const moves: ReplicaMove[] = [];
  for (const shard of draft.shards.values()) {
    while (moves.length < limit && shard.movable) {
      const before = draft.conflicts(draft.on(shard.id));
      if (before === 0) break;
      const best = bestParting(draft, shard, before);
      if (best === undefined) break;
      moves.push(draft.move(best));
    }
  }
  return moves;
}

function bestParting(draft: Draft, shard: DraftShard, before: number): Move | undefined {
  let best: { move: Move; conflicts: number } | undefined;
  for (const from of draft.on(shard.id)) {
    const to = draft.bestFor(shard, from);
    if (to === undefined) continue;
    const conflicts = draft.conflictsAfter(shard.id, from, to);
    if (conflicts < before && (best === undefined || conflicts < best.conflicts)) {
      best = { move: { shard: shard.id, from, to }, conflicts };
    }
  }
  return best?.move;
}

export interface Evacuation {
  readonly moves: readonly ReplicaMove[];
  /** Shards that have nowhere to go. */
  readonly stuck: readonly { readonly shard: DraftShard; readonly from: NodeId }[];
}

/** Moves every replica off these nodes. Changes `draft`. */
export function evacuate(
  draft: Draft,
  leaving: ReadonlySet<NodeId>,
  limit: number = Number.POSITIVE_INFINITY,
): Evacuation {
  const moves: ReplicaMove[] = [];
  const stuck: { shard: DraftShard; from: NodeId }[] = [];
  for (const shard of draft.shards.values()) {
    for (const from of draft.on(shard.id)) {
      if (!leaving.has(from) || moves.length >= limit) continue;
      const to = shard.movable ? draft.bestFor(shard, from) : undefined;
      if (to === undefined) stuck.push({ shard, from });
      else moves.push(draft.move({ shard: shard.id, from, to }));
    }
  }
  return { moves, stuck };
}
