import { expect, it } from "vitest";
import type { ShardView } from "./support/admin.ts";
import { Cluster } from "./support/cluster.ts";
import { spread, tell } from "./support/figures.ts";
import { Load } from "./support/load.ts";
import { describeMachine, watchMachine } from "./support/machine.ts";
import { keyPerShard, Probes } from "./support/probes.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

/** Below the shortest election timeout, connections' return included: nobody has a reason to campaign. */
const shortOutageMs = 350;

function changed(before: readonly ShardView[], after: readonly ShardView[]): readonly number[] {
  return before
    .filter((shard) => {
      const now = after.find(({ id }) => id === shard.id);
      return now?.term !== shard.term || now?.leader !== shard.leader;
    })
    .map(({ id }) => id);
}

it("nats-server killed and started again under load: writes go on by themselves, no leader is deposed for it (R21), failures are told rightly", async () => {
  const cluster = await Cluster.whole({ folder: scope.folder(), defer: (end) => scope.defer(end) });
  const machine = await watchMachine(cluster.folder);
  scope.defer(() => machine.stop());
  const keys = await keyPerShard(
    cluster.clients[0]!,
    (await cluster.shards()).map(({ id }) => id),
  );
  const load = new Load({ servers: () => cluster.clients });
  const probes = new Probes({ keys, servers: () => cluster.clients, recorder: load.recorder });
  load.start();
  probes.start();
  scope.defer(() => Promise.all([load.stop(), probes.stop()]).then(() => {}));

  let short = 0;
  // A loaded machine may need long for a start; then the outage is no short one and leaders may rightly go.
  for (let round = 1; round <= 6 && short < 3; round++) {
    await probes.untilEach("each shard takes writes", performance.now(), 20);
    const before = await until("leaders stand", async () => {
      const shards = await cluster.shards();
      return shards.every(({ leader }) => leader !== null) && shards;
    });
    const killedMs = performance.now();
    await cluster.nats.kill();
    await cluster.nats.restart();
    const outageMs = performance.now() - killedMs;
    await probes.untilEach("each shard takes writes again", killedMs + outageMs, 20);
    const gaps = [...probes.gaps(killedMs).values()];
    const after = await cluster.shards();
    const moved = changed(before, after);
    tell(
      `outage ${Math.round(outageMs)} ms: ${moved.length} of ${before.length} leaders changed; gap ${spread(gaps)}`,
    );
    if (outageMs > shortOutageMs) continue;
    short += 1;
    expect(moved.length, `shards ${moved.join(" ")}`).toBeLessThanOrEqual(2);
  }
  if (short === 0) tell("every outage was long: nothing could be said of the leaders");

  // And one long enough that nobody can be sure of a leader: it comes back by itself all the same.
  await cluster.nats.kill();
  const downMs = performance.now();
  await until("the outage is seen", () => performance.now() - downMs > 3000);
  await cluster.nats.restart();
  const upMs = performance.now();
  await probes.untilEach("each shard takes writes after the long outage", upMs, 5);
  tell(`after 3 s without NATS every shard took 5 writes within ${Math.round(performance.now() - upMs)} ms`);

  await Promise.all([load.stop(), probes.stop()]);
  tell(describeMachine(machine));
  tell(`calls that failed: ${JSON.stringify(load.failures())}`);
  await cluster.untilLevel();
  await load.recorder.readAll(cluster.clients);
  expect(load.recorder.verdict()).toEqual([]);
  tell(
    `${load.recorder.history.operations.length} calls checked, ${load.recorder.acknowledged} writes acknowledged`,
  );
});
