import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { realClock, silentLogger } from "#runtime";
import { openRocks } from "#storage";
import { leadersPerNode, nodesOf, type ShardView } from "./support/admin.ts";
import { kvorum } from "./support/command.ts";
import { Dev, devPorts } from "./support/dev.ts";
import { tell } from "./support/figures.ts";
import { textOf } from "./support/http.ts";
import { isFree } from "./support/ports.ts";
import { isAlive } from "./support/processes.ts";
import { testScope } from "./support/test-scope.ts";

const scope = testScope();

it("dev from nothing: ready, 16 shards of three voters, every node reads every node's writes, a clean stop, and all is there at the next start", async () => {
  const folder = scope.folder();
  const ports = await devPorts();
  const startMs = performance.now();
  const first = new Dev({ folder, ports });
  scope.defer(() => first.close());
  await first.untilReady();
  tell(`ready after ${Math.round(performance.now() - startMs)} ms`);
  expect(first.lines.find((line) => line.startsWith("ready"))).toBe(
    `ready  ${first.clients.map(({ url }) => url).join(" ")}`,
  );

  const [n1, n2, n3] = first.clients;
  const put = await n1!.call("PUT", "/v1/kv/a", { body: "hi\n", headers: { "content-type": "text/plain" } });
  expect(put.status).toBe(200);
  const { revision } = JSON.parse(textOf(put));
  for (const client of [n2!, n3!]) {
    const got = await client.call("GET", "/v1/kv/a");
    expect({
      status: got.status,
      body: textOf(got),
      type: got.headers["content-type"],
      etag: got.headers.etag,
    }).toEqual({
      status: 200,
      body: "hi\n",
      type: "text/plain",
      etag: `"${revision}"`,
    });
  }

  const listed = await kvorum(["shards", "--json", "--url", n2!.url], folder);
  expect(listed).toMatchObject({ code: 0 });
  const shards: ShardView[] = listed.out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(shards).toHaveLength(16);
  for (const shard of shards) {
    expect(new Set(shard.replicas.map(({ node }) => node))).toEqual(new Set(["n1", "n2", "n3"]));
    expect(shard.replicas.every(({ role }) => role === "voter")).toBe(true);
    expect(shard.health).toBe("healthy");
  }
  tell(`leaders: ${[...leadersPerNode(shards)].map(([name, count]) => `${name} ${count}`).join(", ")}`);
  expect([...leadersPerNode(shards).keys()].sort()).toEqual(["n1", "n2", "n3"]);

  const nodes = await nodesOf(n3!);
  const pids = first.pids();
  // dev, three nodes and nats-server at least.
  expect(pids.length).toBeGreaterThanOrEqual(5);
  for (const node of nodes) expect(pids).toContain(node.pid);

  first.process.signal("SIGINT");
  expect(await first.process.exited).toEqual({ code: 0, signal: null });
  expect(first.pids()).toEqual([]);
  expect(pids.filter(isAlive)).toEqual([]);
  for (const port of [ports.http, ports.http + 1, ports.http + 2, ports.nats])
    expect(await isFree(port)).toBe(true);
  for (const name of ["n1", "n2", "n3"]) await expectRocks(join(first.data, name));

  const second = new Dev({ folder, ports });
  scope.defer(() => second.close());
  await second.untilReady();
  for (const client of second.clients) expect(textOf(await client.call("GET", "/v1/kv/a"))).toBe("hi\n");
  second.process.signal("SIGTERM");
  expect(await second.process.exited).toEqual({ code: 0, signal: null });
  expect(second.pids()).toEqual([]);
});

/** A database that RocksDB opens, with rows in the families that all groups share. */
async function expectRocks(directory: string): Promise<void> {
  expect(existsSync(join(directory, "CURRENT")) || readdirSync(directory).length > 0).toBe(true);
  const engine = await openRocks(directory, { logger: silentLogger, clock: realClock() });
  try {
    for (const family of ["raft", "meta"] as const) {
      const { rows } = engine.scan({ family, start: new Uint8Array(0) }, { limit: 1 });
      expect(rows.length, `${directory} ${family}`).toBeGreaterThan(0);
    }
    const { rows } = engine.scan({ family: "data", start: new Uint8Array(0) }, { limit: 10 });
    expect(rows.length, `${directory} data`).toBeGreaterThan(0);
  } finally {
    await engine.close();
  }
}
