import { describe, expect, it } from "vitest";
import { PlacementHarness } from "./harness.ts";

const four = ["n1", "n2", "n3", "n4"];

interface PlanBody {
  operation?: string;
  plan: string;
  steps: { shard: number; action: string; from: string; to: string; reason: string; bytes: number }[];
  blockers: { shard?: number; node?: string; reason: string }[];
  imbalance: { before: number; after: number };
  eta_ms: number;
  reason: string;
}

/** Four nodes with everything even, and nothing that moves by itself from now on. */
function calm(names: readonly string[] = four, shards = 8): PlacementHarness {
  const h = new PlacementHarness({ wish: { shards } });
  h.cluster(names);
  h.run(3_000);
  h.poll("whole", () => h.whole, 60_000);
  h.ask("config.set", { changes: { rebalance_enabled: false } });
  return h;
}

/** A shard, a node that has it and one that does not. */
function someMove(h: PlacementHarness, shard = 1): { id: number; from: string; to: string } {
  const on = h.on(shard);
  const to = four.find((name) => !on.includes(name)) ?? "";
  const from = on.find((name) => name !== h.leader()?.name) ?? "";
  return { id: shard, from, to };
}

function settle(h: PlacementHarness): void {
  h.poll("whole again", () => h.whole, 180_000);
  h.poll("no strays", () => h.strays.length === 0, 60_000);
}

describe("moving a replica", () => {
  it("ends with three voters, the old one destroyed, and says why", () => {
    const h = calm();
    const { id, from, to } = someMove(h);
    const done = h.operation("shards.move", { id, from, to });
    expect(done).toMatchObject({ state: "done", kind: "move_replica", progress: 1 });
    expect(h.on(id)).toContain(to);
    expect(h.on(id)).not.toContain(from);
    settle(h);
    const why = h.ask<{ decisions: { kind: string; reason: string }[] }>("shards.why", { key: "a" });
    expect(why.decisions[0]?.kind).toBe("shard_created");
    const { items } = h.ask<{ items: { kind: string; reason: string }[] }>("events.list", { shard: id });
    expect(items.map((event) => event.kind)).toContain("move_replica_done");
  });

  it("of the leader: it hands over first (R10)", () => {
    const h = calm();
    const model = h.leader()?.placement.model;
    const led = [...(model?.shards.values() ?? [])].find((shard) => shard.leader?.nodeId === h.ids.get("n2"));
    const id = led?.id ?? 0;
    const to = four.find((name) => !h.on(id).includes(name)) ?? "";
    expect(h.operation("shards.move", { id, from: "n2", to })).toMatchObject({ state: "done" });
    settle(h);
  });

  it.each([
    { parameters: { id: 99, from: "n1", to: "n2" }, code: "not_found" },
    { parameters: { id: 1, from: "n9", to: "n2" }, code: "not_found" },
    { parameters: { id: 1, from: "n1" }, code: "bad_parameter" },
  ])("$parameters: $code", ({ parameters, code }) => {
    const h = new PlacementHarness({ wish: { shards: 2 } });
    h.cluster();
    expect(h.admin("shards.move", parameters)).toMatchObject({ kind: "error", code });
  });

  it("not where one is already, nor twice at once", () => {
    const h = calm();
    const { id, from, to } = someMove(h);
    const other = h.on(id).find((name) => name !== from) ?? "";
    expect(h.admin("shards.move", { id, from, to: other })).toMatchObject({ code: "conflict" });
    expect(h.admin("shards.move", { id, from: to, to: from })).toMatchObject({ code: "conflict" });
    h.ask("shards.move", { id, from, to });
    expect(h.admin("shards.move", { id, from, to })).toMatchObject({ code: "conflict" });
    settle(h);
  });

  it("keeps to the limit of moves of a node, the others wait their turn", () => {
    const h = calm(["n1", "n2", "n3"], 6);
    h.ask("config.set", { changes: { max_concurrent_moves: 1 } });
    h.join("n4");
    h.until("n4 is there", () => h.leader()?.placement.model?.nodes.get(4)?.usable === true);
    const ids = [1, 2, 3, 4].map((id) => {
      const from = ["n1", "n2", "n3"][id % 3] ?? "n1";
      return h.ask<{ operation: string }>("shards.move", { id, from, to: "n4" }).operation;
    });
    let most = 0;
    h.until(
      "all done",
      () => {
        const model = h.leader()?.placement.model;
        const busy = [...(model?.state.operations.values() ?? [])].filter(
          (row) => row.state === "running" && row.steps[row.at]?.kind !== "turn",
        );
        most = Math.max(most, busy.length);
        return ids.every((id) => h.look(id)?.state === "done");
      },
      120_000,
    );
    expect(most).toBe(1);
  });

  it("cancelled at any moment it leaves a whole shard", () => {
    for (let waitMs = 0; waitMs <= 600; waitMs += 60) {
      const h = calm(four, 4);
      const { id, from, to } = someMove(h);
      const { operation } = h.ask<{ operation: string }>("shards.move", { id, from, to });
      h.run(waitMs);
      const answer = h.admin("operations.cancel", { id: operation });
      if (answer.kind === "ok") expect(answer.body).toMatchObject({ state: "cancelled" });
      else expect(answer).toMatchObject({ code: "conflict" });
      settle(h);
      expect(h.on(id)).toHaveLength(3);
    }
  });
});

