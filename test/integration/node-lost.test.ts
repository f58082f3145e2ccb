import { expect, it } from "vitest";
import { busiestLeader, isLevel, nodesOf, shardsOf } from "./support/admin.ts";
import { Cluster } from "./support/cluster.ts";
import { tell } from "./support/figures.ts";
import { problemOf, textOf } from "./support/http.ts";
import { Load } from "./support/load.ts";
import { describeMachine, watchMachine } from "./support/machine.ts";
import { Operator, type PlanView } from "./support/operator.ts";
import { ShapeWatch } from "./support/shape.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

interface ClusterView {
  readonly can_lose: { readonly nodes: number; readonly reason: string };
  readonly shards: { readonly total: number; readonly healthy: number };
}

it("one of four nodes killed for good under load: a dry run says where its replicas would go, each shard is back at three live voters, nothing is lost; and three nodes say at once that none of them can be decommissioned (R10, R32)", async () => {
  const cluster = await Cluster.whole({
    folder: scope.folder(),
    nodes: 4,
    shards: 12,
    defer: (end) => scope.defer(end),
  });
  const machine = await watchMachine(cluster.folder);
  scope.defer(() => machine.stop());
  const shardsNow = () => cluster.shards();
  const victim = cluster.member(busiestLeader(await shardsNow()));
  const survivors = cluster.clients.filter(({ name }) => name !== victim.name);
  const operator = new Operator(() => survivors);
  await operator.ask("PATCH", "config", { down_after_ms: 3000 });

  let servers = cluster.clients;
  const load = new Load({ servers: () => servers, clients: 16, pauseMs: 20, limits: { serverMs: 10_000 } });
  const shape = new ShapeWatch({ look: () => shardsOf(survivors[0]!) });
  load.start();
  shape.start();
  scope.defer(() => Promise.all([load.stop(), shape.stop()]).then(() => {}));
  await until("the load runs", () => load.succeeded() > 300);

  const before = await operator.get<ClusterView>("cluster");
  expect(before.can_lose.nodes).toBe(1);
  const held = (await shardsNow()).filter(({ replicas }) =>
    replicas.some(({ node }) => node === victim.name),
  );
  const plan = await operator.ask<PlanView>("POST", `nodes/${victim.name}/decommission?dry_run=true`);
  expect(plan.blockers).toEqual([]);
  expect(plan.steps.map(({ shard }) => shard).toSorted((a, b) => a - b)).toEqual(held.map(({ id }) => id));
  for (const { from, to } of plan.steps) {
    expect(from).toBe(victim.name);
    expect(survivors.map(({ name }) => name)).toContain(to);
  }
  tell(`the dry run: ${plan.reason}, ${plan.steps.length} steps, about ${plan.eta_ms} ms`);

  const killedMs = performance.now();
  servers = survivors;
  await victim.kill();
  await until("it counts as lost", async () => {
    const { can_lose } = await operator.get<ClusterView>("cluster");
    return can_lose.nodes === 0;
  });
  const noticedMs = performance.now();
  await until(
    "every shard has three live voters",
    async () => {
      const shards = await shardsOf(survivors[0]!);
      const left = shards.filter(
        (shard) => !isLevel([shard]) || shard.replicas.some(({ node }) => node === victim.name),
      );
      if (left.length === 0) return true;
      throw new Error(`${left.length} shards are not, such as ${JSON.stringify(left[0])}`);
    },
    { limitMs: 120_000 },
  );
  const wholeMs = performance.now();
  tell(
    `${held.length} of ${before.shards.total} replicas made again ${Math.round(wholeMs - killedMs)} ms after the kill, 3000 ms of them waiting; noticed after ${Math.round(noticedMs - killedMs)} ms`,
  );
  for (const { replicas } of await shardsOf(survivors[0]!)) expect(replicas).toHaveLength(3);
  await until("placement is whole again, too", async () => {
    return (await operator.get<ClusterView>("cluster")).can_lose.nodes === 1;
  });
  await until("the load runs on", () => load.succeeded(wholeMs) > 300);
  tell(`calls that failed meanwhile: ${JSON.stringify(load.failures())}`);

  // Three nodes for three replicas: none of them can be spared, and that is said before anything is begun.
  const [first] = survivors;
  const dry = await operator.ask<PlanView>("POST", `nodes/${first!.name}/decommission?dry_run=true`);
  expect(dry.blockers.map(({ reason }) => reason).join()).toMatch(/only 2 other nodes could hold them/);
  const refused = await operator.send("POST", `nodes/${first!.name}/decommission`);
  expect([refused.status, problemOf(refused)?.code]).toEqual([409, "blocked"]);
  expect(JSON.parse(textOf(refused)).blockers).toEqual(dry.blockers);
  expect((await nodesOf(first!)).find(({ name }) => name === first!.name)?.state).toBe("up");
  await operator.ask("DELETE", `nodes/${victim.name}?force=true`);

  await Promise.all([load.stop(), shape.stop()]);
  tell(describeMachine(machine));
  expect(shape.wrong).toEqual([]);
  await load.recorder.readAll(survivors);
  expect(load.recorder.verdict()).toEqual([]);
  tell(
    `${load.recorder.history.operations.length} calls checked, ${load.recorder.acknowledged} writes acknowledged`,
  );
});
