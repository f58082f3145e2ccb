import { get as httpGet, type IncomingMessage } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import type { AdminOutcome } from "#router/routing";
import { parseTokenFile, type TokenRule } from "./access.ts";
import { HttpBench } from "./fixture.ts";

const benches: HttpBench[] = [];
function bench(...args: ConstructorParameters<typeof HttpBench>): HttpBench {
  const made = new HttpBench(...args);
  benches.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(benches.splice(0).map((made) => made.server.close(100)));
});

type Method = "GET" | "HEAD" | "POST" | "PATCH" | "DELETE";
interface Sent {
  readonly method?: Method;
  readonly url: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

function send(made: HttpBench, { method = "POST", url, body, headers }: Sent) {
  const payload = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  return made.server.inject({
    method,
    url,
    headers: {
      host: "localhost:7401",
      ...(payload === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(payload === undefined ? {} : { payload }),
  });
}

const ok = (status: number, body: unknown): AdminOutcome => ({ kind: "ok", status, body, servedBy: 2 });

describe("what is asked of placement", () => {
  it.each<Sent & { operation: string; parameters: object }>([
    {
      method: "GET",
      url: "/v1/admin/operations?state=running",
      operation: "operations.list",
      parameters: { state: "running" },
    },
    { method: "GET", url: "/v1/admin/operations/12", operation: "operations.get", parameters: { id: "12" } },
    {
      method: "GET",
      url: "/v1/admin/why?key=%ff&keyspace=x",
      operation: "shards.why",
      parameters: { key: Buffer.of(0xff), keyspace: "x" },
    },
    {
      method: "PATCH",
      url: "/v1/admin/nodes/n1",
      body: { labels: { zone: "a" }, weight: 2.5 },
      operation: "nodes.patch",
      parameters: { name: "n1", labels: { zone: "a" }, weight: 2.5 },
    },
    { url: "/v1/admin/nodes/n1/drain", operation: "nodes.drain", parameters: { name: "n1" } },
    {
      url: "/v1/admin/nodes/n1/drain",
      body: { for: "30m" },
      operation: "nodes.drain",
      parameters: { name: "n1", for: "30m" },
    },
    { url: "/v1/admin/nodes/n1/undrain", body: {}, operation: "nodes.undrain", parameters: { name: "n1" } },
    {
      url: "/v1/admin/nodes/n1/decommission?dry_run=true",
      operation: "nodes.decommission",
      parameters: { name: "n1", dry_run: true },
    },
    {
      url: "/v1/admin/nodes/n1/decommission",
      body: { plan: "9" },
      operation: "nodes.decommission",
      parameters: { name: "n1", dry_run: false, plan: "9" },
    },
    { url: "/v1/admin/nodes/n1/recommission", operation: "nodes.recommission", parameters: { name: "n1" } },
    {
      method: "DELETE",
      url: "/v1/admin/nodes/n1",
      operation: "nodes.delete",
      parameters: { name: "n1", force: false },
    },
    {
      method: "DELETE",
      url: "/v1/admin/nodes/n1?force=true",
      operation: "nodes.delete",
      parameters: { name: "n1", force: true },
    },
    { url: "/v1/admin/shards/7/split", operation: "shards.split", parameters: { id: 7 } },
    {
      url: "/v1/admin/shards/7/split",
      body: { at: "m" },
      operation: "shards.split",
      parameters: { id: 7, at: Buffer.from("m") },
    },
    {
      url: "/v1/admin/shards/7/split",
      body: { at: { base64: "/wA=" } },
      operation: "shards.split",
      parameters: { id: 7, at: Buffer.of(0xff, 0) },
    },
    {
      url: "/v1/admin/shards/7/split",
      body: { ways: 4 },
      operation: "shards.split",
      parameters: { id: 7, ways: 4 },
    },
    {
      url: "/v1/admin/shards/7/merge",
      body: { with: 8 },
      operation: "shards.merge",
      parameters: { id: 7, with: 8 },
    },
    {
      url: "/v1/admin/shards/7/transfer-leader",
      body: { to: "n2" },
      operation: "shards.transferLeader",
      parameters: { id: 7, to: "n2" },
    },
    {
      url: "/v1/admin/shards/7/move",
      body: { from: "n1", to: "n4" },
      operation: "shards.move",
      parameters: { id: 7, from: "n1", to: "n4" },
    },
    { url: "/v1/admin/shards/7/scatter", operation: "shards.scatter", parameters: { id: 7 } },
    { url: "/v1/admin/rebalance?dry_run=true", operation: "rebalance", parameters: { dry_run: true } },
    {
      url: "/v1/admin/rebalance",
      body: { plan: "p1" },
      operation: "rebalance",
      parameters: { dry_run: false, plan: "p1" },
    },
    {
      method: "DELETE",
      url: "/v1/admin/operations/12",
      operation: "operations.cancel",
      parameters: { id: "12" },
    },
    {
      method: "PATCH",
      url: "/v1/admin/config",
      body: { split_qps: 5, merge_enabled: true },
      operation: "config.set",
      parameters: { changes: { split_qps: 5, merge_enabled: true } },
    },
    {
      url: "/v1/admin/keyspaces",
      body: { name: "users", partition: "hash", shards: 4, slots: 64, replicas: 3 },
      operation: "keyspaces.create",
      parameters: { name: "users", partition: "hash", shards: 4, slots: 64, replicas: 3 },
    },
    {
      method: "DELETE",
      url: "/v1/admin/keyspaces/users",
      operation: "keyspaces.delete",
      parameters: { name: "users" },
    },
    { url: "/v1/admin/snapshot?shard=3", operation: "snapshot", parameters: { shard: 3 } },
    { url: "/v1/admin/snapshot", operation: "snapshot", parameters: {} },
  ])("$method $url $body: $operation", async ({ operation, parameters, ...sent }) => {
    const made = bench();
    const answer = await send(made, sent);
    expect(answer.statusCode).toBe(200);
    expect(made.adminRequests).toEqual([{ operation, parameters }]);
  });

  it("an answer that was given before says so, to who gave the key", async () => {
    const made = bench();
    made.onAdmin = () => ({ kind: "ok", status: 202, body: { operation: "5" }, replayed: true });
    const url = "/v1/admin/shards/7/scatter";
    const repeated = await send(made, { url, headers: { "idempotency-key": "abc" } });
    expect(repeated.headers["idempotent-replay"]).toBe("true");
    const own = await send(made, { url });
    expect(own.headers["idempotent-replay"]).toBeUndefined();
    made.onAdmin = ({ operation }) =>
      operation === "operations.get"
        ? { kind: "ok", status: 200, body: { id: "5", state: "done" } }
        : { kind: "ok", status: 202, body: { operation: "5" }, replayed: true };
    for (const [headers, want] of [
      [{ "idempotency-key": "abc" }, "true"],
      [{}, undefined],
    ] as const) {
      const waited = await send(made, { url: `${url}?wait=true`, headers });
      expect([waited.statusCode, waited.headers["idempotent-replay"]]).toEqual([200, want]);
    }
  });

  it("an Idempotency-Key goes along, but not with a dry run", async () => {
    const made = bench();
    const headers = { "idempotency-key": '"abc"' };
    await send(made, { url: "/v1/admin/rebalance", headers });
    await send(made, { url: "/v1/admin/rebalance?dry_run=true", headers });
    expect(made.adminRequests.map(({ parameters }) => parameters["idempotency_key"])).toEqual([
      "abc",
      undefined,
    ]);
  });
});

describe("changes that cannot be meant", () => {
  const move = "/v1/admin/shards/7/move";
  it.each<Sent & { name: string; status: number; code: string; detail?: string }>([
    { name: "no JSON", url: move, body: "{", status: 400, code: "bad_request" },
    { name: "no object", url: move, body: "[]", status: 400, code: "bad_request" },
    {
      name: "too deep",
      url: "/v1/admin/config",
      method: "PATCH",
      body: `{"replicas":${"[".repeat(9)}${"]".repeat(9)}}`,
      status: 400,
      code: "bad_request",
      detail: "levels",
    },
    {
      name: "another type",
      url: move,
      body: "from=n1",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      status: 415,
      code: "unsupported_media_type",
    },
    {
      name: "another charset",
      url: move,
      body: "{}",
      headers: { "content-type": "application/json; charset=latin1" },
      status: 415,
      code: "unsupported_media_type",
    },
    {
      name: "an unknown field",
      url: move,
      body: { from: "n1", to: "n2", fast: true },
      status: 400,
      code: "bad_parameter",
      detail: '"fast"',
    },
    {
      name: "a field where none are",
      url: "/v1/admin/shards/7/scatter",
      body: { wide: 1 },
      status: 400,
      code: "bad_parameter",
      detail: '"wide"',
    },
    {
      name: "a field named like a part of every object",
      url: "/v1/admin/shards/7/scatter",
      body: '{"__proto__":1}',
      status: 400,
      code: "bad_parameter",
      detail: "__proto__",
    },
    {
      name: "a missing field",
      url: move,
      body: { from: "n1" },
      status: 400,
      code: "bad_parameter",
      detail: '"to"',
    },
    { name: "no body where one is needed", url: move, status: 400, code: "bad_parameter", detail: '"from"' },
    {
      name: "null",
      url: move,
      body: { from: "n1", to: null },
      status: 400,
      code: "bad_parameter",
      detail: '"to"',
    },
    {
      name: "a bad name",
      url: move,
      body: { from: "n1", to: "N 2" },
      status: 400,
      code: "bad_parameter",
      detail: '"to"',
    },
    {
      name: "a shard as text",
      url: "/v1/admin/shards/7/merge",
      body: { with: "8" },
      status: 400,
      code: "bad_parameter",
      detail: '"with"',
    },
    {
      name: "one way",
      url: "/v1/admin/shards/7/split",
      body: { ways: 1 },
      status: 400,
      code: "bad_parameter",
      detail: '"ways"',
    },
    {
      name: "at and ways",
      url: "/v1/admin/shards/7/split",
      body: { at: "a", ways: 2 },
      status: 400,
      code: "bad_parameter",
      detail: '"ways"',
    },
    {
      name: "half a character as a key",
      url: "/v1/admin/shards/7/split",
      body: '{"at":"\\ud800"}',
      status: 400,
      code: "bad_parameter",
      detail: '"at"',
    },
    {
      name: "a key that is no base64",
      url: "/v1/admin/shards/7/split",
      body: { at: { base64: "?" } },
      status: 400,
      code: "bad_parameter",
      detail: '"at"',
    },
    {
      name: "an empty key",
      url: "/v1/admin/shards/7/split",
      body: { at: "" },
      status: 400,
      code: "bad_parameter",
      detail: '"at"',
    },
    {
      name: "a time without unit",
      url: "/v1/admin/nodes/n1/drain",
      body: { for: "30" },
      status: 400,
      code: "bad_parameter",
      detail: '"for"',
    },
    {
      name: "a time as number",
      url: "/v1/admin/nodes/n1/drain",
      body: { for: 30 },
      status: 400,
      code: "bad_parameter",
      detail: '"for"',
    },
    {
      name: "a label that placement's codec would refuse",
      method: "PATCH",
      url: "/v1/admin/nodes/n1",
      body: '{"labels":{"__proto__":"x"}}',
      status: 400,
      code: "bad_parameter",
      detail: '"labels"',
    },
    {
      name: "a weight of nothing",
      method: "PATCH",
      url: "/v1/admin/nodes/n1",
      body: { weight: 0 },
      status: 400,
      code: "bad_parameter",
      detail: '"weight"',
    },
    {
      name: "an unknown setting",
      method: "PATCH",
      url: "/v1/admin/config",
      body: { replicaz: 3 },
      status: 400,
      code: "bad_parameter",
      detail: "replicaz",
    },
    {
      name: "a keyspace's bad name",
      url: "/v1/admin/keyspaces",
      body: { name: "Users", partition: "hash", shards: 1 },
      status: 400,
      code: "bad_parameter",
      detail: '"name"',
    },
    {
      name: "a partition there is not",
      url: "/v1/admin/keyspaces",
      body: { name: "users", partition: "list", shards: 1 },
      status: 400,
      code: "bad_parameter",
      detail: '"partition"',
    },
    {
      name: "a body that does not fit",
      method: "DELETE",
      url: "/v1/admin/nodes/n1",
      body: {},
      status: 400,
      code: "bad_request",
    },
    {
      name: "a parameter of another route",
      url: `${move}?dry_run=true`,
      body: { from: "n1", to: "n2" },
      status: 400,
      code: "bad_parameter",
      detail: "dry_run",
    },
    {
      name: "a switch that is no truth",
      url: "/v1/admin/rebalance?dry_run=1",
      status: 400,
      code: "bad_parameter",
      detail: "dry_run",
    },
    {
      name: "a change's parameter on a read",
      method: "GET",
      url: "/v1/admin/nodes/n1?force=true",
      status: 400,
      code: "bad_parameter",
      detail: "force",
    },
    {
      name: "a long time to wait",
      url: "/v1/admin/rebalance?timeout=61s",
      status: 400,
      code: "bad_parameter",
      detail: "timeout",
    },
    {
      name: "a bad Idempotency-Key",
      url: "/v1/admin/rebalance",
      headers: { "idempotency-key": "a b" },
      status: 400,
      code: "bad_parameter",
      detail: "Idempotency-Key",
    },
    { name: "a shard's bad id", url: "/v1/admin/shards/x/split", status: 404, code: "not_found" },
    {
      name: "an operation's bad id",
      method: "DELETE",
      url: "/v1/admin/operations/0x1",
      status: 404,
      code: "not_found",
    },
    { name: "no such action", url: "/v1/admin/shards/7/explode", status: 404, code: "no_such_route" },
    { name: "an empty name", url: "/v1/admin/nodes//drain", status: 404, code: "no_such_route" },
    {
      name: "an action that is asked for",
      method: "GET",
      url: "/v1/admin/shards/7/split",
      status: 405,
      code: "method_not_allowed",
    },
    {
      name: "JSON not wanted",
      url: "/v1/admin/rebalance",
      headers: { accept: "text/html" },
      status: 406,
      code: "not_acceptable",
    },
    {
      name: "too much",
      method: "PATCH",
      url: "/v1/admin/config",
      body: `{"a":"${"x".repeat(70_000)}"}`,
      status: 413,
      code: "request_too_large",
    },
  ])("$name: $status $code", async ({ name: _, status, code, detail, ...sent }) => {
    const made = bench();
    const answer = await send(made, sent);
    expect({ status: answer.statusCode, code: answer.json().code }).toEqual({ status, code });
    if (detail !== undefined) expect(answer.json().detail).toContain(detail);
    const noWrite = sent.method === "GET" || code === "no_such_route";
    expect(answer.json().outcome).toBe(noWrite ? undefined : "not_applied");
    expect(made.adminRequests).toEqual([]);
  });

  it("need the right to administer", async () => {
    const tokens = parseTokenFile(
      "reader read\nwriter write\nchief admin\nlimited admin users/\n",
    ) as TokenRule[];
    const made = bench({ tokens });
    const status = async (token: string) =>
      (await send(made, { url: "/v1/admin/rebalance", headers: { authorization: `Bearer ${token}` } }))
        .statusCode;
    expect(await Promise.all(["reader", "writer", "limited", "chief"].map(status))).toEqual([
      403, 403, 403, 200,
    ]);
    expect(made.adminRequests).toHaveLength(1);
  });
});

describe("operations", () => {
  const split = { url: "/v1/admin/shards/7/split" };

  it("begin with 202 and a Location", async () => {
    const made = bench();
    made.onAdmin = () => ok(202, { operation: "5" });
    const answer = await send(made, split);
    expect(answer.statusCode).toBe(202);
    expect(answer.headers).toMatchObject({ location: "/v1/admin/operations/5", "kvorum-served-by": "n2" });
    expect(answer.json()).toEqual({ operation: "5" });
  });

  it.each(["done", "failed", "cancelled"])("wait=true answers when it is %s", async (state) => {
    const made = bench();
    let looks = 0;
    made.onAdmin = ({ operation }) => {
      if (operation !== "operations.get") return ok(202, { operation: "5" });
      looks += 1;
      // One look fails on the way: the operation goes on all the same.
      if (looks === 1) return { kind: "error", code: "unavailable", detail: "no leader" };
      return ok(200, { id: "5", state: looks < 3 ? "running" : state });
    };
    const answer = await send(made, { url: `${split.url}?wait=true` });
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({ id: "5", state });
  });

  it("wait=true past the timeout is 202", async () => {
    const made = bench();
    made.onAdmin = ({ operation }) =>
      operation === "operations.get" ? ok(200, { id: "5", state: "running" }) : ok(202, { operation: "5" });
    const answer = await send(made, { url: `${split.url}?wait=true&timeout=200ms` });
    expect(answer.statusCode).toBe(202);
    expect(answer.headers["location"]).toBe("/v1/admin/operations/5");
  });

  it("wait=true changes nothing where there is nothing to wait for", async () => {
    const made = bench();
    made.onAdmin = () => ok(200, { plan: "1", steps: [], reason: "balanced" });
    const answer = await send(made, { url: "/v1/admin/rebalance?wait=true" });
    expect(answer.json()).toMatchObject({ reason: "balanced" });
    expect(made.adminRequests).toHaveLength(1);
  });

  it("failures say what became of them, blockers and all", async () => {
    const made = bench();
    const blockers = [{ node: "n1", reason: "the last voter" }];
    made.onAdmin = () => ({
      kind: "error",
      code: "blocked",
      detail: "no",
      extra: { blockers },
      outcome: "not_applied",
    });
    const blocked = await send(made, { url: "/v1/admin/nodes/n1/decommission" });
    expect(blocked.statusCode).toBe(409);
    expect(blocked.json()).toMatchObject({ code: "blocked", blockers, outcome: "not_applied" });
    made.onAdmin = () => ({ kind: "error", code: "timeout", detail: "silence", outcome: "unknown" });
    expect((await send(made, split)).json()).toMatchObject({ code: "timeout", outcome: "unknown" });
  });
});

const event = (id: number, shard?: number) => ({
  id,
  at: "t",
  kind: "split",
  reason: "r",
  ...(shard && { shard }),
});

/** Opens a stream and collects its text. */
async function listen(made: HttpBench, path: string, headers: Readonly<Record<string, string>> = {}) {
  const { port } = await made.server.listen("127.0.0.1", 0);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpGet({ host: "127.0.0.1", port, path, headers, agent: false }, resolve).on("error", reject);
  });
  const heard = { response, text: "", ended: false };
  response.setEncoding("utf8");
  response.on("data", (chunk: string) => {
    heard.text += chunk;
  });
  response.on("close", () => {
    heard.ended = true;
  });
  return heard;
}

describe("events", () => {
  it("as JSON are what there is by now", async () => {
    const made = bench();
    made.onAdmin = () => ok(200, { items: [event(1)], cursor: null });
    const headers = { accept: "application/json" };
    const all = await send(made, { method: "GET", url: "/v1/admin/events", headers });
    expect(all.json().items).toEqual([event(1)]);
    await send(made, { method: "GET", url: "/v1/admin/shards/7/events?since=5", headers });
    await send(made, {
      method: "GET",
      url: "/v1/admin/events?since=5",
      headers: { ...headers, "last-event-id": "9" },
    });
    expect(made.adminRequests.map(({ parameters }) => parameters)).toEqual([
      { since: 0 },
      { since: 5, shard: 7 },
      { since: 9 },
    ]);
  });

  it("as a stream go on with what comes, each once and with its id", async () => {
    const made = bench();
    let events = [event(1), event(2, 7)];
    made.onAdmin = ({ parameters }) =>
      ok(200, { items: events.filter(({ id }) => id > Number(parameters["since"])), cursor: null });
    const heard = await listen(made, "/v1/admin/events?since=1");
    expect(heard.response.headers).toMatchObject({
      "content-type": "text/event-stream",
      "cache-control": "no-store",
    });
    await expect.poll(() => heard.text).toContain("id: 2\ndata: {");
    events = [...events, event(3), event(4, 7)];
    await expect.poll(() => heard.text, { timeout: 5_000 }).toContain("id: 4\n");
    expect(heard.text.match(/^id: \d+$/gm)).toEqual(["id: 2", "id: 3", "id: 4"]);
    heard.response.destroy();
    await expect.poll(() => heard.ended).toBe(true);
  });

  it("of one shard are its own", async () => {
    const made = bench();
    let events = [event(1, 7)];
    made.onAdmin = () => ok(200, { items: events, cursor: null });
    const heard = await listen(made, "/v1/admin/shards/7/events");
    events = [...events, event(2, 8), event(3), event(4, 7)];
    await expect.poll(() => heard.text, { timeout: 5_000 }).toContain("id: 4\n");
    expect(heard.text.match(/^id: \d+$/gm)).toEqual(["id: 1", "id: 4"]);
    heard.response.destroy();
  });

  it("end with a word when the node stops", async () => {
    const made = bench();
    made.onAdmin = () => ok(200, { items: [], cursor: null });
    const heard = await listen(made, "/v1/admin/events");
    made.server.drain();
    await expect.poll(() => heard.ended).toBe(true);
    expect(heard.text).toMatch(/^event: problem\ndata: .*"unavailable"/m);
  });

  it("where placement cannot be reached are a problem, not an empty stream", async () => {
    const made = bench();
    made.onAdmin = () => ({ kind: "error", code: "unavailable", detail: "no leader" });
    const answer = await send(made, { method: "GET", url: "/v1/admin/events" });
    expect(answer.statusCode).toBe(503);
    const bad = await send(made, {
      method: "GET",
      url: "/v1/admin/events",
      headers: { "last-event-id": "x" },
    });
    expect(bad.json()).toMatchObject({ code: "bad_parameter" });
    const image = await send(made, {
      method: "GET",
      url: "/v1/admin/events",
      headers: { accept: "image/png" },
    });
    expect(image.statusCode).toBe(406);
  });
});
