import type { NodeId } from "#proto";
import type { Command } from "../commands.ts";
import { type GroupModel, isCaughtUp, type Model, nameOf } from "../model.ts";
import { isIdle } from "./board.ts";
import type { Checker } from "./decision.ts";
import { beginTransfer } from "./moves.ts";

/** Requests per second on led shards above which a node is worth relieving. */
const hotPerSecond = 500;
/** And so much above the mean of all. */
const hotFactor = 1.5;
/** What a move must take off the difference, at least. */
const worthwhile = 0.2;

function loadOf(shard: GroupModel): number {
  return (shard.lead?.writesPerSecond ?? 0) + (shard.lead?.readsPerSecond ?? 0);
}

interface Swap {
  readonly hot: GroupModel;
  /** Goes the other way, so that the numbers of leaders stay even. */
  readonly cold?: GroupModel;
  readonly from: NodeId;
  readonly to: NodeId;
}

/**
 * Takes the lead of a busy shard from a node that serves far more than the others to one that serves less,
 * against that of a quiet one where numbers would become uneven. The gap shrinks each time, so it ends.
 */
export const coolHotShards: Checker = (model) => {
  if (!model.settings.rebalance_enabled) return [];
  if ([...model.state.operations.values()].some((row) => row.state === "running")) return [];
  const nodes = [...model.nodes.values()].filter((node) => node.settled).map((node) => node.row.id);
  const led = new Map(nodes.map((node) => [node, [] as GroupModel[]]));
  for (const shard of model.shards.values()) led.get(shard.leader?.nodeId ?? 0)?.push(shard);
  const load = (node: NodeId): number => (led.get(node) ?? []).reduce((sum, s) => sum + loadOf(s), 0);
  const byLoad = [...nodes].sort((a, b) => load(b) - load(a) || a - b);
  const [from] = byLoad;
  if (from === undefined) return [];
  const mean = byLoad.reduce((sum, node) => sum + load(node), 0) / byLoad.length;
  if (load(from) < hotPerSecond || load(from) < hotFactor * mean) return [];
  for (const to of byLoad.slice(1).reverse()) {
    const swap = bestSwap(led, from, to, load(from) - load(to));
    if (swap !== undefined) return commandsOf(model, swap, load(from), load(to));
  }
  return [];
};

function bestSwap(
  led: ReadonlyMap<NodeId, readonly GroupModel[]>,
  from: NodeId,
  to: NodeId,
  gap: number,
): Swap | undefined {
  const [mine, theirs] = [led.get(from) ?? [], led.get(to) ?? []];
  const numbers = [...led].map(
    ([node, shards]) => shards.length + (node === to ? 1 : node === from ? -1 : 0),
  );
  const needsSwap = Math.max(...numbers) - Math.min(...numbers) > 1;
  const hot = mine.filter((shard) => canLead(shard, to)).sort((a, b) => loadOf(b) - loadOf(a) || a.id - b.id);
  const quiet = theirs
    .filter((shard) => canLead(shard, from))
    .sort((a, b) => loadOf(a) - loadOf(b) || a.id - b.id);
  const [cold] = quiet;
  if (needsSwap && cold === undefined) return undefined;
  for (const shard of hot) {
    const moved = loadOf(shard) - (needsSwap && cold !== undefined ? loadOf(cold) : 0);
    // Moving more than half the gap only turns it round.
    if (moved <= 0 || moved > gap * (1 - worthwhile) || 2 * moved < gap * worthwhile) continue;
    return { hot: shard, from, to, ...(needsSwap && cold !== undefined ? { cold } : {}) };
  }
  return undefined;
}

function canLead(shard: GroupModel, node: NodeId): boolean {
  const replica = shard.descriptor.replicas.find((r) => r.nodeId === node && r.role === "voter");
  return replica !== undefined && isIdle(shard) && isCaughtUp(shard, replica.replicaId);
}

function commandsOf(
  model: Model,
  { hot, cold, from, to }: Swap,
  fromLoad: number,
  toLoad: number,
): Command[] {
  const rates = `${nameOf(model, from)} serves ${Math.round(fromLoad)} requests/s, ${nameOf(model, to)} ${Math.round(toLoad)}`;
  const reason = `${rates}: shard ${hot.id} with ${Math.round(loadOf(hot))} goes over`;
  const background = true;
  const away = beginTransfer(hot, to, { reason, background });
  const back =
    cold === undefined
      ? undefined
      : beginTransfer(cold, from, {
          reason: `${rates}: quiet shard ${cold.id} for busy shard ${hot.id}`,
          background,
        });
  return [away, back].filter((command) => command !== undefined);
}