describe("a crash in the middle of a move ends in a whole shard", () => {
  const victims = ["source", "target", "shard leader", "placement leader"] as const;
  const waits = [0, 40, 90, 150, 250, 400, 700];
  it.each(victims.flatMap((victim) => waits.map((waitMs) => ({ victim, waitMs }))))(
    "$victim after $waitMs ms",
    ({ victim, waitMs }) => {
      const h = calm(four, 4);
      const { id, from, to } = someMove(h);
      h.ask("shards.move", { id, from, to });
      h.run(waitMs);
      const model = h.leader()?.placement.model;
      const names = new Map([...h.ids].map(([name, node]) => [node, name]));
      const leader = names.get(model?.shards.get(id)?.leader?.nodeId ?? 0) ?? from;
      const name = { source: from, target: to, "shard leader": leader, "placement leader": h.leader()?.name }[
        victim
      ];
      h.crash(name ?? from);
      h.run(1_500);
      h.start(name ?? from);
      settle(h);
      expect(h.on(id)).toHaveLength(3);
    },
  );

  it("the target never comes back: the move fails and the learner goes", () => {
    const h = calm();
    h.ask("config.set", { changes: { down_after_ms: 3_000 } });
    const { id, from, to } = someMove(h);
    const { operation } = h.ask<{ operation: string }>("shards.move", { id, from, to });
    h.crash(to);
    h.until("failed", () => h.look(operation)?.state === "failed", 60_000);
    h.until(
      "three voters on live nodes",
      () => {
        const shard = h.leader()?.placement.model?.shards.get(id);
        return shard?.health === "healthy" && shard.descriptor.replicas.length === 3;
      },
      60_000,
    );
    expect(h.on(id)).not.toContain(to);
  });
});

describe("a node that is lost for good", () => {
  it("has its replicas made again elsewhere after down_after_ms, and nothing before", () => {
    const h = calm();
    h.ask("config.set", { changes: { down_after_ms: 5_000 } });
    const gone = four.find((name) => name !== h.leader()?.name) ?? "";
    h.crash(gone);
    h.run(3_000);
    expect(h.ask<{ items: { kind: string }[] }>("operations.list").items.map((o) => o.kind)).not.toContain(
      "repair",
    );
    const left = h.leader()?.placement.model?.shards;
    h.until(
      "healthy",
      () => {
        const shards = [...(h.leader()?.placement.model?.shards.values() ?? [])];
        return shards.length === left?.size && shards.every((shard) => shard.health === "healthy");
      },
      60_000,
    );
    for (const shard of left?.keys() ?? []) expect(h.on(shard)).not.toContain(gone);
    const { items } = h.ask<{ items: { kind: string; reason: string }[] }>("operations.list");
    expect(items.find((o) => o.kind === "repair")?.reason).toMatch(new RegExp(`${gone} has been down`));
    h.until("placement too", () => !h.on(0).includes(gone) && h.on(0).length === 3, 60_000);
    // Back again, it finds that it was replaced, and its replicas go (R34).
    h.start(gone);
    settle(h);
  });

  it("drained for a time, is waited for; past it, not", () => {
    const h = calm();
    h.ask("config.set", { changes: { down_after_ms: 2_000 } });
    const gone = four.find((name) => name !== h.leader()?.name) ?? "";
    expect(h.operation("nodes.drain", { name: gone, for: "30s" })).toMatchObject({ state: "done" });
    h.crash(gone);
    h.run(15_000);
    expect(h.ask<{ items: { kind: string }[] }>("operations.list").items.map((o) => o.kind)).not.toContain(
      "repair",
    );
    h.until("repaired", () => !h.on(1).includes(gone) || h.on(1).length !== 3, 60_000);
  });

  it("deleted by force while down: its name is free, its replicas are made again at once", () => {
    const h = calm();
    h.ask("config.set", { changes: { down_after_ms: 2_000, rebalance_enabled: true } });
    const gone = four.find((name) => name !== h.leader()?.name) ?? "";
    expect(h.admin("nodes.delete", { name: gone, force: true })).toMatchObject({ code: "conflict" });
    h.crash(gone);
    h.until(
      "down",
      () => h.leader()?.placement.model?.nodes.get(h.ids.get(gone) ?? 0)?.row.downSinceMicros !== undefined,
    );
    expect(h.ask("nodes.delete", { name: gone, force: true })).toMatchObject({ name: gone, deleted: true });
    expect(h.admin("nodes.get", { name: gone })).toMatchObject({ code: "not_found" });
    h.poll("whole", () => h.whole, 120_000);
    h.join(gone, "another-directory");
    h.until("a node of the same name and another id", () => h.nodes.has(gone));
    expect(h.ask<{ id: number }>("nodes.get", { name: gone }).id).toBe(5);
    settle(h);
  });
});

