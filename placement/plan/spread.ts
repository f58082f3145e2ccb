import type { NodeId } from "#proto";
import { leaderMoves } from "./leaders.ts";

export interface Site {
  readonly id: NodeId;
  readonly labels: Readonly<Record<string, string>>;
  /** Replicas it has already. */
  readonly replicas: number;
}

/** Labels that tell failing together, the worst first: two replicas in one zone are worse than on one host. */
const failureLabels = ["zone", "host"];

/**
 * Chooses the nodes of `shards` new shards, `replicas` different ones each, the first leader's first: every
 * replica goes to the site with the fewest, preferring other zones and hosts than its shard's others have.
 * Without labels the counts end within one of each other where they began so; leaders always as even as the
 * replicas allow.
 * @returns undefined when there are fewer sites than replicas
 */
export function spreadShards(
  sites: readonly Site[],
  shards: number,
  replicas: number,
): NodeId[][] | undefined {
  if (sites.length < replicas) return undefined;
  const counts = new Map(sites.map((site) => [site.id, site.replicas]));
  const chosen: NodeId[][] = [];
  for (let shard = 0; shard < shards; shard++) {
    const taken: Site[] = [];
    for (let i = 0; i < replicas; i++) {
      const best = pick(sites, taken, counts, shard);
      if (best === undefined) return undefined;
      taken.push(best);
      counts.set(best.id, (counts.get(best.id) ?? 0) + 1);
    }
    chosen.push(taken.map((site) => site.id));
  }
  return withEvenLeaders(sites, chosen);
}

function pick(
  sites: readonly Site[],
  taken: readonly Site[],
  counts: ReadonlyMap<NodeId, number>,
  shard: number,
): Site | undefined {
  let best: { site: Site; rank: readonly number[] } | undefined;
  for (const [i, site] of sites.entries()) {
    if (taken.includes(site)) continue;
    const together = failureLabels.map((label) => taken.filter((other) => shares(site, other, label)).length);
    // The last number turns the start with the shard, so that equals take turns.
    const rank = [
      ...together,
      counts.get(site.id) ?? 0,
      (i + sites.length - (shard % sites.length)) % sites.length,
    ];
    if (best === undefined || isLess(rank, best.rank)) best = { site, rank };
  }
  return best?.site;
}

function shares(a: Site, b: Site, label: string): boolean {
  const value = a.labels[label];
  return value !== undefined && value === b.labels[label];
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  for (const [i, value] of a.entries()) {
    const other = b[i] ?? 0;
    if (value !== other) return value < other;
  }
  return false;
}

/** Moves first leaders between the chosen nodes until no node has more than one above another it could. */
function withEvenLeaders(sites: readonly Site[], chosen: readonly NodeId[][]): NodeId[][] {
  const seats = chosen.map((nodes, group) => ({ group, leader: nodes[0] ?? 0, candidates: nodes.slice(1) }));
  const moves = leaderMoves(
    sites.map((site) => site.id),
    seats,
    Number.POSITIVE_INFINITY,
  );
  const leaders = new Map(moves.map((move) => [move.group, move.to]));
  return chosen.map((nodes, group) => {
    const leader = leaders.get(group) ?? nodes[0];
    return leader === undefined ? [] : [leader, ...nodes.filter((node) => node !== leader)];
  });
}
