import type { GroupId, NodeId } from "#proto";

/** A group that has a leader, and where else it could be led. */
export interface Seat {
  readonly group: GroupId;
  readonly leader: NodeId;
  /** Nodes of caught-up voters that may lead, without the leader's. */
  readonly candidates: readonly NodeId[];
}

export interface LeaderMove {
  readonly group: GroupId;
  readonly from: NodeId;
  readonly to: NodeId;
  /** Leaders on the node that had most, and on the one that gets one more, when this was planned. */
  readonly most: number;
  readonly fewest: number;
}

/**
 * Transfers that make numbers of leaders even over `nodes`. Nothing while no node leads two more than one
 * that could take over from it, directly or by way of others (A to B, and B's to C). Each round takes one
 * leader from a node with many to one with at least two fewer, so it ends, and a second plan is empty.
 * @param limit - moves at most; a chain is never cut
 */
export function leaderMoves(nodes: readonly NodeId[], seats: readonly Seat[], limit: number): LeaderMove[] {
  const counts = new Map(nodes.map((node) => [node, 0]));
  const led = new Map<NodeId, Map<GroupId, Seat>>(nodes.map((node) => [node, new Map()]));
  for (const seat of seats) {
    if (!counts.has(seat.leader)) continue;
    counts.set(seat.leader, (counts.get(seat.leader) ?? 0) + 1);
    led.get(seat.leader)?.set(seat.group, seat);
  }
  const moves = new Map<GroupId, LeaderMove>();
  for (;;) {
    const chain = findChain(counts, led);
    if (chain === undefined || moves.size + chain.length > limit) return [...moves.values()];
    const most = counts.get(chain[0]?.from ?? 0) ?? 0;
    const fewest = counts.get(chain.at(-1)?.to ?? 0) ?? 0;
    for (const { seat, from, to } of chain) {
      counts.set(from, (counts.get(from) ?? 0) - 1);
      counts.set(to, (counts.get(to) ?? 0) + 1);
      led.get(from)?.delete(seat.group);
      const candidates = [...seat.candidates.filter((node) => node !== to), from];
      led.get(to)?.set(seat.group, { group: seat.group, leader: to, candidates });
      const earlier = moves.get(seat.group);
      const origin = earlier?.from ?? from;
      if (origin === to) moves.delete(seat.group);
      else moves.set(seat.group, { group: seat.group, from: origin, to, most, fewest });
    }
  }
}

interface Link {
  readonly seat: Seat;
  readonly from: NodeId;
  readonly to: NodeId;
}

/**
 * The shortest chain from a node with the most leaders to one with at least two fewer; of those it reaches
 * in as many steps, the one with the fewest.
 */
function findChain(
  counts: ReadonlyMap<NodeId, number>,
  led: ReadonlyMap<NodeId, ReadonlyMap<GroupId, Seat>>,
): Link[] | undefined {
  const byLeaders = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const fewest = byLeaders.at(-1)?.[1] ?? 0;
  for (const [start, most] of byLeaders) {
    if (most - fewest < 2) return undefined;
    const reached = new Map<NodeId, Link | undefined>([[start, undefined]]);
    for (let level = [start]; level.length > 0; level = nextLevel(level, reached, counts, led)) {
      const [best] = [...level].sort((a, b) => (counts.get(a) ?? 0) - (counts.get(b) ?? 0) || a - b);
      if (best !== undefined && most - (counts.get(best) ?? 0) >= 2) return linksTo(best, reached);
    }
  }
  return undefined;
}

/** Nodes one transfer further, with the transfer that reaches each. */
function nextLevel(
  level: readonly NodeId[],
  reached: Map<NodeId, Link | undefined>,
  counts: ReadonlyMap<NodeId, number>,
  led: ReadonlyMap<NodeId, ReadonlyMap<GroupId, Seat>>,
): NodeId[] {
  const next: NodeId[] = [];
  for (const from of level) {
    for (const seat of led.get(from)?.values() ?? []) {
      for (const to of seat.candidates) {
        if (!counts.has(to) || reached.has(to)) continue;
        reached.set(to, { seat, from, to });
        next.push(to);
      }
    }
  }
  return next;
}

function linksTo(node: NodeId, reached: ReadonlyMap<NodeId, Link | undefined>): Link[] {
  const links: Link[] = [];
  for (let link = reached.get(node); link !== undefined; link = reached.get(link.from)) links.unshift(link);
  return links;
}
