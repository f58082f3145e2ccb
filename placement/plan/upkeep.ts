import type { Command } from "../commands.ts";
import { type GroupModel, isStaying, isVoter, type Model, nameOf } from "../model.ts";
import { deadNodes, draftOf, isIdle, isRepairable } from "./board.ts";
import type { Checker } from "./decision.ts";
import type { ReplicaMove } from "./draft.ts";
import { MoveRoom } from "./limits.ts";
import { beginMove } from "./moves.ts";
import { calm, evacuate, evenReplicas, partReplicas } from "./replica-moves.ts";

/** Moves that one pass looks at; what does not fit the limits is planned again later. */
const movesPerPass = 32;
/** A repair that failed is tried again after this, ms: the next death may be the last one too many. */
const repairRestMs = 5_000;

/** Replicas on nodes that are gone for good are made again elsewhere. Runs whatever the settings are. */
export const checkRepair: Checker = (model) => {
  const dead = deadNodes(model);
  if (dead.size === 0) return [];
  const draft = draftOf(model, { background: true, restMs: repairRestMs });
  const { moves } = evacuate(draft, dead);
  return begin(model, moves, "repair", ({ shard, from, to }) => {
    const node = model.nodes.get(from);
    const why =
      node === undefined
        ? `${nameOf(model, from)} was deleted`
        : `${node.row.name} has been down for longer than ${model.settings.down_after_ms} ms`;
    return `${why}: its replica of shard ${shard} is made again on ${nameOf(model, to)}`;
  });
};

function begin(
  model: Model,
  moves: readonly ReplicaMove[],
  kind: "repair" | "move_replica",
  reasonOf: (move: ReplicaMove) => string,
): Command[] {
  const room = new MoveRoom(model);
  const dead = deadNodes(model);
  const isFree = (shard: GroupModel): boolean =>
    kind === "repair" ? isRepairable(shard, dead) : isIdle(shard);
  const begun = new Set<number>();
  const commands: Command[] = [];
  for (const move of moves) {
    const shard = model.shards.get(move.shard);
    if (shard === undefined || begun.has(shard.id) || !isFree(shard) || !room.has(move)) continue;
    if (!shard.descriptor.replicas.filter(isVoter).some((r) => r.nodeId === move.from)) continue;
    begun.add(shard.id);
    room.take(move);
    const { from, to } = move;
    commands.push(beginMove(shard, { from, to }, { kind, reason: reasonOf(move) }));
  }
  return commands;
}

/** What an operator asked for goes first, undisturbed. */
function isAtWork(model: Model): boolean {
  const kinds = new Set(["rebalance", "scatter", "decommission"]);
  return [...model.state.jobs.values()].some((job) => job.state === "running" && kinds.has(job.kind));
}

/** Replicas that would fail together are parted, where labels and nodes allow it. */
export const checkParting: Checker = (model) => {
  if (!model.settings.rebalance_enabled || isAtWork(model) || !anyLabels(model)) return [];
  const moves = partReplicas(draftOf(model, { background: true }), movesPerPass);
  return begin(model, moves, "move_replica", (move) => partingReason(model, move));
};

function anyLabels(model: Model): boolean {
  return [...model.nodes.values()].some(({ row }) => Object.keys(row.labels).length > 0);
}

export function partingReason(model: Model, { shard, from, to }: ReplicaMove): string {
  return `replicas of shard ${shard} would fail together: from ${nameOf(model, from)} to ${nameOf(model, to)}, which shares less with the others`;
}

/** Evens out replicas by number, size and the nodes' weights. Balanced, it plans nothing. */
export const balanceReplicas: Checker = (model) => {
  if (!model.settings.rebalance_enabled || isAtWork(model)) return [];
  const staying = [...model.nodes.values()].filter(({ row }) => isStaying(row.membership));
  // Whether a silent node comes back is not known yet: evening out without it may be for nothing.
  if (staying.some((node) => node.liveness === "suspect")) return [];
  const draft = draftOf(model, { background: true });
  const before = new Map([...draft.nodes.keys()].map((node) => [node, draft.load(node)]));
  const moves = evenReplicas(draft, calm, movesPerPass);
  return begin(model, moves, "move_replica", (move) => evenReason(model, move, before));
};

export function evenReason(
  model: Model,
  { from, to }: ReplicaMove,
  loads: ReadonlyMap<number, number>,
): string {
  const load = (node: number): string => (loads.get(node) ?? 0).toFixed(1);
  return `replicas are uneven: ${nameOf(model, from)} has a load of ${load(from)}, ${nameOf(model, to)} of ${load(to)}`;
}