describe("draining", () => {
  it("moves the leaders away, keeps the replicas; undrained, it leads again", () => {
    const h = calm();
    const before = [1, 2, 3].map((id) => h.on(id));
    expect(h.operation("nodes.drain", { name: "n2" })).toMatchObject({ state: "done", kind: "drain" });
    const node = h.ask<{ leaders: number; state: string }>("nodes.get", { name: "n2" });
    expect(node).toMatchObject({ leaders: 0, state: "draining", liveness: "up", membership: "draining" });
    h.run(10_000);
    expect(h.ask<{ leaders: number }>("nodes.get", { name: "n2" }).leaders).toBe(0);
    expect([1, 2, 3].map((id) => h.on(id))).toEqual(before);
    h.ask("config.set", { changes: { rebalance_enabled: true } });
    expect(h.operation("nodes.undrain", { name: "n2" })).toMatchObject({ state: "done" });
    h.poll("leads again", () => h.ask<{ leaders: number }>("nodes.get", { name: "n2" }).leaders > 0, 60_000);
  });

  it("is blocked where too few voters would be left, and says what would lift it", () => {
    const h = calm(["n1", "n2", "n3"]);
    expect(h.operation("nodes.drain", { name: "n2" })).toMatchObject({ state: "done" });
    const answer = h.admin("nodes.drain", { name: "n3" });
    expect(answer).toMatchObject({
      code: "blocked",
      extra: { blockers: [{ node: "n3", reason: expect.stringMatching(/undrain another node/) }] },
    });
    expect(h.admin("nodes.drain", { name: "n3", for: "soon" })).toMatchObject({ code: "bad_parameter" });
  });
});

