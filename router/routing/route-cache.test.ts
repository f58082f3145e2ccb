import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeRouteTable,
  encodeRouteDelta,
  encodeRouteTable,
  type Route,
  type RouteTable,
  routesMethod,
  type ShardDescriptor,
} from "#proto";
import { Bench, keyspace, serveRoutes, shard, table } from "./fixture.ts";
import { isWhole } from "./route-cache.ts";
import { RouteMap } from "./route-map.ts";

const from = { address: "1", boot: "0".repeat(12) };

function known(bench: Bench): string[] {
  return bench.cache
    .table()
    .routes.map(
      ({ shard: s, leader }) => `${s.id}@${s.epoch.version}.${s.epoch.confVersion} by ${leader ?? "-"}`,
    );
}

function delta(
  sequence: number,
  routes: readonly Route[],
  more: Partial<RouteTable> = {},
  removed: number[] = [],
) {
  return {
    base: { term: 1, sequence: sequence - 1 },
    table: table(sequence, routes, more),
    removedShards: removed,
  };
}

describe("deltas", () => {
  it("one that follows on what is known is applied, from the event channel", () => {
    const bench = new Bench();
    bench.cache.onEvent(from, encodeRouteDelta(delta(2, [{ shard: shard(7, 0, 256), leader: 3 }])));
    expect(known(bench)).toEqual(["7@1.1 by 3"]);
    expect(bench.cache.version).toEqual({ term: 1, sequence: 2 });
  });

  it("one that was seen, or is older, changes nothing", () => {
    const bench = new Bench();
    bench.cache.applyDelta(delta(2, [{ shard: shard(7, 0, 256), leader: 3 }]));
    bench.cache.applyDelta(delta(2, [{ shard: shard(7, 0, 256), leader: 1 }]));
    bench.cache.applyDelta(delta(1, [{ shard: shard(7, 0, 256), leader: 1 }]));
    expect(known(bench)).toEqual(["7@1.1 by 3"]);
    expect(bench.rpc.of(routesMethod)).toHaveLength(0);
  });

  it("on a gap the whole is fetched, and a node that is behind as well is passed over", () => {
    const bench = new Bench();
    const newest = table(5, [{ shard: shard(7, 0, 256), leader: 3 }]);
    serveRoutes(bench.rpc, (node) => (node === 1 ? table(3, []) : newest));
    bench.cache.applyDelta(delta(5, []));
    expect(bench.cache.stats.gaps).toBe(1);
    bench.clock.advance(2_000);
    expect(known(bench)).toEqual(["7@1.1 by 3"]);
    expect(bench.cache.version.sequence).toBe(5);
  });

  it("a malformed one is counted and dropped", () => {
    const bench = new Bench();
    bench.cache.onEvent(from, Uint8Array.of(0xc1, 2, 3));
    expect(bench.cache.stats.malformed).toBe(1);
  });

  it("removed shards and keyspaces go", () => {
    const bench = new Bench([{ shard: shard(7, 0, 128) }, { shard: shard(8, 128, 256) }]);
    bench.cache.applyDelta(
      delta(2, [{ shard: shard(7, 0, 256, { epoch: { version: 2, confVersion: 1 } }) }], {}, [8]),
    );
    expect(known(bench)).toEqual(["7@2.1 by -"]);
    bench.cache.applyDelta(delta(3, [], { keyspaces: [] }));
    expect(known(bench)).toEqual([]);
    expect(bench.cache.keyspace("default")).toBeUndefined();
    expect(bench.cache.shard(7)).toBeUndefined();
  });

  it("routes of another cluster are dropped (R1)", () => {
    const bench = new Bench();
    bench.cache.applyDelta(delta(2, [], { clusterId: "d".repeat(32), keyspaces: [] }));
    expect(known(bench)).toEqual(["7@1.1 by 2"]);
  });
});

