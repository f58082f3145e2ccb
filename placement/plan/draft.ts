import type { GroupId, NodeId } from "#proto";

/** A node as plans see it. */
export interface DraftNode {
  readonly id: NodeId;
  readonly name: string;
  /** Its share of replicas, relative to the others'. */
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  /** New replicas may go there. */
  readonly takes: boolean;
  /** Leaders may go there. */
  readonly leads: boolean;
  /** What may still be put there. */
  readonly freeBytes: number;
}

/** A shard as plans see it. */
export interface DraftShard {
  readonly id: GroupId;
  /** Nodes of its voters, as they will be after what is under way. */
  readonly on: readonly NodeId[];
  readonly leader?: NodeId;
  readonly bytes: number;
  /** False while something is under way there, or it can have no leader: plans leave it where it is. */
  readonly movable: boolean;
}

export interface ReplicaMove {
  readonly shard: GroupId;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly bytes: number;
}

/** Labels that tell failing together, the worst first: two replicas in one zone are worse than on one host. */
const failureLabels = ["zone", "host"] as const;
/** Pairs in one zone outweigh any number of pairs on one host. */
const labelWeights = [1_000, 1] as const;

/** Below this mean size, shards count by their number alone, bytes. */
const leastUnit = 1024 * 1024;

/**
 * A cluster on paper: moves are tried out here before they are planned. Each replica costs its node one for
 * being there and one more for each mean shard's size of data; a node's load is its cost for its weight.
 */
export class Draft {
  readonly nodes: ReadonlyMap<NodeId, DraftNode>;
  readonly shards: ReadonlyMap<GroupId, DraftShard>;
  readonly #on = new Map<GroupId, NodeId[]>();
  readonly #cost = new Map<NodeId, number>();
  readonly #free = new Map<NodeId, number>();
  readonly #held = new Map<NodeId, Set<GroupId>>();
  readonly #unit: number;

  constructor(nodes: readonly DraftNode[], shards: readonly DraftShard[]) {
    this.nodes = new Map(nodes.map((node) => [node.id, node]));
    this.shards = new Map(shards.map((shard) => [shard.id, shard]));
    const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
    this.#unit = Math.max(leastUnit, bytes / Math.max(1, shards.length));
    for (const node of nodes) {
      this.#cost.set(node.id, 0);
      this.#held.set(node.id, new Set());
      this.#free.set(node.id, node.freeBytes);
    }
    for (const shard of shards) {
      this.#on.set(shard.id, [...shard.on]);
      for (const node of shard.on) this.#put(shard, node);
    }
  }

  #put(shard: DraftShard, node: NodeId): void {
    this.#cost.set(node, (this.#cost.get(node) ?? 0) + this.costOf(shard));
    const held = this.#held.get(node) ?? new Set();
    this.#held.set(node, held.add(shard.id));
  }

  costOf(shard: DraftShard): number {
    return 1 + shard.bytes / this.#unit;
  }

  on(shard: GroupId): readonly NodeId[] {
    return this.#on.get(shard) ?? [];
  }

  /** Shards with a replica there. */
  held(node: NodeId): ReadonlySet<GroupId> {
    return this.#held.get(node) ?? new Set();
  }

  load(node: NodeId): number {
    return (this.#cost.get(node) ?? 0) / (this.nodes.get(node)?.weight ?? 1);
  }

  /** What one replica of the shard adds to the load of a node. */
  share(shard: DraftShard, node: NodeId): number {
    return this.costOf(shard) / (this.nodes.get(node)?.weight ?? 1);
  }

  /** May a replica of the shard be put on the node, beside or instead of those it has? */
  fits(shard: DraftShard, node: NodeId): boolean {
    const there = this.nodes.get(node);
    return there?.takes === true && !this.on(shard.id).includes(node) && this.#room(shard, node);
  }

  #room(shard: DraftShard, node: NodeId): boolean {
    return (this.#free.get(node) ?? 0) > shard.bytes;
  }

  move({ shard: id, from, to }: Pick<ReplicaMove, "shard" | "from" | "to">): ReplicaMove {
    const shard = this.shards.get(id);
    const bytes = shard?.bytes ?? 0;
    const on = this.on(id).map((node) => (node === from ? to : node));
    this.#on.set(id, on);
    if (shard !== undefined) {
      this.#cost.set(from, (this.#cost.get(from) ?? 0) - this.costOf(shard));
      this.#held.get(from)?.delete(id);
      this.#free.set(to, (this.#free.get(to) ?? 0) - bytes);
      this.#put(shard, to);
    }
    return { shard: id, from, to, bytes };
  }

  /** How much these nodes would fail together: 0 is best. */
  conflicts(on: readonly NodeId[]): number {
    let sum = 0;
    for (const [i, a] of on.entries()) {
      for (const b of on.slice(i + 1)) sum += this.#together(a, b);
    }
    return sum;
  }

  #together(a: NodeId, b: NodeId): number {
    const [one, other] = [this.nodes.get(a)?.labels ?? {}, this.nodes.get(b)?.labels ?? {}];
    return failureLabels.reduce((sum, label, i) => {
      const same = one[label] !== undefined && one[label] === other[label];
      return same ? sum + (labelWeights[i] ?? 0) : sum;
    }, 0);
  }

  /** Conflicts of the shard were its replica on `from` on `to` instead. */
  conflictsAfter(shard: GroupId, from: NodeId, to: NodeId): number {
    return this.conflicts(this.on(shard).map((node) => (node === from ? to : node)));
  }

  /** The node that should take over the replica on `from`: the fewest conflicts, then the least load. */
  bestFor(shard: DraftShard, from: NodeId): NodeId | undefined {
    let best: { node: NodeId; conflicts: number; load: number } | undefined;
    for (const node of this.nodes.keys()) {
      if (!this.fits(shard, node)) continue;
      const conflicts = this.conflictsAfter(shard.id, from, node);
      const load = this.load(node) + this.share(shard, node);
      const better =
        best === undefined ||
        conflicts < best.conflicts ||
        (conflicts === best.conflicts && load < best.load);
      if (better) best = { node, conflicts, load };
    }
    return best?.node;
  }

  /** (most − least) of the mean load of the nodes that may take replicas; 0 is perfect. */
  imbalance(): number {
    const loads = [...this.nodes.values()].filter((node) => node.takes).map((node) => this.load(node.id));
    return spread(loads);
  }
}

/** (most − least) / mean; 0 of nothing. */
export function spread(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  return mean === 0 ? 0 : (Math.max(...values) - Math.min(...values)) / mean;
}