describe("decommissioning", () => {
  it("shown first, then exactly that; the node ends without replicas and may be deleted", () => {
    const h = calm();
    const name = h.leader()?.name ?? "n1";
    const plan = h.ask<PlanBody>("nodes.decommission", { name, dry_run: true });
    expect(plan.blockers).toEqual([]);
    expect(plan.steps.length).toBeGreaterThan(0);
    expect(plan.steps.every((step) => step.from === name && step.to !== name)).toBe(true);
    expect(plan.operation).toBeUndefined();
    expect(h.admin("nodes.delete", { name })).toMatchObject({ code: "conflict" });
    const done = h.operation("nodes.decommission", { name, plan: plan.plan }, 180_000);
    expect(done).toMatchObject({ state: "done", kind: "decommission" });
    expect(done.steps?.map(({ shard, from, to }) => ({ shard, from, to }))).toEqual(
      plan.steps.map(({ shard, from, to }) => ({ shard, from, to })),
    );
    expect(h.ask("nodes.get", { name })).toMatchObject({ membership: "decommissioned", replicas: 0 });
    settle(h);
    expect(h.on(0)).not.toContain(name);
    const node = h.node(name);
    expect(h.ask("nodes.delete", { name })).toMatchObject({ deleted: true });
    const events = h.ask<{ items: { kind: string; node?: string }[] }>("events.list").items;
    // What was done to the end is not told as cancelled, and a node that is gone keeps its name.
    expect(events.filter(({ kind }) => /_(cancelled|failed)$/.test(kind))).toEqual([]);
    expect(events.find(({ kind }) => kind === "decommission_done")?.node).toBe(name);
    expect(events.find(({ kind }) => kind === "node_deleted")?.node).toBe(name);
    expect(h.ask("operations.get", { id: done.id })).toMatchObject({ node: name });
    h.until("it is told to stop", () => node.removed !== undefined);
  });

  it("with too few nodes left says so at once, and nothing is begun", () => {
    const h = calm(["n1", "n2", "n3"]);
    const plan = h.ask<PlanBody>("nodes.decommission", { name: "n2", dry_run: true });
    expect(plan.blockers.map((b) => b.reason).join()).toMatch(/start another node/);
    const answer = h.admin("nodes.decommission", { name: "n2" });
    expect(answer).toMatchObject({ code: "blocked", extra: { blockers: plan.blockers } });
    expect(h.ask("nodes.get", { name: "n2" })).toMatchObject({ membership: "active" });
  });

  it("cancelled, the node stays; recommissioned, it has replicas again", () => {
    const h = calm();
    const { operation } = h.ask<{ operation: string }>("nodes.decommission", { name: "n3" });
    h.run(300);
    expect(h.ask("operations.cancel", { id: operation })).toMatchObject({ state: "cancelled" });
    settle(h);
    expect(h.ask("nodes.get", { name: "n3" })).toMatchObject({ membership: "active" });
    h.operation("nodes.decommission", { name: "n3" }, 180_000);
    h.ask("config.set", { changes: { rebalance_enabled: true } });
    expect(h.operation("nodes.recommission", { name: "n3" })).toMatchObject({ state: "done" });
    h.until(
      "replicas again",
      () => h.ask<{ replicas: number }>("nodes.get", { name: "n3" }).replicas > 0,
      60_000,
    );
    settle(h);
  });

  it("goes on under another placement leader, who schedules within 3 s", () => {
    const h = calm();
    const name = four.find((n) => n !== h.leader()?.name) ?? "";
    const { operation } = h.ask<{ operation: string }>("nodes.decommission", { name });
    h.run(200);
    const old = h.leader()?.name ?? "";
    h.crash(old);
    h.until("another leader plans", () => h.leader()?.placement.model?.warm === true);
    const atMs = h.clock.nowMs();
    const steps = (): number => {
      const operations = h.leader()?.placement.model?.state.operations;
      return [...(operations?.values() ?? [])].reduce((sum, row) => sum + row.at, 0);
    };
    const before = steps();
    h.until("it goes on", () => steps() > before);
    expect(h.clock.nowMs() - atMs).toBeLessThan(3_000);
    h.start(old);
    h.until("done", () => h.look(operation)?.state === "done", 180_000);
    settle(h);
  });
});

