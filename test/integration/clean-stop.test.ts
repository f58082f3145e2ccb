import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { leadersPerNode } from "./support/admin.ts";
import { Cluster } from "./support/cluster.ts";
import { Dev, devPorts } from "./support/dev.ts";
import { spread, tell } from "./support/figures.ts";
import { header, textOf } from "./support/http.ts";
import { Load } from "./support/load.ts";
import { describeMachine, watchMachine } from "./support/machine.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

it("a stateless router serves the same API, and a node told to stop hands its leaderships over without a failed request (R35)", async () => {
  const cluster = await Cluster.whole({ folder: scope.folder(), defer: (end) => scope.defer(end) });
  const machine = await watchMachine(cluster.folder);
  scope.defer(() => machine.stop());
  const router = cluster.router(1);
  router.start();
  await router.untilReady();
  const put = await router.client.call("PUT", "/v1/kv/a", { body: "through a router" });
  expect(put.status).toBe(200);
  expect(textOf(await cluster.member("n2").client.call("GET", "/v1/kv/a"))).toBe("through a router");
  const got = await router.client.call("GET", "/v1/kv/a");
  expect(textOf(got)).toBe("through a router");
  expect(header(got, "kvorum-served-by")).toMatch(/^n[123]$/);
  expect((await router.client.json<{ items: unknown[] }>("/v1/admin/shards")).items).toHaveLength(16);

  const leaving = cluster.member("n2");
  const servers = [cluster.member("n1").client, cluster.member("n3").client, router.client];
  // Generous: a slow machine is no failed request.
  const load = new Load({ servers: () => servers, limits: { serverMs: 30_000 } });
  load.start();
  scope.defer(() => load.stop());
  await until("the load runs", () => load.succeeded() > 300);
  const led = leadersPerNode(await cluster.shards()).get("n2") ?? 0;
  const toldMs = performance.now();
  expect(await leaving.terminate()).toEqual({ code: 0, signal: null });
  const goneMs = performance.now();
  tell(`n2 led ${led} shards, and was gone ${Math.round(goneMs - toldMs)} ms after SIGTERM`);
  await until("the load runs on", () => load.succeeded(goneMs) > 300);
  const during = load.told.filter(({ startMs, ms }) => startMs + ms > toldMs && startMs < goneMs);
  tell(describeMachine(machine));
  tell(`latency of calls meanwhile: ${spread(during.map(({ ms }) => ms))}`);
  expect(load.failures()).toEqual({});
  expect([...leadersPerNode(await cluster.shards()).keys()].sort()).toEqual(["n1", "n3"]);

  leaving.start();
  await cluster.untilWhole();
  await load.stop();
  expect(load.failures()).toEqual({});
  await load.recorder.readAll([...cluster.clients, router.client]);
  expect(load.recorder.verdict()).toEqual([]);
  expect(await router.terminate()).toEqual({ code: 0, signal: null });
});

it("dev -- CMD runs CMD with KVORUM_URL once ready, stops everything, and exits with its code", async () => {
  const folder = scope.folder();
  const script = join(folder, "command.mjs");
  writeFileSync(
    script,
    `const urls = process.env.KVORUM_URL.split(",");
     await fetch(urls[0] + "/v1/kv/from-cmd", { method: "PUT", body: "x" });
     const got = await fetch(urls.at(-1) + "/v1/kv/from-cmd");
     console.log(urls.length, got.status, await got.text());
     process.exit(7);`,
  );
  const dev = new Dev({
    folder,
    ports: await devPorts(),
    flags: ["--shards", "4"],
    command: [process.execPath, script],
  });
  scope.defer(() => dev.close());
  expect(await dev.process.exited).toEqual({ code: 7, signal: null });
  await until("its output came", () => dev.lines.length > 0);
  expect(dev.lines).toEqual(["3 200 x"]);
  expect(dev.pids()).toEqual([]);
});
