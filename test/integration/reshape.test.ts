import { expect, it } from "vitest";
import { leadersPerNode, nodesOf, type ShardView, shardsOf } from "./support/admin.ts";
import { Cluster } from "./support/cluster.ts";
import { spread, tell } from "./support/figures.ts";
import { Load } from "./support/load.ts";
import { describeMachine, watchMachine } from "./support/machine.ts";
import { Operator, type Work } from "./support/operator.ts";
import { ShapeWatch } from "./support/shape.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

it("four nodes under mixed load while shards are split, led elsewhere, moved, scattered, rebalanced, and nodes drained and decommissioned: no request fails, the history is linearizable, shards tile the keyspace at every look (R6, R10, R23)", async () => {
  const cluster = await Cluster.whole({
    folder: scope.folder(),
    nodes: 4,
    shards: 8,
    defer: (end) => scope.defer(end),
  });
  const machine = await watchMachine(cluster.folder);
  scope.defer(() => machine.stop());
  const operator = new Operator(() => cluster.clients);
  const shape = new ShapeWatch({ look: () => cluster.shards() });
  // Generous: a slow machine is no failed request.
  const load = new Load({
    servers: () => cluster.clients,
    clients: 32,
    keys: 64,
    pauseMs: 30,
    limits: { serverMs: 30_000 },
  });
  shape.start();
  load.start();
  scope.defer(() => Promise.all([load.stop(), shape.stop()]).then(() => {}));
  await until("the load runs", () => load.succeeded() > 500);
  const before = load.told.map(({ ms }) => ms);
  tell(`latency before: ${spread(before)}`);

  const step = async (what: string, run: () => Promise<number>): Promise<void> => {
    const from = load.told.length;
    const tookMs = await run();
    const during = load.told.slice(from).map(({ ms }) => ms);
    tell(`${what}: ${Math.round(tookMs)} ms; latency meanwhile: ${spread(during)}`);
    expect(load.failures(), what).toEqual({});
    expect(shape.wrong, what).toEqual([]);
  };
  const shardsNow = () => shardsOf(cluster.clients[0]!);
  const work = (what: string, make: () => Promise<Work>): Promise<void> =>
    step(what, () => operator.work(what, make));
  const first = async (): Promise<ShardView> => (await shardsNow())[0]!;

  await work("split in two", async () => ({ path: `shards/${(await first()).id}/split` }));
  await work("split in four", async () => ({
    path: `shards/${(await shardsNow())[1]!.id}/split`,
    body: { ways: 4 },
  }));
  await work("transfer the leader", async () => {
    const { id, leader, replicas } = await first();
    return { path: `shards/${id}/transfer-leader`, body: { to: otherThan(leader, replicas) } };
  });
  await work("move a replica", async () => {
    const { id, leader, replicas } = await first();
    const held = replicas.map(({ node }) => node);
    const to = cluster.members.find(({ name }) => !held.includes(name))!.name;
    return { path: `shards/${id}/move`, body: { from: leader, to } };
  });
  await work("scatter", async () => ({ path: `shards/${(await first()).id}/scatter` }));
  await work("rebalance", async () => ({ path: "rebalance" }));
  await work("drain n2", async () => ({ path: "nodes/n2/drain", body: { for: "10m" } }));
  expect(leadersPerNode(await shardsNow()).get("n2")).toBeUndefined();
  await work("undrain n2", async () => ({ path: "nodes/n2/undrain" }));
  await work("decommission n4", async () => ({ path: "nodes/n4/decommission" }));
  expect((await nodesOf(cluster.clients[0]!)).find(({ name }) => name === "n4")).toMatchObject({
    state: "decommissioned",
    replicas: 0,
  });
  await work("recommission n4", async () => ({ path: "nodes/n4/recommission" }));
  await work("rebalance on to n4", async () => ({ path: "rebalance" }));
  const endMs = performance.now();
  await until("the load runs on", () => load.succeeded(endMs) > 300);
  await load.stop();
  await cluster.untilLevel();
  await shape.stop();

  tell(describeMachine(machine));
  tell(`${shape.looks} looks at ${shape.shards.length} shards`);
  expect(load.failures()).toEqual({});
  expect(shape.wrong).toEqual([]);
  await load.recorder.readAll(cluster.clients);
  expect(load.recorder.verdict()).toEqual([]);
  tell(
    `${load.recorder.history.operations.length} calls checked, ${load.recorder.acknowledged} writes acknowledged`,
  );
});

function otherThan(leader: string | null, replicas: ShardView["replicas"]): string {
  return replicas.find(({ node, role }) => node !== leader && role === "voter")!.node;
}