describe("rebalancing", () => {
  function uneven(): PlacementHarness {
    const h = calm(["n1", "n2", "n3"], 12);
    h.join("n4");
    h.until("n4 is there", () => h.leader()?.placement.model?.nodes.get(4)?.settled === true);
    return h;
  }

  it("a plan changes nothing; posted, it is done exactly; then there is nothing to do", () => {
    const h = uneven();
    const plan = h.ask<PlanBody>("rebalance", { dry_run: true });
    expect(plan.steps.filter((step) => step.action === "move")).toHaveLength(9);
    expect(plan.imbalance.after).toBeLessThan(plan.imbalance.before);
    expect(plan.eta_ms).toBeGreaterThan(0);
    h.run(5_000);
    expect(h.ask<{ replicas: number }>("nodes.get", { name: "n4" }).replicas).toBe(0);
    const done = h.operation("rebalance", { plan: plan.plan }, 180_000);
    expect(done).toMatchObject({ state: "done", steps_done: plan.steps.length });
    settle(h);
    const counts = four.map((name) => h.ask<{ replicas: number }>("nodes.get", { name }).replicas);
    expect(counts).toEqual([9, 9, 9, 9]);
    const again = h.ask<PlanBody>("rebalance", { dry_run: true });
    expect(again.steps).toEqual([]);
    expect(again.reason).toMatch(/nothing to do/);
    expect(h.admin("rebalance", { plan: plan.plan })).toMatchObject({ code: "conflict" });
  });

  it("a plan of a cluster that has changed is refused, an unknown one not found", () => {
    const h = uneven();
    const { plan } = h.ask<PlanBody>("rebalance", { dry_run: true });
    expect(h.operation("shards.move", { id: 1, from: "n1", to: "n4" })).toMatchObject({ state: "done" });
    expect(h.admin("rebalance", { plan })).toMatchObject({ code: "conflict" });
    expect(h.admin("rebalance", { plan: "p1-1-00" })).toMatchObject({ code: "not_found" });
    expect(h.admin("nodes.decommission", { name: "n1", plan })).toMatchObject({ code: "conflict" });
  });

  it("asked for while the background's own moves are on their way into the log, it is planned with them", () => {
    for (let waitMs = 8; waitMs <= 12; waitMs += 0.2) {
      const h = uneven();
      h.ask("config.set", { changes: { rebalance_enabled: true } });
      h.run(waitMs);
      const done = h.operation("rebalance", {}, 180_000);
      expect(done, `after ${waitMs} ms`).toMatchObject({ state: "done" });
      // Each is carried out by this plan itself: none was begun by anybody else in the meantime.
      const { steps = [] } = done;
      expect(
        steps.filter((step) => !("operation" in step)),
        `after ${waitMs} ms`,
      ).toEqual([]);
    }
  });

  it("happens by itself, and stops", () => {
    const h = uneven();
    h.ask("config.set", { changes: { rebalance_enabled: true } });
    h.poll(
      "even",
      () => {
        const model = h.leader()?.placement.model;
        const on = (id: number): number =>
          [...(model?.shards.values() ?? [])].filter((s) =>
            s.descriptor.replicas.some((r) => r.nodeId === id),
          ).length;
        return h.whole && [1, 2, 3, 4].every((id) => Math.abs(on(id) - 9) <= 1);
      },
      180_000,
    );
    h.run(20_000);
    const before = h.ask<{ items: unknown[] }>("operations.list").items.length;
    h.run(60_000);
    expect(h.ask<{ items: unknown[] }>("operations.list").items).toHaveLength(before);
    expect(h.strays).toEqual([]);
  });

  it("labels part replicas that would fail together", () => {
    const h = calm();
    for (const [name, zone] of [
      ["n1", "a"],
      ["n2", "a"],
      ["n3", "b"],
      ["n4", "c"],
    ] as const) {
      expect(h.operation("nodes.patch", { name, labels: { zone } })).toMatchObject({ state: "done" });
    }
    h.ask("config.set", { changes: { rebalance_enabled: true } });
    h.poll(
      "no two in zone a",
      () => {
        const shards = [...(h.leader()?.placement.model?.shards.keys() ?? [])];
        return h.whole && shards.every((id) => !(h.on(id).includes("n1") && h.on(id).includes("n2")));
      },
      180_000,
    );
  });

  it("a shard is scattered", () => {
    const h = uneven();
    const done = h.operation("shards.scatter", { id: 2 });
    expect(done).toMatchObject({ state: "done", kind: "scatter" });
    expect(h.on(2)).toContain("n4");
  });

  it("a leader is transferred, only to a caught-up voter", () => {
    const h = calm();
    const { leader, replicas } = h.ask<{ leader: string; replicas: { node: string }[] }>("shards.get", {
      id: 1,
    });
    const to = replicas.map((r) => r.node).find((name) => name !== leader) ?? "";
    expect(h.operation("shards.transferLeader", { id: 1, to })).toMatchObject({ state: "done" });
    expect(h.ask<{ leader: string }>("shards.get", { id: 1 }).leader).toBe(to);
    const none = four.find((name) => !h.on(1).includes(name)) ?? "";
    expect(h.admin("shards.transferLeader", { id: 1, to: none })).toMatchObject({ code: "conflict" });
  });
});

