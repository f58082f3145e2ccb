import { expect, it } from "vitest";
import { busiestLeader, nodesOf } from "./support/admin.ts";
import { Cluster } from "./support/cluster.ts";
import { spread, tell } from "./support/figures.ts";
import { isFine, Load } from "./support/load.ts";
import { describeMachine, watchMachine } from "./support/machine.ts";
import { keyPerShard, Probes } from "./support/probes.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

const stoppedMs = 10_000;

it("SIGSTOP of one node for 10 s: the others serve on, it comes back into the cluster afterwards", async () => {
  const cluster = await Cluster.whole({ folder: scope.folder(), defer: (end) => scope.defer(end) });
  const machine = await watchMachine(cluster.folder);
  scope.defer(() => machine.stop());
  const shards = await cluster.shards();
  const victim = cluster.member(busiestLeader(shards));
  const others = cluster.clients.filter(({ name }) => name !== victim.name);
  const keys = await keyPerShard(
    others[0]!,
    shards.map(({ id }) => id),
  );
  const load = new Load({ servers: () => others });
  const probes = new Probes({ keys, servers: () => others, recorder: load.recorder });
  load.start();
  probes.start();
  scope.defer(() => Promise.all([load.stop(), probes.stop()]).then(() => {}));
  await probes.untilEach("each shard takes writes", 0, 20);

  const calmMs = performance.now();
  await until("enough was seen of calm times", () => performance.now() - calmMs > 4000);
  const haltedMs = performance.now();
  victim.process.signal("SIGSTOP");
  await probes.untilEach("each shard takes writes without it", haltedMs, 10);
  const gaps = [...probes.gaps(haltedMs).values()];
  const failoverMs = performance.now();
  await until("ten seconds went by", () => performance.now() - haltedMs > stoppedMs);
  const backMs = performance.now();
  victim.process.signal("SIGCONT");

  const during = load.told.filter((told) => told.startMs >= failoverMs && told.startMs + told.ms < backMs);
  const before = load.told.filter(({ startMs, ms }) => startMs >= calmMs && startMs + ms < haltedMs);
  tell(`gap without acknowledged writes: ${spread(gaps)}`);
  tell(`latency before the stop:         ${spread(before.map(({ ms }) => ms))}`);
  tell(`latency after the failover:      ${spread(during.map(({ ms }) => ms))}`);
  tell(describeMachine(machine));
  expect(during.length).toBeGreaterThan(100);
  expect(during.filter(({ code }) => !isFine(code))).toEqual([]);

  await until("it is up again", async () => {
    const nodes = await nodesOf(others[0]!);
    return nodes.every(({ liveness }) => liveness === "up");
  });
  await victim.untilReady();
  const through = new Load({ servers: () => [victim.client], recorder: load.recorder, clients: 4, seed: 2 });
  through.start();
  scope.defer(() => through.stop());
  await until("it serves", () => through.succeeded() > 100);
  await Promise.all([load.stop(), probes.stop(), through.stop()]);
  await cluster.untilLevel();
  tell(`calls that failed in all: ${JSON.stringify(load.failures())}`);
  await load.recorder.readAll(cluster.clients);
  expect(load.recorder.verdict()).toEqual([]);
  tell(
    `${load.recorder.history.operations.length} calls checked, ${load.recorder.acknowledged} writes acknowledged`,
  );
});
