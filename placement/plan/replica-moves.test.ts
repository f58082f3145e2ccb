import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Draft, type DraftNode, type DraftShard, type ReplicaMove } from "./draft.ts";
import { calm, evacuate, evenReplicas, partReplicas } from "./replica-moves.ts";

const mib = 1024 * 1024;

function node(id: number, parts: Partial<DraftNode> = {}): DraftNode {
  const freeBytes = 1e12;
  return { id, name: `n${id}`, weight: 1, labels: {}, takes: true, leads: true, freeBytes, ...parts };
}

function shard(id: number, on: readonly number[], parts: Partial<DraftShard> = {}): DraftShard {
  return { id, on, leader: on[0] ?? 1, bytes: 0, movable: true, ...parts };
}

interface Cluster {
  readonly nodes: readonly DraftNode[];
  readonly shards: readonly DraftShard[];
}

/** Random clusters: weights, zones, sizes, nodes that take nothing, shards that must stay. */
const cluster: fc.Arbitrary<Cluster> = fc
  .record({
    count: fc.integer({ min: 1, max: 8 }),
    replicas: fc.constantFrom(1, 3, 5),
    zones: fc.integer({ min: 0, max: 4 }),
  })
  .chain(({ count, replicas, zones }) => {
    const ids = Array.from({ length: count }, (_, i) => i + 1);
    const size = Math.min(replicas, count % 2 === 0 ? Math.max(1, count - 1) : count);
    const nodes = fc.tuple(
      ...ids.map((id) =>
        fc
          .record({
            weight: fc.constantFrom(1, 1, 1, 2, 0.5),
            takes: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
            zone: fc.nat(Math.max(0, zones - 1)),
          })
          .map(({ weight, takes, zone }) =>
            node(id, { weight, takes, leads: takes, labels: zones === 0 ? {} : { zone: `z${zone}` } }),
          ),
      ),
    );
    const on = fc.shuffledSubarray(ids, { minLength: size, maxLength: size });
    const shards = fc
      .array(fc.record({ on, bytes: fc.constantFrom(0, 0, mib, 16 * mib, 200 * mib), still: fc.nat(9) }), {
        maxLength: 40,
      })
      .map((rows) =>
        rows.map((row, i) => shard(i + 1, row.on, { bytes: row.bytes, movable: row.still > 0 })),
      );
    return fc.record({ nodes: nodes as fc.Arbitrary<DraftNode[]>, shards });
  });

/** The cluster after a plan, and a check that each of its steps was safe where it was taken. */
function carryOut({ nodes, shards }: Cluster, moves: readonly ReplicaMove[]): Cluster {
  const takes = new Set(nodes.filter((n) => n.takes).map((n) => n.id));
  const on = new Map(shards.map((s) => [s.id, [...s.on]]));
  for (const move of moves) {
    const held = on.get(move.shard) ?? [];
    expect(shards.find((s) => s.id === move.shard)?.movable).toBe(true);
    expect(held).toContain(move.from);
    expect(held).not.toContain(move.to);
    expect(takes.has(move.to)).toBe(true);
    on.set(
      move.shard,
      held.map((id) => (id === move.from ? move.to : id)),
    );
  }
  for (const held of on.values()) expect(new Set(held).size).toBe(held.length);
  return { nodes, shards: shards.map((s) => ({ ...s, on: on.get(s.id) ?? [] })) };
}

function conflicts({ nodes, shards }: Cluster): number[] {
  const draft = new Draft(nodes, shards);
  return shards.map((s) => draft.conflicts(s.on));
}

describe("plans over random clusters", () => {
  it.each([
    { name: "background, a few moves at a time", tolerance: calm, limit: 3 },
    { name: "all at once", tolerance: 0, limit: Number.POSITIVE_INFINITY },
  ])("converge and never hurt a shard: $name", ({ tolerance, limit }) => {
    fc.assert(
      fc.property(cluster, (start) => {
        let now = start;
        let rounds = 0;
        for (; rounds < 500; rounds++) {
          const draft = new Draft(now.nodes, now.shards);
          const before = conflicts(now);
          const parted = partReplicas(draft, limit);
          const moves = parted.length > 0 ? parted : evenReplicas(draft, tolerance, limit);
          if (moves.length === 0) break;
          now = carryOut(now, moves);
          for (const [i, after] of conflicts(now).entries()) {
            expect(after).toBeLessThanOrEqual(before[i] ?? 0);
          }
        }
        expect(rounds).toBeLessThan(500);
      }),
      { numRuns: 150 },
    );
  });

  it("evacuation empties the nodes or says which shards are stuck", () => {
    fc.assert(
      fc.property(cluster, fc.integer({ min: 1, max: 8 }), (start, gone) => {
        const nodes = start.nodes.map((n) => (n.id === gone ? { ...n, takes: false } : n));
        const { moves, stuck } = evacuate(new Draft(nodes, start.shards), new Set([gone]));
        const after = carryOut({ nodes, shards: start.shards }, moves);
        const left = after.shards.filter((s) => s.on.includes(gone)).map((s) => s.id);
        expect(left).toEqual(stuck.map((s) => s.shard.id));
        for (const { shard: s } of stuck.filter((x) => x.shard.movable)) {
          const free = nodes.filter((n) => n.takes && !s.on.includes(n.id));
          expect(free).toEqual([]);
        }
      }),
      { numRuns: 150 },
    );
  });
});

