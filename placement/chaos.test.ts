import { expect, it } from "vitest";
import { tiles } from "#proto";
import { seededRandom } from "#runtime";
import { PlacementHarness } from "./harness.ts";
import { halves } from "./model.ts";

const names = ["n1", "n2", "n3", "n4", "n5"];
const shards = 8;

/** What must hold at every moment, whatever is under way. */
function check(h: PlacementHarness): void {
  const model = h.leader()?.placement.model;
  if (model === undefined) return;
  const descriptors = [...model.shards.values()].map((shard) => shard.descriptor);
  const sorted = [...descriptors].sort((a, b) => Buffer.compare(a.start, b.start));
  expect(tiles(sorted)).toBe(true);
  for (const descriptor of [model.state.own, ...descriptors]) {
    const nodes = descriptor.replicas.map((r) => r.nodeId);
    expect(new Set(nodes).size, `nodes of ${descriptor.id}`).toBe(nodes.length);
    // R10: no half is of an even size, and shards never have fewer than they should.
    for (const half of halves(descriptor)) {
      expect(half.length % 2, `voters of ${descriptor.id}`).toBe(1);
      if (descriptor.id !== 0) expect([3, 5]).toContain(half.length);
    }
  }
  const ids = [...descriptors, model.state.own].flatMap((d) => d.replicas.map((r) => r.replicaId));
  expect(new Set(ids).size).toBe(ids.length);
  expect(Math.max(...ids)).toBeLessThan(model.state.counters.replica);
}

it.each(Array.from({ length: 6 }, (_, i) => i + 1))(
  "orders of all kinds under faults, then none: it ends whole, with no replica astray (seed %i)",
  (seed) => {
    const h = new PlacementHarness({ seed, wish: { shards } });
    const random = seededRandom(`chaos ${seed}`);
    h.cluster(names);
    h.run(2_000);
    h.ask("config.set", { changes: { down_after_ms: 3_000 } });
    h.network.setDefaultLink({ loss: 0.02, reorder: 0.05, duplicate: 0.02, delayMsMax: 8 });
    const any = (): string => names[random.below(names.length)] ?? "n1";
    const shard = (): number => 1 + random.below(shards);
    const order = (): void => {
      if (h.leader() === undefined) return;
      const kind = random.below(11);
      if (kind === 0) h.tell("shards.move", { id: shard(), from: any(), to: any() });
      if (kind === 1) h.tell("shards.transferLeader", { id: shard(), to: any() });
      if (kind === 2) h.tell("shards.scatter", { id: shard() });
      if (kind === 3) h.tell("rebalance", {});
      if (kind === 4) h.tell("nodes.drain", { name: any() });
      if (kind === 5) h.tell("nodes.decommission", { name: any() });
      if (kind === 6) for (const name of names) h.tell("nodes.undrain", { name });
      if (kind === 7) for (const name of names) h.tell("nodes.recommission", { name });
      if (kind === 8) h.tell("operations.cancel", { id: 1 + random.below(60) });
      if (kind === 9) h.tell("config.set", { changes: { replicas: 3 + 2 * random.below(2) } });
      if (kind === 10) h.tell("snapshot", {});
    };
    for (let round = 0; round < 15; round++) {
      for (let i = 0; i < 3; i++) order();
      const name = any();
      const fault = random.below(6);
      if (fault === 0 && h.nodes.has(name) && h.nodes.size > 3) h.crash(name);
      if (fault === 1 && !h.nodes.has(name)) h.start(name);
      if (fault === 2)
        h.network.partition(
          [name],
          names.filter((other) => other !== name),
        );
      if (fault >= 4) h.network.heal();
      for (let step = 0; step < 5; step++) {
        h.run(random.below(600));
        check(h);
      }
    }
    h.network.heal();
    h.network.setDefaultLink({ loss: 0, reorder: 0, duplicate: 0, delayMsMax: 1 });
    for (const name of names) if (!h.nodes.has(name)) h.start(name);
    h.until("a placement leader", () => h.leader()?.placement.model?.warm === true, 60_000);
    h.tell("config.set", { changes: { replicas: 3 } });
    for (const name of names) {
      h.tell("nodes.undrain", { name });
      h.tell("nodes.recommission", { name });
    }
    h.run(2_000);
    const three = (): boolean =>
      [...(h.leader()?.placement.model?.shards.values() ?? [])].every(
        (s) => s.descriptor.replicas.length === 3,
      );
    h.poll("whole", () => h.whole && three(), 300_000);
    h.poll("no strays", () => h.strays.length === 0, 120_000);
    check(h);
    h.run(5_000);
    const table = h.leader()?.placement.routes;
    for (const node of h.nodes.values()) expect(node.routes.table).toEqual(table);
  },
  60_000,
);