describe("keyspaces", () => {
  it("are made and deleted, and nothing of them stays (R31)", () => {
    const h = calm();
    expect(h.ask("keyspaces.create", { name: "logs", partition: "range", shards: 3 })).toEqual({
      name: "logs",
      partition: "range",
      shards: 3,
      replicas: 3,
    });
    expect(h.admin("keyspaces.create", { name: "logs" })).toMatchObject({ code: "conflict" });
    h.until("born", () => h.whole);
    expect(h.operation("keyspaces.delete", { name: "logs" })).toMatchObject({ state: "done" });
    expect(h.strays).toEqual([]);
    expect(h.ask<{ items: unknown[] }>("keyspaces.list").items).toHaveLength(1);
    expect(h.admin("keyspaces.delete", { name: "default" })).toMatchObject({ code: "conflict" });
  });

  it.each([
    { parameters: { name: "Bad" }, code: "bad_parameter" },
    { parameters: { name: "a", slots: 100 }, code: "bad_parameter" },
    { parameters: { name: "a", slots: 64, shards: 65 }, code: "bad_parameter" },
    { parameters: { name: "a", partition: "range", slots: 64 }, code: "bad_parameter" },
    { parameters: { name: "a", replicas: 2 }, code: "bad_parameter" },
    { parameters: { name: "a", replicas: 5 }, code: "blocked" },
  ])("$parameters: $code", ({ parameters, code }) => {
    const h = new PlacementHarness({ wish: { shards: 1 } });
    h.cluster();
    expect(h.admin("keyspaces.create", parameters)).toMatchObject({ code });
  });
});

describe("the number of replicas", () => {
  interface ShardBody {
    id: number;
    keyspace: string;
    health: string;
    replicas: { node: string; role: string }[];
  }
  /** Voters of each shard of a keyspace, when all are the same many and at rest. */
  function sizeOf(h: PlacementHarness, keyspace: string): number | undefined {
    const { items } = h.ask<{ items: ShardBody[] }>("shards.list", { keyspace });
    const sizes = new Set(items.map((shard) => shard.replicas.length));
    const [size] = sizes;
    return sizes.size === 1 && items.every((shard) => shard.health === "healthy") ? size : undefined;
  }

  it("follows the setting from odd to odd, where the keyspace was not made with one of its own (R10)", () => {
    const h = calm([...four, "n5"], 4);
    expect(h.ask("keyspaces.create", { name: "own", shards: 2, replicas: 3 })).toMatchObject({ replicas: 3 });
    expect(h.ask("keyspaces.create", { name: "as-set", shards: 2 })).toMatchObject({ replicas: 3 });
    settle(h);
    for (const replicas of [5, 1, 3]) {
      h.ask("config.set", { changes: { replicas } });
      h.poll(`${replicas} each`, () => sizeOf(h, "default") === replicas && sizeOf(h, "as-set") === replicas);
      settle(h);
      expect(sizeOf(h, "own")).toBe(3);
      expect(h.ask("keyspaces.list")).toMatchObject({
        items: [{ name: "default", replicas }, { name: "own", replicas: 3 }, { replicas }],
      });
    }
    const { items } = h.ask<{ items: { kind: string; state: string; reason: string }[] }>("operations.list");
    const counts = items.filter((operation) => operation.kind === "replica_count");
    // From 3 to 5, to 3, to 1 and to 3 again.
    expect(counts).toHaveLength(4 * 6);
    expect(counts.every((operation) => operation.state === "done")).toBe(true);
  });

  it("more than there are nodes: accepted, shown as lacking with what would lift it, made good by new nodes", () => {
    const h = calm(["n1", "n2", "n3"], 4);
    h.ask("config.set", { changes: { replicas: 5 } });
    h.run(3_000);
    expect(h.ask("cluster.get")).toMatchObject({ shards: { under_replicated: 4 } });
    const plan = h.ask<PlanBody>("rebalance", { dry_run: true });
    expect(plan.blockers.map((b) => b.reason).join()).toMatch(/asks for 5 replicas.* start 2 more/);
    expect(h.ask<{ items: { kind: string }[] }>("operations.list", { state: "running" }).items).toEqual([]);
    h.join("n4");
    h.join("n5");
    h.poll("five each", () => sizeOf(h, "default") === 5, 120_000);
  });

  it("is brought down by the replica that is lost first", () => {
    const h = calm(four, 4);
    const gone = four.find((name) => name !== h.leader()?.name) ?? "";
    h.crash(gone);
    h.until("suspect", () => h.leader()?.placement.model?.nodes.get(h.ids.get(gone) ?? 0)?.liveness !== "up");
    h.ask("config.set", { changes: { replicas: 1 } });
    h.poll("one each", () => sizeOf(h, "default") === 1, 120_000);
    for (let shard = 1; shard <= 4; shard++) expect(h.on(shard)).not.toContain(gone);
  });
});