describe("healing from replicas' refusals", () => {
  it("children of a split take the parent's place, with its clock", () => {
    const bench = new Bench();
    const parent = bench.cache.shard(7);
    if (parent !== undefined) parent.clockMicros = 99;
    const epoch = { version: 2, confVersion: 1 };
    bench.cache.heal([shard(7, 0, 128, { epoch }), shard(9, 128, 256, { epoch })]);
    expect(known(bench)).toEqual(["7@2.1 by 2", "9@2.1 by -"]);
    expect(bench.cache.shard(9)?.clockMicros).toBe(99);
    expect(bench.cache.heal([shard(7, 0, 128, { epoch })])).toBe(false);
  });

  it("an older epoch never comes back, neither from a replica nor from placement's older table", () => {
    const bench = new Bench();
    const epoch = { version: 2, confVersion: 4 };
    bench.cache.heal([shard(7, 0, 128, { epoch }), shard(9, 128, 256, { epoch })]);
    bench.cache.heal([shard(7, 0, 256)]);
    bench.cache.applyTable(table(2, [{ shard: shard(7, 0, 256), leader: 2 }]));
    expect(known(bench)).toEqual(["7@2.4 by 2", "9@2.4 by -"]);
  });

  it("a merged shard replaces both", () => {
    const bench = new Bench([{ shard: shard(7, 0, 128) }, { shard: shard(8, 128, 256) }]);
    bench.cache.heal([shard(8, 0, 256, { epoch: { version: 2, confVersion: 1 } })]);
    expect(known(bench)).toEqual(["8@2.1 by -"]);
  });

  it("a shard of a keyspace nobody told of is ignored", () => {
    const bench = new Bench();
    expect(bench.cache.heal([shard(7, 0, 256, { keyspace: 5 })])).toBe(false);
  });
});

describe("leaders", () => {
  it("a replica's word stands until placement's own view changes", () => {
    const bench = new Bench();
    bench.cache.setLeader(7, 3);
    bench.cache.applyDelta(delta(2, [{ shard: shard(7, 0, 256), leader: 2 }]));
    expect(known(bench)).toEqual(["7@1.1 by 3"]);
    bench.cache.applyDelta(delta(3, [{ shard: shard(7, 0, 256), leader: 1 }]));
    expect(known(bench)).toEqual(["7@1.1 by 1"]);
  });

  it("a node without a replica is not believed, and listeners hear of real changes only", () => {
    const bench = new Bench();
    const heard: number[] = [];
    bench.cache.onLeaderChange((id) => heard.push(id));
    expect(bench.cache.setLeader(7, 9)).toBe(false);
    expect(bench.cache.setLeader(7, 2)).toBe(false);
    expect(bench.cache.setLeader(7, 1)).toBe(true);
    expect(heard).toEqual([7]);
  });

  it("one that loses its replica is forgotten", () => {
    const bench = new Bench();
    const replicas = [1, 3, 4].map((node) => ({ replicaId: node, nodeId: node, role: "voter" as const }));
    bench.cache.heal([shard(7, 0, 256, { epoch: { version: 1, confVersion: 2 }, replicas })]);
    expect(known(bench)).toEqual(["7@1.2 by -"]);
  });
});

describe("fetching", () => {
  it("goes on until somebody has a table, then only now and then", () => {
    const bench = new Bench([]);
    const { cache } = bench;
    let answer: RouteTable | undefined;
    serveRoutes(bench.rpc, () => answer);
    cache.start();
    bench.clock.advance(3_000);
    expect(cache.loaded).toBe(false);
    cache.applyTable(table(1, [{ shard: shard(7, 0, 256), leader: 2 }]));
    answer = table(2, [{ shard: shard(7, 0, 256), leader: 3 }]);
    bench.clock.advance(3_000);
    expect(cache.version.sequence).toBe(2);
    const fetches = cache.stats.fetches;
    bench.clock.advance(20_000);
    expect(cache.stats.fetches).toBe(fetches);
    bench.clock.advance(40_000);
    expect(cache.stats.fetches).toBeGreaterThan(fetches);
    cache.close();
    bench.clock.advance(60_000);
    expect(bench.clock.pending).toBe(0);
  });

  it("many asking at once share one request, and hear when it is over", () => {
    const bench = new Bench();
    let heard = 0;
    for (let i = 0; i < 10; i++) bench.cache.afterRefresh(() => heard++);
    expect(bench.rpc.of(routesMethod)).toHaveLength(1);
    bench.rpc.of(routesMethod)[0]?.reply(encodeRouteTable(table(2, [])));
    expect(heard).toBe(10);
  });

  it("what is served to others is what is known", () => {
    const bench = new Bench();
    bench.cache.serve();
    let reply: Uint8Array | undefined;
    bench.rpc.served.get(routesMethod)?.(from, new Uint8Array(0), (body) => {
      reply = body;
    });
    expect(decodeRouteTable(reply!)).toEqual(bench.cache.table());
  });
});

