import { expect, it } from "vitest";
import { tiles } from "#proto";
import { seededRandom } from "#runtime";
import { PlacementHarness } from "./harness.ts";

const names = ["n1", "n2", "n3", "n4"];

/** What must hold of the replicated state whenever it is looked at. */
function checkState(h: PlacementHarness): void {
  const model = h.leader()?.placement.model;
  if (model === undefined) return;
  const shards = [...model.shards.values()].map((shard) => shard.descriptor);
  if (shards.length > 0) expect(tiles(shards)).toBe(true);
  for (const { id, replicas } of shards) {
    expect(new Set(replicas.map((r) => r.nodeId)).size, `replicas of ${id}`).toBe(replicas.length);
  }
  const ids = [...shards, model.placement.descriptor].flatMap((d) => d.replicas.map((r) => r.replicaId));
  expect(new Set(ids).size).toBe(ids.length);
  const busy = [...model.state.operations.values()].filter((row) => row.state === "running");
  expect(new Set(busy.map((row) => row.group)).size).toBe(busy.length);
}

function isHealed(h: PlacementHarness): boolean {
  const model = h.leader()?.placement.model;
  if (model === undefined || model.shards.size !== 16 || h.nodes.size !== names.length) return false;
  const groups = [model.placement, ...model.shards.values()];
  const quiet = [...model.state.operations.values()].every((row) => row.state !== "running");
  return quiet && groups.every((group) => group.health === "healthy" && group.birth === undefined);
}

it.each([1, 2, 3, 4, 5, 6, 7, 8])(
  "faults from the first moment on, then none: it heals (seed %i)",
  (seed) => {
    const h = new PlacementHarness({ seed });
    const random = seededRandom(`faults ${seed}`);
    h.network.setDefaultLink({ loss: 0.02, reorder: 0.05, duplicate: 0.02, delayMsMax: 8 });
    h.bootstrap("n1");
    for (const name of names.slice(1)) h.join(name, undefined, () => {});
    for (let round = 0; round < 12; round++) {
      const name = names[random.below(names.length)] ?? "n1";
      const running = h.nodes.has(name);
      const fault = random.below(4);
      if (fault === 0 && running && h.nodes.size > 2) h.crash(name);
      if (fault === 1 && !running && h.ids.has(name)) h.start(name);
      if (fault === 2)
        h.network.partition(
          [name],
          names.filter((other) => other !== name),
        );
      if (fault === 3) h.network.heal();
      h.run(200 + random.below(3_000));
      checkState(h);
    }
    h.network.heal();
    h.network.setDefaultLink({ loss: 0, reorder: 0, duplicate: 0, delayMsMax: 1 });
    for (const name of names) {
      if (h.nodes.has(name)) continue;
      if (h.ids.has(name)) h.start(name);
      else h.join(name);
    }
    h.until("healed", () => isHealed(h), 60_000);
    checkState(h);
    h.run(2_000);
    const table = h.leader()?.placement.routes;
    for (const node of h.nodes.values()) expect(node.routes.table).toEqual(table);
  },
);