describe("snapshots that were asked for", () => {
  const firstIndexes = (h: PlacementHarness, shard: number): number[] =>
    h.on(shard).map((name) => (h.node(name).host.view(shard) as unknown as Log).log.firstIndex());
  interface Log {
    readonly log: { firstIndex(): number };
  }

  it("every replica's log begins behind what it has applied; answered alike under its key", () => {
    const h = calm();
    const applied = h.on(3).map((name) => h.node(name).host.view(3)?.applied ?? 0);
    expect(h.ask("snapshot", { shard: 3 })).toEqual({ snapshots: 3 });
    expect(firstIndexes(h, 3)).toEqual(applied.map((index) => index + 1));
    expect(Math.min(...firstIndexes(h, 4))).toBeLessThanOrEqual(
      h.node(h.on(4)[0] ?? "").host.view(4)?.applied ?? 0,
    );
    const first = h.admin("snapshot", { idempotency_key: "s" });
    expect(first).toMatchObject({ kind: "ok", status: 200, body: { snapshots: 24 } });
    const away = four.find((name) => name !== h.leader()?.name) ?? "";
    h.crash(away);
    h.until("suspect", () => h.leader()?.placement.model?.nodes.get(h.ids.get(away) ?? 0)?.liveness !== "up");
    expect(h.admin("snapshot", { idempotency_key: "s" })).toEqual({ ...first, replayed: true });
    expect(h.ask<{ snapshots: number }>("snapshot").snapshots).toBe(18);
    expect(h.admin("snapshot", { shard: 99 })).toMatchObject({ code: "not_found" });
    const events = h.ask<{ items: { kind: string }[] }>("events.list").items.map((event) => event.kind);
    expect(events).toContain("logs_compacted");
  });
});

describe("an idempotency key", () => {
  it("gets the first answer again, from any leader; another request under it is refused", () => {
    const h = calm();
    const parameters = { name: "logs", shards: 2, idempotency_key: "k1" };
    const first = h.admin("keyspaces.create", parameters);
    expect(first).toMatchObject({ kind: "ok", status: 201 });
    const again = h.admin("keyspaces.create", parameters);
    expect(again).toEqual({ ...first, replayed: true });
    expect(h.admin("keyspaces.create", { ...parameters, shards: 3 })).toMatchObject({
      code: "idempotency_conflict",
    });
    h.crash(h.leader()?.name ?? "");
    h.until("another leader", () => h.leader()?.placement.model?.warm === true);
    expect(h.admin("keyspaces.create", parameters)).toEqual({ ...first, replayed: true });
  });

  it("serves every POST there is", () => {
    const h = calm();
    const on = h.on(2);
    const spare = four.find((name) => !on.includes(name)) ?? "";
    const leader = h.leader()?.placement.model?.shards.get(2)?.leader?.nodeId;
    const to = on.find((name) => h.ids.get(name) !== leader) ?? "";
    const asked: readonly (readonly [string, Record<string, unknown>])[] = [
      ["keyspaces.create", { name: "logs", shards: 1 }],
      ["shards.transferLeader", { id: 2, to }],
      ["shards.move", { id: 2, from: to, to: spare }],
      ["shards.scatter", { id: 2 }],
      ["shards.split", { id: 2 }],
      ["nodes.drain", { name: "n2" }],
      ["nodes.undrain", { name: "n2" }],
      ["nodes.decommission", { name: "n2" }],
      ["nodes.recommission", { name: "n2" }],
      ["rebalance", {}],
      ["snapshot", {}],
    ];
    for (const [operation, parameters] of asked) {
      const keyed = { ...parameters, idempotency_key: operation };
      const first = h.admin(operation, keyed);
      expect(first, operation).toMatchObject({ kind: "ok" });
      expect(h.admin(operation, keyed), operation).toEqual({ ...first, replayed: true });
      settle(h);
      expect(h.admin(operation, keyed), operation).toEqual({ ...first, replayed: true });
    }
  });

  it("gives the operation's id again", () => {
    const h = calm();
    const move = { ...someMove(h), idempotency_key: "m" };
    const first = h.ask("shards.move", move);
    settle(h);
    expect(h.ask("shards.move", move)).toEqual(first);
    const refused = { id: 1, from: "n9", to: "n1", idempotency_key: "r" };
    expect(h.admin("shards.move", refused)).toMatchObject({ code: "not_found" });
  });
});