describe("lookup", () => {
  it("finds the shard of every key in any tiling, and in none outside", () => {
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 255 }), { maxLength: 20 });
    fc.assert(
      fc.property(cuts, fc.uint8Array({ minLength: 1, maxLength: 6 }), (inner, key) => {
        const bounds = [0, ...inner.sort((a, b) => a - b), 256];
        const shards = bounds.slice(0, -1).map((slot, i) => shard(i + 1, slot, bounds[i + 1] ?? 256));
        const map = new RouteMap();
        map.setKeyspaces([keyspace]);
        map.learn(shards);
        const routes = map.keyspace("default")!;
        expect(isWhole(routes)).toBe(true);
        const encoded = Uint8Array.of(0, ...key);
        const want = bounds.findLastIndex((slot) => slot <= (key[0] ?? 0)) + 1;
        expect(map.lookup(routes, encoded)?.shard.id).toBe(want);
        map.forget(want);
        expect(map.lookup(routes, encoded)).toBeUndefined();
        expect(isWhole(routes)).toBe(false);
      }),
    );
  });

  it("whatever order a history of splits and merges is heard in, the newest of it is what stays", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000), { maxLength: 25 }), fc.infiniteStream(fc.nat()), (steps, draws) => {
        const heard = historyOf(steps);
        const final = heard.at(-1)!;
        const told = heard.flat();
        // In any order, some of it twice; the last state of all is heard at some point.
        const order = told.map((s) => ({ s, rank: draws.next().value ?? 0 })).sort((a, b) => a.rank - b.rank);
        const map = new RouteMap();
        map.setKeyspaces([keyspace]);
        for (const { s } of order) map.learn([s]);
        for (const s of final) map.learn([s]);
        expect(map.keyspace("default")!.sorted.map((entry) => entry.shard)).toEqual(final);
      }),
    );
  });
});

/** States of a keyspace, each after one split, merge or membership change drawn from `steps`. */
function historyOf(steps: readonly number[]): ShardDescriptor[][] {
  let ids = 1;
  const states = [[shard(ids++, 0, 256)]];
  const bounds = (s: ShardDescriptor) => [
    s.start.length === 0 ? 0 : Buffer.from(s.start).readUInt16BE(),
    s.end.length === 0 ? 256 : Buffer.from(s.end).readUInt16BE(),
  ];
  for (const step of steps) {
    const state = [...states.at(-1)!];
    const at = step % state.length;
    const chosen = state[at]!;
    const [start = 0, end = 256] = bounds(chosen);
    const { version, confVersion } = chosen.epoch;
    const next = state[at + 1];
    if (step % 3 === 0 && end - start > 1) {
      const middle = (start + end) >> 1;
      const epoch = { version: version + 1, confVersion };
      state.splice(at, 1, shard(chosen.id, start, middle, { epoch }), shard(ids++, middle, end, { epoch }));
    } else if (step % 3 === 1 && next !== undefined) {
      const epoch = { version: Math.max(version, next.epoch.version) + 1, confVersion };
      state.splice(at, 2, shard(chosen.id, start, bounds(next)[1] ?? 256, { epoch }));
    } else {
      state[at] = shard(chosen.id, start, end, { epoch: { version, confVersion: confVersion + 1 } });
    }
    states.push(state);
  }
  return states;
}
