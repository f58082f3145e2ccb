import { describe, expect, it } from "vitest";
import { tiles } from "#proto";
import { PlacementHarness } from "./harness.ts";
import type { JoinOutcome } from "./join.ts";

interface ShardBody {
  id: number;
  leader: string | null;
  health: string;
  replicas: { node: string; role: string; state: string; match_lag: number | null }[];
}

function leadersOf(shards: readonly ShardBody[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { leader } of shards) if (leader !== null) counts[leader] = (counts[leader] ?? 0) + 1;
  return counts;
}

describe("a new cluster", () => {
  it("makes no shards before as many nodes are there as a shard has replicas (R31)", () => {
    const h = new PlacementHarness();
    h.bootstrap("n1");
    h.join("n2");
    h.run(5_000);
    expect(h.leader()?.placement.model?.nodes.size).toBe(2);
    expect(h.leader()?.placement.model?.shards.size).toBe(0);
    h.join("n3");
    h.until("shards", () => (h.leader()?.placement.model?.shards.size ?? 0) === 16);
  });

  it("spreads shards and leaders evenly, and placement's voters go from one to three", () => {
    const h = new PlacementHarness();
    h.cluster();
    const { items } = h.ask<{ items: ShardBody[] }>("shards.list");
    expect(items).toHaveLength(16);
    for (const shard of items) {
      expect(new Set(shard.replicas.map((r) => r.node)).size).toBe(3);
      expect(shard.replicas.every((r) => r.role === "voter")).toBe(true);
    }
    expect(Object.values(leadersOf(items)).sort()).toEqual([5, 5, 6]);
    const cluster = h.ask<{ placement: { members: string[] }; can_lose: { nodes: number } }>("cluster.get");
    expect([...cluster.placement.members].sort()).toEqual(["n1", "n2", "n3"]);
    expect(cluster.can_lose.nodes).toBe(1);
    const shards = [...(h.leader()?.placement.model?.shards.values() ?? [])].map((s) => s.descriptor);
    expect(tiles(shards)).toBe(true);
  });

  it("does it with one replica on one node", () => {
    const h = new PlacementHarness({ wish: { replicas: 1, shards: 4 } });
    h.cluster(["n1"]);
    expect(h.ask<{ items: unknown[] }>("shards.list").items).toHaveLength(4);
    expect(h.ask<{ can_lose: { nodes: number } }>("cluster.get").can_lose.nodes).toBe(0);
  });

  it("makes as many range shards as were asked for, and they tile", () => {
    const h = new PlacementHarness({ wish: { partition: "range", shards: 5 } });
    h.cluster();
    const shards = [...(h.leader()?.placement.model?.shards.values() ?? [])].map((s) => s.descriptor);
    expect(shards).toHaveLength(5);
    expect(tiles(shards)).toBe(true);
    expect(h.ask<{ items: unknown[] }>("keyspaces.list").items).toEqual([
      { name: "default", partition: "range", shards: 5, replicas: 3 },
    ]);
  });

  it("gives every node the same routes, by deltas", () => {
    const h = new PlacementHarness();
    h.cluster();
    h.run(3_000);
    const table = h.leader()?.placement.routes;
    expect(table?.routes).toHaveLength(16);
    for (const node of h.nodes.values()) expect(node.routes.table).toEqual(table);
    const follower = [...h.nodes.values()].find((node) => node !== h.leader());
    expect(follower?.routes.deltas).toBeGreaterThan(1);
  });

  it("plans nothing once it is balanced", () => {
    const h = new PlacementHarness();
    h.cluster();
    h.run(10_000);
    const before = h.ask<{ items: unknown[] }>("operations.list").items.length;
    h.run(30_000);
    expect(h.ask<{ items: unknown[] }>("operations.list").items).toHaveLength(before);
  });
});

describe("joining", () => {
  it("gives the same nonce the same answer, and refuses a name that is taken (R1)", () => {
    const h = new PlacementHarness();
    h.bootstrap("n1");
    const outcomes: JoinOutcome[] = [];
    const note = (o: JoinOutcome): void => void outcomes.push(o);
    h.join("n2", "nonce-a", note);
    h.until("joined", () => outcomes.length === 1);
    h.join("n2", "nonce-a", note);
    h.until("joined again", () => outcomes.length === 2);
    h.join("n2", "nonce-b", note);
    h.until("refused", () => outcomes.length === 3);
    expect(outcomes[0]).toMatchObject({ kind: "joined", nodeId: 2 });
    expect(outcomes[1]).toMatchObject({ kind: "joined", nodeId: 2 });
    expect(outcomes[2]).toMatchObject({ kind: "refused" });
    expect(outcomes[2]?.kind === "refused" && outcomes[2].detail).toMatch(/n2 belongs to node 2/);
  });

  it("gives up when nobody answers", () => {
    const h = new PlacementHarness();
    let outcome: JoinOutcome | undefined;
    h.join("n2", "x", (o) => {
      outcome = o;
    });
    h.until("outcome", () => outcome !== undefined, 30_000);
    expect(outcome).toEqual({ kind: "no_answer", heard: false });
  });
});

