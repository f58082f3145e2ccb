import type { NodeId } from "#proto";
import { type GroupModel, isLedSoon, isStaying, isVoter, type Model, nameOf } from "../model.ts";
import type { Task } from "../state.ts";
import { draftOf } from "./board.ts";
import type { Blocker, Plan, PlannedStep } from "./book.ts";
import { tooFewNodes } from "./count.ts";
import { Draft, type ReplicaMove, spread } from "./draft.ts";
import { newTask } from "./jobs.ts";
import { leaderMoves, type Seat } from "./leaders.ts";
import { placementFits } from "./membership.ts";
import { type Evacuation, evacuate, evenReplicas, partReplicas } from "./replica-moves.ts";
import { evenReason, partingReason } from "./upkeep.ts";

/** What a move takes besides its bytes: the learner's entry, the joint change and its end, ms. */
const moveOverheadMs = 2_000;
const transferEtaMs = 500;

/** Replicas parted, replicas even, leaders even: what the background does bit by bit, all at once. */
export function planRebalance(model: Model): Plan {
  const draft = draftOf(model, { background: false });
  const before = Math.max(draft.imbalance(), leaderSpread(model, leadersNow(model)));
  const loads = new Map([...draft.nodes.keys()].map((node) => [node, draft.load(node)]));
  const unlimited = Number.POSITIVE_INFINITY;
  const parted = partReplicas(draft, unlimited).map((move) =>
    moveStep(model, move, partingReason(model, move)),
  );
  const evened = evenReplicas(draft, 0, unlimited).map((move) =>
    moveStep(model, move, evenReason(model, move, loads)),
  );
  const seats = seatsAfter(model, draft);
  const transfers = transferSteps(model, draft, seats);
  const steps = [...parted, ...evened, ...transfers];
  const leaders = new Map(seats.map((seat) => [seat.group, seat.leader]));
  for (const { shard, to } of transfers) leaders.set(shard, to);
  const after = Math.max(draft.imbalance(), leaderSpread(model, leaders));
  return {
    kind: "rebalance",
    steps,
    blockers: rebalanceBlockers(model),
    imbalance: { before: rounded(before), after: rounded(after) },
    etaMs: etaOf(model, steps),
    reason:
      steps.length === 0
        ? `nothing to do: replicas and leaders are as even over ${draft.nodes.size} nodes as they can be`
        : `${parted.length + evened.length} replicas and ${transfers.length} leaders move to even out the nodes`,
  };
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

function leadersNow(model: Model): Map<number, NodeId> {
  const leaders = new Map<number, NodeId>();
  for (const { id, leader } of model.shards.values())
    if (leader !== undefined) leaders.set(id, leader.nodeId);
  return leaders;
}

function leaderSpread(model: Model, leaders: ReadonlyMap<number, NodeId>): number {
  const counts = new Map([...model.nodes.values()].filter((n) => n.usable).map((n) => [n.row.id, 0]));
  for (const node of leaders.values()) {
    if (counts.has(node)) counts.set(node, (counts.get(node) ?? 0) + 1);
  }
  return spread([...counts.values()]);
}

function moveStep(model: Model, move: ReplicaMove, reason: string): PlannedStep {
  const etaMs = Math.round((move.bytes / model.settings.move_bytes_per_s) * 1_000) + moveOverheadMs;
  return { ...move, action: "move", reason, etaMs };
}

/** Leaders once the replicas have moved: who loses its replica hands over to the one with the fewest. */
function seatsAfter(model: Model, draft: Draft): Seat[] {
  const counts = new Map<NodeId, number>();
  for (const node of leadersNow(model).values()) counts.set(node, (counts.get(node) ?? 0) + 1);
  return [...model.shards.values()].flatMap((shard): Seat[] => {
    const { leader } = shard;
    if (leader === undefined) return [];
    const on = draft.on(shard.id);
    const heirs = [...on].sort((a, b) => (counts.get(a) ?? 0) - (counts.get(b) ?? 0) || a - b);
    const next = on.includes(leader.nodeId) ? leader.nodeId : (heirs[0] ?? leader.nodeId);
    if (next !== leader.nodeId) {
      counts.set(next, (counts.get(next) ?? 0) + 1);
      counts.set(leader.nodeId, (counts.get(leader.nodeId) ?? 0) - 1);
    }
    return [{ group: shard.id, leader: next, candidates: on.filter((node) => node !== next) }];
  });
}

function transferSteps(model: Model, draft: Draft, seats: readonly Seat[]): PlannedStep[] {
  const nodes = [...draft.nodes.values()].filter((node) => node.takes).map((node) => node.id);
  return leaderMoves(nodes, seats, Number.POSITIVE_INFINITY).map(({ group, from, to, most, fewest }) => ({
    action: "transfer_leader",
    shard: group,
    from,
    to,
    reason: `leaders are uneven: some node has ${most}, another ${fewest}; from ${nameOf(model, from)} to ${nameOf(model, to)}`,
    bytes: 0,
    etaMs: transferEtaMs,
  }));
}

function rebalanceBlockers(model: Model): Blocker[] {
  const blockers: Blocker[] = [];
  for (const { row, liveness, usable, clockBad } of model.nodes.values()) {
    if (usable || !isStaying(row.membership)) continue;
    const why = row.membership === "draining" ? "draining" : clockBad ? "off with its clock" : liveness;
    blockers.push({ node: row.id, reason: `${row.name} is ${why}: nothing goes there until it is not` });
  }
  blockers.push(...tooFewNodes(model).map((reason) => ({ reason })));
  return [...blockers, ...leaderless(model, [...model.shards.values()])];
}

/** Not those between two leaders: by the time their step is due they have one. */
function leaderless(model: Model, shards: readonly GroupModel[]): Blocker[] {
  return shards
    .filter((shard) => !isLedSoon(model, shard))
    .map(({ id }) => ({
      shard: id,
      reason: `shard ${id} has no leader: it moves once most of its voters are up again`,
    }));
}

/** Every replica off one node, each to where it makes the least uneven. */
export function planDecommission(model: Model, node: NodeId): Plan {
  const full = draftOf(model, { background: false });
  const nodes = [...full.nodes.values()].map((n) => (n.id === node ? { ...n, takes: false } : n));
  const draft = new Draft(nodes, [...full.shards.values()]);
  const evacuation = evacuate(draft, new Set([node]));
  const name = nameOf(model, node);
  const steps = evacuation.moves.map((move) =>
    moveStep(model, move, `${name} is decommissioned: shard ${move.shard} goes to ${nameOf(model, move.to)}`),
  );
  const blockers = decommissionBlockers(model, node, evacuation);
  return {
    kind: "decommission",
    node,
    steps,
    blockers,
    imbalance: { before: rounded(full.imbalance()), after: rounded(draft.imbalance()) },
    etaMs: etaOf(model, steps),
    reason:
      blockers.length > 0
        ? `${name} cannot be decommissioned now`
        : steps.length === 0
          ? `${name} has no replicas of shards`
          : `${steps.length} replicas leave ${name}`,
  };
}

function decommissionBlockers(model: Model, node: NodeId, { stuck }: Evacuation): Blocker[] {
  const blockers: Blocker[] = [];
  const name = nameOf(model, node);
  const others = [...model.nodes.values()].filter((n) => n.usable && n.row.id !== node).length;
  const short = stuck.filter(({ shard }) => shard.movable && shard.on.length > others);
  if (short.length > 0) {
    const size = Math.max(...short.map(({ shard }) => shard.on.length));
    blockers.push({
      node,
      reason: `${short.length} shards on ${name} have ${size} replicas, and only ${others} other nodes could hold them: start another node`,
    });
  }
  for (const { shard } of stuck) {
    const group = model.shards.get(shard.id);
    if (group === undefined || short.some((s) => s.shard === shard)) continue;
    if (!isLedSoon(model, group)) blockers.push(...leaderless(model, [group]));
    else {
      const reason = `shard ${shard.id} has ${shard.bytes} bytes, and no node that could take it has room: free disk space or start another node`;
      blockers.push({ shard: shard.id, reason });
    }
  }
  const seat = model.placement.descriptor.replicas.some((r) => isVoter(r) && r.nodeId === node);
  if (seat && !placementFits(model, node)) {
    const voters = model.placement.descriptor.replicas.filter(isVoter).length;
    blockers.push({
      node,
      reason: `placement has ${voters} voters, ${name} is one, and no other node could take its place: start another node, or set placement_replicas to fewer`,
    });
  }
  return blockers;
}

/**
 * As long as the busiest node takes: a sender shares its rate over its moves, and each node has a few under
 * way at once.
 */
export function etaOf(model: Model, steps: readonly PlannedStep[]): number {
  const { max_concurrent_moves: lanes, move_bytes_per_s: rate } = model.settings;
  const busy = new Map<NodeId, { count: number; bytes: number }>();
  for (const { action, from, to, bytes } of steps) {
    if (action !== "move") continue;
    for (const node of [from, to]) {
      const sum = busy.get(node) ?? { count: 0, bytes: 0 };
      busy.set(node, { count: sum.count + 1, bytes: sum.bytes + bytes });
    }
  }
  const times = [...busy.values()].map(
    ({ count, bytes }) => (bytes / rate) * 1_000 + Math.ceil(count / lanes) * moveOverheadMs,
  );
  const transfers = steps.filter((step) => step.action === "transfer_leader").length;
  return Math.round(Math.max(0, ...times) + Math.ceil(transfers / 8) * transferEtaMs);
}

export function tasksOf(steps: readonly PlannedStep[]): Task[] {
  return steps.map(({ action, shard, from, to, reason, bytes }) => ({
    ...newTask,
    action,
    shard,
    from,
    to,
    reason,
    bytes,
  }));
}

/** One shard's replicas on the nodes with the least to do, its leader where the fewest are. */
export function planScatter(model: Model, shard: GroupModel): PlannedStep[] {
  const draft = draftOf(model, { background: false });
  const piece = draft.shards.get(shard.id);
  if (piece === undefined) return [];
  const steps: PlannedStep[] = [];
  for (const from of [...draft.on(shard.id)].sort((a, b) => draft.load(b) - draft.load(a) || a - b)) {
    const to = draft.bestFor(piece, from);
    if (to === undefined) continue;
    const lighter = draft.load(to) + draft.share(piece, to) < draft.load(from);
    const safer = draft.conflictsAfter(shard.id, from, to) - draft.conflicts(draft.on(shard.id));
    if (safer > 0 || (safer === 0 && !lighter)) continue;
    const reason = `shard ${shard.id} is scattered: from ${nameOf(model, from)} to ${nameOf(model, to)}, which has less`;
    steps.push(moveStep(model, draft.move({ shard: shard.id, from, to }), reason));
  }
  const counts = (node: NodeId): number =>
    [...leadersNow(model).values()].filter((leader) => leader === node).length;
  const from = shard.leader?.nodeId;
  const [to] = [...draft.on(shard.id)].sort((a, b) => counts(a) - counts(b) || a - b);
  if (to !== undefined && from !== undefined && to !== from && counts(to) < counts(from)) {
    const reason = `shard ${shard.id} is scattered: ${nameOf(model, to)} leads the fewest`;
    steps.push({
      action: "transfer_leader",
      shard: shard.id,
      from,
      to,
      reason,
      bytes: 0,
      etaMs: transferEtaMs,
    });
  }
  return steps;
}
