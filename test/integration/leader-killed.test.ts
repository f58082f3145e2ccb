import { expect, it } from "vitest";
import { busiestLeader, leadersPerNode } from "./support/admin.ts";
import { Cluster } from "./support/cluster.ts";
import { spread, tell } from "./support/figures.ts";
import { header } from "./support/http.ts";
import { Load } from "./support/load.ts";
import { describeMachine, watchMachine } from "./support/machine.ts";
import { keyPerShard, Probes } from "./support/probes.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

it("kill -9 of the node leading most shards under load: nothing acknowledged is lost, every shard takes writes again, the node catches up", async () => {
  const cluster = await Cluster.whole({ folder: scope.folder(), defer: (end) => scope.defer(end) });
  const machine = await watchMachine(cluster.folder);
  scope.defer(() => machine.stop());
  const before = await cluster.shards();
  const victim = cluster.member(busiestLeader(before));
  const ledByVictim = before.filter(({ leader }) => leader === victim.name).map(({ id }) => id);
  const survivors = cluster.clients.filter(({ name }) => name !== victim.name);
  const keys = await keyPerShard(
    survivors[0]!,
    before.map(({ id }) => id),
  );

  const load = new Load({ servers: () => cluster.clients });
  const probes = new Probes({ keys, servers: () => survivors, recorder: load.recorder });
  load.start();
  probes.start();
  scope.defer(() => Promise.all([load.stop(), probes.stop()]).then(() => {}));
  await probes.untilEach("each shard took writes", 0, 20);
  await until("the load runs", () => load.succeeded() > 300);

  const killedMs = performance.now();
  await victim.kill();
  await probes.untilEach("each shard takes writes again", killedMs, 20);
  await until("the load runs on", () => load.succeeded(killedMs) > 300);
  const gaps = probes.gaps(killedMs);
  const led = [...gaps].filter(([shard]) => ledByVictim.includes(shard)).map(([, gapMs]) => gapMs);
  const others = [...gaps].filter(([shard]) => !ledByVictim.includes(shard)).map(([, gapMs]) => gapMs);
  tell(`${victim.name} led ${ledByVictim.length} of ${before.length} shards when it was killed`);
  tell(`gap without acknowledged writes, its shards:    ${spread(led)}`);
  tell(`gap without acknowledged writes, other shards:  ${spread(others)}`);
  tell(describeMachine(machine));
  tell(`calls that failed meanwhile: ${JSON.stringify(load.failures(killedMs))}`);

  victim.start();
  await victim.untilReady();
  const backMs = performance.now();
  await until("the load goes through all three", () => load.succeeded(backMs) > 300);
  await Promise.all([load.stop(), probes.stop()]);
  await cluster.untilLevel();
  tell(`level again ${Math.round(performance.now() - backMs)} ms after it was ready, load included`);

  // Its own replicas have every shard's last write: a stale read takes the nearest one, its own.
  for (const [shard, key] of keys) {
    const last = load.recorder.history.of(key).findLast(({ answer }) => answer?.kind === "put");
    const revision = last?.answer?.kind === "put" ? last.answer.revision : 0;
    const path = `/v1/kv/${encodeURIComponent(key)}?consistency=stale&min_revision=${revision}`;
    const reply = await victim.client.call("GET", path);
    expect({ status: reply.status, by: header(reply, "kvorum-served-by") }, `shard ${shard}`).toEqual({
      status: 200,
      by: victim.name,
    });
    expect(header(reply, "kvorum-staleness-ms")).toBeDefined();
  }
  await load.recorder.readAll(cluster.clients);
  expect(load.recorder.verdict()).toEqual([]);
  tell(
    `${load.recorder.history.operations.length} calls checked, ${load.recorder.acknowledged} writes acknowledged`,
  );
  tell(`leaders at the end: ${JSON.stringify(Object.fromEntries(leadersPerNode(await cluster.shards())))}`);
});