describe("a node that goes", () => {
  it("is suspect soon, its shards under-replicated, and after its return leaders are even again", () => {
    const h = new PlacementHarness();
    h.cluster();
    h.run(2_000);
    const gone = [...h.nodes.values()].find((node) => node !== h.leader())?.name ?? "";
    h.crash(gone);
    h.until("suspect", () => {
      const { items } = h.ask<{ items: { name: string; liveness: string }[] }>("nodes.list");
      return items.find((node) => node.name === gone)?.liveness === "suspect";
    });
    h.until("other leaders", () => {
      const { items } = h.ask<{ items: ShardBody[] }>("shards.list");
      return items.every((shard) => shard.health === "under_replicated" && shard.leader !== gone);
    });
    expect(h.ask<{ can_lose: { nodes: number } }>("cluster.get").can_lose.nodes).toBe(0);
    h.start(gone);
    h.until(
      "healthy and even",
      () => {
        const { items } = h.ask<{ items: ShardBody[] }>("shards.list");
        const counts = Object.values(leadersOf(items));
        const even = counts.length === 3 && Math.max(...counts) - Math.min(...counts) <= 1;
        return even && items.every((shard) => shard.health === "healthy");
      },
      60_000,
    );
    h.run(2_000);
    const { items } = h.ask<{ items: { kind: string; reason: string; state: string }[] }>("operations.list");
    const transfers = items.filter((operation) => operation.kind === "transfer_leader");
    expect(transfers.length).toBeGreaterThan(0);
    expect(transfers.every((t) => t.state === "done" && /uneven/.test(t.reason))).toBe(true);
    const events = h.ask<{ items: { kind: string }[] }>("events.list").items.map((event) => event.kind);
    expect(events).toContain("node_suspect");
    expect(events).toContain("leader_change");
  });

  it("was placement's leader: the next one knows all and schedules within 3 s", () => {
    const h = new PlacementHarness();
    h.cluster();
    h.run(2_000);
    const old = h.leader()?.name ?? "";
    h.crash(old);
    const atMs = h.clock.nowMs();
    h.until("another leader with routes", () => {
      const leader = h.leader();
      return (
        leader !== undefined && leader.placement.model?.warm === true && leader.placement.routes !== undefined
      );
    });
    expect(h.clock.nowMs() - atMs).toBeLessThan(6_000);
    expect(h.ask<{ items: ShardBody[] }>("shards.list").items).toHaveLength(16);
    h.start(old);
    h.until("healthy", () =>
      h.ask<{ items: ShardBody[] }>("shards.list").items.every((shard) => shard.health === "healthy"),
    );
    h.run(2_000);
    const table = h.leader()?.placement.routes;
    for (const node of h.nodes.values()) expect(node.routes.table).toEqual(table);
  });

  it("all of them, and all come back: the state is there", () => {
    const h = new PlacementHarness();
    h.cluster();
    for (const name of ["n1", "n2", "n3"]) h.crash(name);
    for (const name of ["n1", "n2", "n3"]) h.start(name);
    h.until("healthy", () => {
      const shards = [...(h.leader()?.placement.model?.shards.values() ?? [])];
      return shards.length === 16 && shards.every((shard) => shard.health === "healthy");
    });
  });
});

it("a node whose clock is far from the others' is told so (R25)", () => {
  const h = new PlacementHarness();
  h.cluster();
  const off = [...h.nodes.values()].find((node) => node !== h.leader());
  h.wallSkewMicros.set(off?.name ?? "", 3_000_000);
  h.until("told", () => off?.placement.standing.clockBad === true);
  for (const node of h.nodes.values()) expect(node.placement.standing.clockBad).toBe(node === off);
  h.wallSkewMicros.clear();
  h.until("told that it is right again", () => off?.placement.standing.clockBad === false);
});

it("settings reach every node", () => {
  const h = new PlacementHarness();
  h.cluster();
  expect(h.admin("config.set", { changes: { max_value_bytes: 2_000_000 } })).toMatchObject({ status: 200 });
  h.until("told", () =>
    [...h.nodes.values()].every((n) => n.placement.settings.max_value_bytes === 2_000_000),
  );
  expect(h.admin("config.set", { changes: { nonsense: 1 } })).toMatchObject({ code: "bad_parameter" });
});

describe("placement's own voters (R10)", () => {
  function voters(h: PlacementHarness): string[] {
    const own = h.leader()?.placement.model?.placement.descriptor.replicas ?? [];
    const names = new Map([...h.ids].map(([name, id]) => [id, name]));
    return own.filter((r) => r.role === "voter").map((r) => names.get(r.nodeId) ?? "");
  }

  it("are never two: with two nodes one goes on alone", () => {
    const h = new PlacementHarness();
    h.bootstrap("n1");
    h.join("n2");
    h.run(10_000);
    expect(voters(h)).toEqual(["n1"]);
  });

  it.each(["a follower", "the leader"])(
    "a member that is down is replaced where another node is there: %s",
    (who) => {
      const h = new PlacementHarness();
      h.cluster(["n1", "n2", "n3", "n4"]);
      h.ask("config.set", { changes: { down_after_ms: 3_000 } });
      const leader = h.leader()?.name ?? "";
      const gone = who === "the leader" ? leader : (voters(h).find((name) => name !== leader) ?? "");
      h.crash(gone);
      h.until("replaced", () => voters(h).length === 3 && !voters(h).includes(gone), 30_000);
      h.until("on a host", () => h.leader()?.placement.model?.placement.health === "healthy");
    },
  );

  it("five by the setting, and back to three", () => {
    const h = new PlacementHarness();
    h.cluster(["n1", "n2", "n3", "n4", "n5"]);
    h.ask("config.set", { changes: { placement_replicas: 5 } });
    h.until("five", () => voters(h).length === 5);
    h.ask("config.set", { changes: { placement_replicas: 3 } });
    h.until("three", () => voters(h).length === 3);
    // Those that left are told, and their rows go (R34).
    h.until(
      "no orphans",
      () => [...h.nodes.values()].filter((n) => n.host.view(0) !== undefined).length === 3,
    );
  });
});
