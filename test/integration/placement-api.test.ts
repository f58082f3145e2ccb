import { expect, it } from "vitest";
import { nodesOf, shardsOf } from "./support/admin.ts";
import { Cluster } from "./support/cluster.ts";
import { tell } from "./support/figures.ts";
import { type HttpClient, header, type Reply } from "./support/http.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();

type Json = Record<string, unknown>;

async function ask(
  client: HttpClient,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply & { readonly json: Json }> {
  const reply = await client.call(method, `/v1/admin/${path}`, {
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
    timeoutMs: 90_000,
  });
  return { ...reply, json: JSON.parse(reply.body.toString()) as Json };
}

/** Asked, and done: with `wait` the answer is the operation at its end. */
async function carryOut(client: HttpClient, path: string, body?: unknown): Promise<Json> {
  const reply = await ask(client, "POST", `${path}?wait=true&timeout=60s`, body);
  expect(reply.status, reply.body.toString()).toBe(200);
  expect(reply.json, path).toMatchObject({ state: "done", progress: 1 });
  return reply.json;
}

async function isHealthy(client: HttpClient): Promise<boolean> {
  const shards = await shardsOf(client);
  return shards.every(({ health, replicas }) => health === "healthy" && replicas.length === 3);
}

it("the placement API, over HTTP through any node and a router: forms, waiting, keys, refusals at once", async () => {
  const folder = scope.folder();
  const cluster = await Cluster.whole({ folder, nodes: 4, shards: 4, defer: (end) => scope.defer(end) });
  const [n1, n2, n3] = cluster.clients as [HttpClient, HttpClient, HttpClient, HttpClient];
  const router = cluster.router(1);
  router.start();
  await router.untilReady();
  for (let i = 0; i < 64; i++) await n1.call("PUT", `/v1/kv/key-${i}`, { body: "x".repeat(1_000) });

  // What is moved here stays there.
  await ask(n1, "PATCH", "config", { rebalance_enabled: false });
  const isIdle = async (): Promise<boolean> =>
    ((await ask(n1, "GET", "operations?state=running")).json["items"] as unknown[]).length === 0;
  await until("nothing is under way", isIdle);

  // Sizes of little data are told too: plans and their times are made of them.
  await until("sizes are told", async () => {
    const { json } = await ask(n2, "GET", "shards");
    return (json["items"] as { bytes: number; keys: number }[]).every(
      ({ bytes, keys }) => bytes > 0 && keys > 0,
    );
  });

  // A change answers 202 with its place; waited for, 200 with its end; past its time, 202.
  const [first] = await shardsOf(n1);
  const shard = first!.id;
  const from = first!.replicas.find(({ node }) => node !== first!.leader)!.node;
  const to = (await nodesOf(n1)).find(({ name }) => first!.replicas.every(({ node }) => node !== name))!.name;
  const move = { from, to };
  const begun = await ask(n3, "POST", `shards/${shard}/move`, move);
  expect(begun.status, begun.body.toString()).toBe(202);
  expect(header(begun, "location")).toBe(`/v1/admin/operations/${begun.json["operation"]}`);
  const second = await ask(n3, "POST", `shards/${shard}/move`, move);
  expect([second.status, second.json["code"]]).toEqual([409, "conflict"]);
  await until("moved", async () => {
    const { json } = await ask(n2, "GET", `operations/${begun.json["operation"]}`);
    return json["state"] === "done";
  });
  const late = await ask(n1, "POST", `shards/${shard}/move?wait=true&timeout=100ms`, { from: to, to: from });
  expect([200, 202]).toContain(late.status);
  await until("moved back", async () => (await isIdle()) && (await isHealthy(n1)));

  // Under a key the first answer again, said so; without one never.
  const keyed = { "Idempotency-Key": "scatter-1" };
  const answers: Awaited<ReturnType<typeof ask>>[] = [];
  for (const headers of [keyed, keyed, {}]) {
    answers.push(await ask(n2, "POST", `shards/${shard}/scatter?wait=true&timeout=60s`, undefined, headers));
  }
  expect(answers.map(({ json }) => json["state"])).toEqual(["done", "done", "done"]);
  expect(answers.map(({ json }) => json["id"] === answers[0]!.json["id"])).toEqual([true, true, false]);
  expect(answers.map((answer) => header(answer, "idempotent-replay"))).toEqual([
    undefined,
    "true",
    undefined,
  ]);
  const again = await ask(n2, "POST", `shards/${shard}/scatter`, undefined, keyed);
  expect([again.status, header(again, "idempotent-replay")]).toEqual([202, "true"]);

  // Through a router that holds no data, too.
  const all = await ask(router.client, "POST", "snapshot");
  expect([all.status, all.json]).toEqual([200, { snapshots: 12 }]);
  expect((await ask(router.client, "POST", `snapshot?shard=${shard}`)).json).toEqual({ snapshots: 3 });
  expect((await ask(router.client, "POST", "snapshot?shard=4711")).status).toBe(404);

  // The node that leads placement goes for good: its voter is replaced as its replicas are.
  const leading = async (): Promise<{ leader: string; members: string[] }> =>
    (await ask(n1, "GET", "cluster")).json["placement"] as { leader: string; members: string[] };
  const going = (await leading()).leader;
  const stays = cluster.members.filter(({ name }) => name !== going);
  const asker = stays[0]!.client;
  const beganMs = performance.now();
  const gone = await ask(asker, "POST", `nodes/${going}/decommission?wait=true&timeout=60s`);
  expect(gone.status, gone.body.toString()).toBe(200);
  tell(`decommissioned the node that led placement in ${Math.round(performance.now() - beganMs)} ms`);
  const { json: after } = await ask(asker, "GET", "cluster");
  expect(after["placement"]).toMatchObject({ members: expect.not.arrayContaining([going]) });
  expect((after["placement"] as { members: string[] }).members).toHaveLength(3);
  await cluster.member(going).terminate();
  expect((await ask(asker, "DELETE", `nodes/${going}`)).json).toMatchObject({ name: going, deleted: true });
  const { json: events } = await ask(asker, "GET", "events", undefined, { Accept: "application/json" });
  const told = events["items"] as { kind: string; node?: string }[];
  expect(told.filter(({ kind }) => /_(failed|cancelled)$/.test(kind))).toEqual([]);

  // With three nodes left no other may go: said at once, nothing is begun.
  const next = stays[1]!.name;
  const dry = await ask(asker, "POST", `nodes/${next}/decommission?dry_run=true`);
  expect(dry.status).toBe(200);
  const blockers = dry.json["blockers"] as { reason: string }[];
  expect(blockers.map(({ reason }) => reason).join()).toMatch(/start another node/);
  const refused = await ask(asker, "POST", `nodes/${next}/decommission`);
  expect([refused.status, refused.json["code"]]).toEqual([409, "blocked"]);
  expect(refused.json["blockers"]).toEqual(blockers);
  expect((await ask(asker, "GET", `nodes/${next}`)).json).toMatchObject({ membership: "active" });

  // What may be lost is said, and one node less is seen.
  expect(after["can_lose"]).toMatchObject({ nodes: 1 });
  await cluster.member(next).kill();
  const lost = await until("nothing more may be lost", async () => {
    const { json } = await ask(asker, "GET", "cluster");
    return (json["can_lose"] as { nodes: number }).nodes === 0 && json;
  });
  expect((lost["can_lose"] as { reason: string }).reason).toMatch(/it needs each of/);
  cluster.member(next).start();
  await cluster.member(next).untilReady();
  await until("whole again", () => isHealthy(asker));

  // The setting holds for the shards there are.
  for (const replicas of [1, 3]) {
    expect((await ask(asker, "PATCH", "config", { replicas })).json).toMatchObject({ replicas });
    await until(`${replicas} replicas each`, async () => {
      const shards = await shardsOf(asker);
      return shards.every((one) => one.replicas.length === replicas && one.health === "healthy");
    });
  }
  for (let i = 0; i < 64; i += 7) {
    expect((await asker.call("GET", `/v1/kv/key-${i}`)).body.toString()).toBe("x".repeat(1_000));
  }
  await carryOut(asker, `shards/${shard}/split`, { ways: 2 });
  expect(await shardsOf(asker)).toHaveLength(5);
});
