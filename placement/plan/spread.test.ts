import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { leaderMoves, type Seat } from "./leaders.ts";
import { spreadShards } from "./spread.ts";

function counts(values: readonly number[]): Map<number, number> {
  const found = new Map<number, number>();
  for (const value of values) found.set(value, (found.get(value) ?? 0) + 1);
  return found;
}

function spreadOf(nodes: readonly number[], values: readonly number[]): number {
  const found = counts(values);
  const each = nodes.map((node) => found.get(node) ?? 0);
  return Math.max(...each) - Math.min(...each);
}

describe("where new shards go", () => {
  it("replicas on different nodes, counts within one, leaders within one", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 60 }),
        fc.constantFrom(1, 3, 5),
        (nodes, shards, replicas) => {
          const sites = Array.from({ length: nodes }, (_, i) => ({ id: i + 1, labels: {}, replicas: 0 }));
          const placed = spreadShards(sites, shards, replicas);
          if (nodes < replicas) {
            expect(placed).toBeUndefined();
            return;
          }
          const ids = sites.map((site) => site.id);
          expect(placed).toHaveLength(shards);
          for (const on of placed ?? []) expect(new Set(on).size).toBe(replicas);
          expect(spreadOf(ids, (placed ?? []).flat())).toBeLessThanOrEqual(1);
          expect(
            spreadOf(
              ids,
              (placed ?? []).map((on) => on[0] ?? 0),
            ),
          ).toBeLessThanOrEqual(1);
        },
      ),
    );
  });

  it("fills nodes that have fewer first", () => {
    const sites = [
      { id: 1, labels: {}, replicas: 10 },
      { id: 2, labels: {}, replicas: 0 },
      { id: 3, labels: {}, replicas: 0 },
    ];
    expect(counts((spreadShards(sites, 4, 1) ?? []).flat())).toEqual(
      new Map([
        [2, 2],
        [3, 2],
      ]),
    );
  });

  it("keeps a shard's replicas in different zones where there are enough", () => {
    const zones = ["a", "a", "b", "b", "c", "c"];
    const sites = zones.map((zone, i) => ({ id: i + 1, labels: { zone }, replicas: 0 }));
    for (const on of spreadShards(sites, 12, 3) ?? []) {
      expect(new Set(on.map((id) => zones[id - 1])).size).toBe(3);
    }
  });
});

/** Random seats: each group on `replicas` of the nodes, led by one of them. */
const cluster = fc
  .record({ nodes: fc.integer({ min: 1, max: 7 }), replicas: fc.constantFrom(1, 3, 5) })
  .chain(({ nodes, replicas }) => {
    const ids = Array.from({ length: nodes }, (_, i) => i + 1);
    const members = fc.shuffledSubarray(ids, {
      minLength: Math.min(replicas, nodes),
      maxLength: Math.min(replicas, nodes),
    });
    return fc.array(members, { maxLength: 40 }).map((groups) => ({
      ids,
      seats: groups.map((on, group): Seat => ({ group, leader: on[0] ?? 0, candidates: on.slice(1) })),
    }));
  });

function after(seats: readonly Seat[], moves: ReturnType<typeof leaderMoves>): Seat[] {
  const to = new Map(moves.map((move) => [move.group, move.to]));
  return seats.map((seat) => {
    const leader = to.get(seat.group) ?? seat.leader;
    const all = [seat.leader, ...seat.candidates];
    return { ...seat, leader, candidates: all.filter((node) => node !== leader) };
  });
}

describe("moving leaders", () => {
  it("converges: a second plan is empty, and nothing goes where it cannot", () => {
    fc.assert(
      fc.property(cluster, ({ ids, seats }) => {
        const moves = leaderMoves(ids, seats, Number.POSITIVE_INFINITY);
        for (const { group, from, to } of moves) {
          const seat = seats.find((s) => s.group === group);
          expect(seat?.leader).toBe(from);
          expect(seat?.candidates).toContain(to);
        }
        expect(leaderMoves(ids, after(seats, moves), Number.POSITIVE_INFINITY)).toEqual([]);
      }),
    );
  });

  it("with every group on every node, they end within one of each other", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 6 }), fc.array(fc.nat()), (nodes, leaders) => {
        const ids = Array.from({ length: nodes }, (_, i) => i + 1);
        const seats = leaders.map((n, group): Seat => {
          const leader = (n % nodes) + 1;
          return { group, leader, candidates: ids.filter((id) => id !== leader) };
        });
        const moved = after(seats, leaderMoves(ids, seats, Number.POSITIVE_INFINITY));
        expect(
          spreadOf(
            ids,
            moved.map((seat) => seat.leader),
          ),
        ).toBeLessThanOrEqual(1);
      }),
    );
  });

  it.each([
    { name: "even: nothing", leaders: [1, 2, 3], want: 0 },
    { name: "one more is even enough", leaders: [1, 1, 2, 3], want: 0 },
    { name: "two more is not", leaders: [1, 1, 1, 2], want: 1 },
    { name: "all on one node", leaders: [1, 1, 1, 1, 1, 1], want: 4 },
  ])("$name", ({ leaders, want }) => {
    const ids = [1, 2, 3];
    const seats = leaders.map((leader, group) => ({
      group,
      leader,
      candidates: ids.filter((id) => id !== leader),
    }));
    expect(leaderMoves(ids, seats, 100)).toHaveLength(want);
  });

  it("goes by way of a third node where there is no direct one", () => {
    const seats = [
      { group: 1, leader: 1, candidates: [2] },
      { group: 2, leader: 1, candidates: [2] },
      { group: 3, leader: 2, candidates: [3] },
    ];
    expect(leaderMoves([1, 2, 3], seats, 10).map(({ group, to }) => [group, to])).toEqual([
      [1, 2],
      [3, 3],
    ]);
  });

  it("keeps to its limit, and a draining node is no target", () => {
    const seats = Array.from({ length: 9 }, (_, group) => ({ group, leader: 1, candidates: [2, 3] }));
    expect(leaderMoves([1, 2, 3], seats, 2)).toHaveLength(2);
    expect(leaderMoves([1, 2], seats, 100).every((move) => move.to === 2)).toBe(true);
  });
});
