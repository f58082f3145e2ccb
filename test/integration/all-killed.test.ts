import { expect, it } from "vitest";
import { Dev, devPorts } from "./support/dev.ts";
import { tell } from "./support/figures.ts";
import { Load } from "./support/load.ts";
import { killAll } from "./support/processes.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

it("kill -9 of dev, all nodes and nats-server under load: the next start has every acknowledged write", async () => {
  const folder = scope.folder();
  const ports = await devPorts();
  const first = new Dev({ folder, ports, flags: ["--no-restart"] });
  scope.defer(() => first.close());
  await first.untilReady();
  const load = new Load({ servers: () => first.clients, keys: 64 });
  load.start();
  scope.defer(() => load.stop());
  await until("the load runs", () => load.recorder.acknowledged > 1000);
  const pids = first.pids();
  expect(pids.length).toBeGreaterThanOrEqual(5);
  await killAll(pids);
  await load.stop();
  const acknowledged = load.recorder.acknowledged;
  expect(first.pids()).toEqual([]);

  const startMs = performance.now();
  const second = new Dev({ folder, ports });
  scope.defer(() => second.close());
  await second.untilReady();
  tell(`ready again after ${Math.round(performance.now() - startMs)} ms`);
  await load.recorder.readAll(second.clients);
  expect(load.recorder.verdict()).toEqual([]);
  tell(
    `${acknowledged} writes were acknowledged before; ${load.recorder.history.operations.length} calls checked`,
  );

  // It is no museum: it takes writes.
  const after = new Load({ servers: () => second.clients, recorder: load.recorder, prefix: "after" });
  after.start();
  scope.defer(() => after.stop());
  await until("it takes writes", () => after.succeeded() > 200);
  await after.stop();
  expect(load.recorder.verdict()).toEqual([]);
  expect(after.failures()).toEqual({});
  second.process.signal("SIGTERM");
  expect(await second.process.exited).toEqual({ code: 0, signal: null });
});
