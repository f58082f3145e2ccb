import type { NodeId } from "#proto";
import type { Command } from "../commands.ts";
import { type GroupModel, isStaying, isVoter, type Model, nameOf } from "../model.ts";
import { draftOf, isIdle } from "./board.ts";
import type { Checker } from "./decision.ts";
import type { Draft } from "./draft.ts";
import { MoveRoom } from "./limits.ts";
import { stepsTo } from "./membership.ts";
import { beginMove } from "./moves.ts";

/**
 * As many voters as the keyspace asks for, two more or two fewer by one joint change, so that a shard goes
 * from odd to odd (R10). Runs whatever the settings are: too few is a danger, too many cost their writes.
 */
export const checkCount: Checker = (model) => {
  const wrong = [...model.shards.values()].filter(
    ({ keyspace, descriptor }) => keyspace !== undefined && descriptor.replicas.length !== keyspace.replicas,
  );
  if (wrong.length === 0) return [];
  const draft = draftOf(model, { background: true });
  const room = new MoveRoom(model);
  const commands: Command[] = [];
  for (const shard of wrong) {
    if (!isIdle(shard) || draft.shards.get(shard.id)?.movable !== true) continue;
    const wanted = shard.keyspace?.replicas ?? 0;
    const held = draft.on(shard.id);
    if ((wanted - held.length) % 2 !== 0) continue;
    const command =
      held.length < wanted ? grow(model, draft, shard, room) : shrink(model, draft, shard, room);
    if (command !== undefined) commands.push(command);
  }
  return commands;
};

function grow(model: Model, draft: Draft, shard: GroupModel, room: MoveRoom): Command | undefined {
  const held = draft.on(shard.id);
  const piece = draft.shards.get(shard.id);
  if (piece === undefined) return undefined;
  const [first, second] = [...draft.nodes.keys()]
    .filter((node) => draft.fits(piece, node))
    .sort(
      (a, b) =>
        draft.conflicts([...held, a]) - draft.conflicts([...held, b]) || draft.load(a) - draft.load(b),
    );
  if (first === undefined || second === undefined) return undefined;
  const moves = [first, second].map((to) => ({ to, bytes: piece.bytes }));
  if (!moves.every((move) => room.has(move))) return undefined;
  for (const move of moves) room.take(move);
  const names = `${nameOf(model, first)} and ${nameOf(model, second)}`;
  const reason = `shard ${shard.id} has ${held.length} of ${shard.keyspace?.replicas} replicas: ${names} get one`;
  const begun = beginMove(shard, { to: first }, { kind: "replica_count", reason });
  return { ...begun, steps: stepsTo(shard, new Set([...held, first, second])) };
}

function shrink(model: Model, draft: Draft, shard: GroupModel, room: MoveRoom): Command | undefined {
  const held = draft.on(shard.id);
  const going = leastNeeded(model, draft, shard);
  const kept = held.filter((node) => !going.includes(node));
  // R10: those that stay must be there, or the leader would refuse the change.
  if (kept.some((node) => !isThere(model, shard, node))) return undefined;
  const [first] = going;
  if (first === undefined || going.length < 2 || !room.has({ from: first, bytes: 0 })) return undefined;
  room.take({ from: first, bytes: 0 });
  const names = going.map((node) => nameOf(model, node)).join(" and ");
  const reason = `shard ${shard.id} has ${held.length} replicas, ${shard.keyspace?.replicas} are asked for: those on ${names} go`;
  const begun = beginMove(shard, { from: first }, { kind: "replica_count", reason });
  return { ...begun, steps: stepsTo(shard, new Set(kept)) };
}

/** The two that a shard can do without best: lost or leaving ones, then those that fail with others, then by load. */
function leastNeeded(model: Model, draft: Draft, shard: GroupModel): NodeId[] {
  const going: NodeId[] = [];
  const rank = (node: NodeId): readonly number[] => {
    const rest = draft.on(shard.id).filter((other) => other !== node && !going.includes(other));
    const there = isThere(model, shard, node);
    const stays = isStaying(model.nodes.get(node)?.row.membership ?? "decommissioned");
    const leads = shard.leader?.nodeId === node;
    return [Number(there), Number(stays), draft.conflicts(rest), Number(leads), -draft.load(node), node];
  };
  while (going.length < 2) {
    const left = draft.on(shard.id).filter((node) => !going.includes(node));
    const ranked = left.map((node) => ({ node, rank: rank(node) }));
    ranked.sort((a, b) => compare(a.rank, b.rank));
    const [least] = ranked;
    if (least === undefined) break;
    going.push(least.node);
  }
  return going;
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [i, value] of a.entries()) {
    const difference = value - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function isThere(model: Model, shard: GroupModel, node: NodeId): boolean {
  const replica = shard.descriptor.replicas.find((r) => r.nodeId === node && isVoter(r));
  const isUp = model.nodes.get(node)?.liveness === "up";
  return replica !== undefined && isUp && shard.present.has(replica.replicaId);
}

/** Keyspaces that ask for more replicas than there are nodes to have them, in words. */
export function tooFewNodes(model: Model): string[] {
  const nodes = [...model.nodes.values()].filter(({ row }) => isStaying(row.membership)).length;
  return [...model.state.keyspaces.values()]
    .filter(({ replicas }) => replicas > nodes)
    .map(
      ({ name, replicas }) =>
        `keyspace ${name} asks for ${replicas} replicas, and only ${nodes} nodes may have them: start ${replicas - nodes} more, or set replicas to fewer`,
    );
}