const three = [node(1), node(2), node(3)];
const full = (count: number, bytes = 0): DraftShard[] =>
  Array.from({ length: count }, (_, i) => shard(i + 1, [1, 2, 3], { bytes }));

describe("evening out", () => {
  it.each([
    { name: "every replica on every node: nothing", nodes: three, shards: full(8), want: 0 },
    { name: "a fourth node takes its share", nodes: [...three, node(4)], shards: full(8), want: 6 },
    {
      name: "half the weight, half the share",
      nodes: [...three, node(4, { weight: 0.5 })],
      shards: full(14),
      want: 6,
    },
    {
      name: "one that takes nothing gets nothing",
      nodes: [...three, node(4, { takes: false })],
      shards: full(8),
      want: 0,
    },
    {
      name: "a full disk gets nothing",
      nodes: [...three, node(4, { freeBytes: 10 })],
      shards: full(8, 100),
      want: 0,
    },
    { name: "no shards", nodes: three, shards: [], want: 0 },
  ])("$name", ({ nodes, shards, want }) => {
    const draft = new Draft(nodes, shards);
    expect(evenReplicas(draft, 0, 1_000)).toHaveLength(want);
    expect(evenReplicas(draft, 0, 1_000)).toEqual([]);
  });

  it("from three nodes to five and back within a tenth, with no more bytes than needed", () => {
    const shards = full(64, 16 * mib);
    const nodes = [...three, node(4), node(5)];
    const draft = new Draft(nodes, shards);
    const out = evenReplicas(draft, calm, 1_000);
    expect(draft.imbalance()).toBeLessThanOrEqual(0.1);
    // 192 replicas over five nodes: two new ones with 38 each.
    expect(out.length).toBeLessThanOrEqual(78);
    const spreadOut = shards.map((s) => ({ ...s, on: draft.on(s.id) }));
    const less = nodes.map((n) => (n.id > 3 ? { ...n, takes: false } : n));
    const back = new Draft(less, spreadOut);
    const { stuck } = evacuate(back, new Set([4, 5]));
    expect(stuck).toEqual([]);
    expect(back.imbalance()).toBeLessThanOrEqual(0.1);
  });

  it("prefers replicas that do not lead where they are", () => {
    const shards = [shard(1, [1], { leader: 1 }), shard(2, [1], { leader: 2 }), shard(3, [1], { leader: 1 })];
    const [move] = evenReplicas(new Draft([node(1), node(2)], shards), 0, 1);
    expect(move?.shard).toBe(2);
  });

  it("large shards count for more than small ones", () => {
    const shards = [1, 2, 3, 4].map((id) =>
      shard(id, [id === 1 ? 1 : 2], { bytes: id === 1 ? 300 * mib : mib }),
    );
    // Three small ones are less than the large one: nothing to gain.
    expect(evenReplicas(new Draft([node(1), node(2)], shards), 0, 10)).toEqual([]);
  });
});

describe("parting replicas that would fail together", () => {
  const zones = ["a", "a", "b", "c"];
  const nodes = zones.map((zone, i) => node(i + 1, { labels: { zone } }));

  it("moves one of two in a zone to a zone that has none", () => {
    expect(partReplicas(new Draft(nodes, [shard(1, [1, 2, 3])]), 10)).toEqual([
      { shard: 1, from: 1, to: 4, bytes: 0 },
    ]);
  });

  it("leaves what no node could make better", () => {
    const two = nodes.slice(0, 3);
    expect(partReplicas(new Draft(two, [shard(1, [1, 2, 3])]), 10)).toEqual([]);
  });

  it("a zone is worse than a host", () => {
    const here = { zone: "a", host: "x" };
    const draft = new Draft(
      [
        node(1, { labels: here }),
        node(2, { labels: { zone: "b", host: "y" } }),
        node(3, { labels: { zone: "b", host: "z" } }),
        node(4, { labels: { zone: "c", host: "x" } }),
      ],
      [shard(1, [1, 2, 3])],
    );
    const [move] = partReplicas(draft, 10);
    expect(move?.to).toBe(4);
  });
});
