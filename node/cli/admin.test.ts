import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Answer, type Asked, CliBench, problem } from "./fixture.ts";

let bench: CliBench;

beforeEach(async () => {
  bench = await CliBench.open();
});
afterEach(() => bench.close());

const ok = (body: unknown, status = 200): Answer => ({ status, body: JSON.stringify(body) });

/** Changes begin operation 5; each look at it gives the next of these, then the last for ever. */
function operating(...looks: readonly object[]): void {
  let seen = 0;
  bench.answer = ({ method }) => {
    if (method !== "GET") return ok({ operation: "5" }, 202);
    const look = looks[Math.min(seen, looks.length - 1)];
    seen += 1;
    return ok({ id: "5", ...look });
  };
}

const asked = ({ method, url, body }: Asked) => ({
  method,
  url,
  ...(body === "" ? {} : { body: JSON.parse(body) }),
});

describe("actions become requests", () => {
  it.each<{ argv: string; want: object }>([
    { argv: "nodes drain n1", want: { method: "POST", url: "/v1/admin/nodes/n1/drain" } },
    {
      argv: "nodes drain n1 --for 30m",
      want: { method: "POST", url: "/v1/admin/nodes/n1/drain", body: { for: "1800s" } },
    },
    { argv: "nodes undrain n1", want: { method: "POST", url: "/v1/admin/nodes/n1/undrain" } },
    { argv: "nodes decommission n1", want: { method: "POST", url: "/v1/admin/nodes/n1/decommission" } },
    {
      argv: "nodes decommission n1 --plan 7",
      want: { method: "POST", url: "/v1/admin/nodes/n1/decommission", body: { plan: "7" } },
    },
    { argv: "nodes recommission n1", want: { method: "POST", url: "/v1/admin/nodes/n1/recommission" } },
    { argv: "nodes rm n1", want: { method: "DELETE", url: "/v1/admin/nodes/n1" } },
    { argv: "nodes rm n1 --force", want: { method: "DELETE", url: "/v1/admin/nodes/n1?force=true" } },
    {
      argv: "nodes set n1 --labels zone=a,host=h1 --weight 2",
      want: {
        method: "PATCH",
        url: "/v1/admin/nodes/n1",
        body: { labels: { zone: "a", host: "h1" }, weight: 2 },
      },
    },
    { argv: "shards split 7", want: { method: "POST", url: "/v1/admin/shards/7/split" } },
    {
      argv: "shards split 7 --at m",
      want: { method: "POST", url: "/v1/admin/shards/7/split", body: { at: "m" } },
    },
    {
      argv: "shards split 7 --ways 4",
      want: { method: "POST", url: "/v1/admin/shards/7/split", body: { ways: 4 } },
    },
    {
      argv: "shards merge 7 --with 8",
      want: { method: "POST", url: "/v1/admin/shards/7/merge", body: { with: 8 } },
    },
    {
      argv: "shards move 7 --from n1 --to n4",
      want: { method: "POST", url: "/v1/admin/shards/7/move", body: { from: "n1", to: "n4" } },
    },
    {
      argv: "shards transfer-leader 7 --to n2",
      want: { method: "POST", url: "/v1/admin/shards/7/transfer-leader", body: { to: "n2" } },
    },
    { argv: "shards scatter 7", want: { method: "POST", url: "/v1/admin/shards/7/scatter" } },
    { argv: "rebalance", want: { method: "POST", url: "/v1/admin/rebalance" } },
    { argv: "keyspaces rm users --yes", want: { method: "DELETE", url: "/v1/admin/keyspaces/users" } },
    { argv: "operations cancel 5", want: { method: "DELETE", url: "/v1/admin/operations/5" } },
  ])("kvorum $argv", async ({ argv, want }) => {
    operating({ state: "done" });
    const outcome = await bench.kvorum(argv.split(" "));
    expect(outcome.code).toBe(0);
    const [first] = bench.requests;
    expect(asked(first!)).toEqual(want);
    expect(first!.headers["idempotency-key"]).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("a new keyspace leaves to the cluster what nobody said", async () => {
    bench.answer = () => ok({ name: "users" }, 201);
    expect(await bench.kvorum(["keyspaces", "create", "users", "--partition", "range"])).toMatchObject({
      code: 0,
      out: "keyspace users is made\n",
    });
    expect(asked(bench.requests[0]!).body).toEqual({ name: "users", partition: "range" });
  });

  it("settings take units, and what was set is shown", async () => {
    bench.answer = () =>
      ok({ split_bytes: 67_108_864, down_after_ms: 3_000, merge_enabled: true, replicas: 3 });
    const argv = ["config", "set", "split_bytes=64MiB", "down_after_ms=3s", "merge_enabled=true"];
    const { out } = await bench.kvorum(argv);
    expect(asked(bench.requests[0]!)).toEqual({
      method: "PATCH",
      url: "/v1/admin/config",
      body: { split_bytes: 67_108_864, down_after_ms: 3_000, merge_enabled: true },
    });
    expect(out).toBe("split_bytes    67108864\ndown_after_ms  3000\nmerge_enabled  true\n");
    expect((await bench.kvorum(["config", "get", "replicas"])).out).toBe("3\n");
    expect((await bench.kvorum(["config", "get", "nothing"])).code).toBe(3);
  });

  it.each([
    { argv: "nodes drain", names: "say which node" },
    { argv: "nodes explode n1", names: "explode" },
    { argv: "nodes drain n1 --force", names: "--force" },
    { argv: "nodes --force", names: "--force" },
    { argv: "nodes set n1", names: "--labels" },
    { argv: "shards split 7 --at a --ways 2", names: "--ways" },
    { argv: "shards move 7 --to n2", names: "--from" },
    { argv: "shards merge 7", names: "--with" },
    { argv: "shards split 7 --ways 1", names: "--ways" },
    { argv: "keyspaces rm users", names: "--yes" },
    { argv: "operations wait", names: "operation" },
    { argv: "config set split_bytes", names: "K=V" },
    { argv: "config set split_bytes=1MB", names: "split_bytes" },
    { argv: "config set split_qps=1s", names: "split_qps" },
    { argv: "config get a b", names: "too many" },
    { argv: "rebalance --force", names: "--force" },
  ])("kvorum $argv: 2, names $names", async ({ argv, names }) => {
    const { code, err } = await bench.kvorum(argv.split(" "));
    expect(code).toBe(2);
    expect(err).toContain(names);
    expect(bench.requests).toEqual([]);
  });
});

const plan = {
  plan: "p9",
  steps: [
    { shard: 4, action: "move", from: "n4", to: "n2", reason: "n4 leaves", bytes: 1_048_576, eta_ms: 4_000 },
    {
      shard: 12,
      action: "transfer_leader",
      from: "n4",
      to: "n1",
      reason: "n4 leaves",
      bytes: 0,
      eta_ms: 500,
    },
  ],
  blockers: [],
  imbalance: { before: 0.25, after: 0.031 },
  eta_ms: 4_500,
  reason: "n4 is emptied",
};

describe("plans", () => {
  it("--dry-run shows steps, cost, what it is good for and how to do exactly that", async () => {
    bench.answer = () => ok(plan);
    const { code, out } = await bench.kvorum(["nodes", "decommission", "n4", "--dry-run"]);
    expect(code).toBe(0);
    expect(bench.requests.map(({ url }) => url)).toEqual(["/v1/admin/nodes/n4/decommission?dry_run=true"]);
    expect(out.split("\n")).toEqual([
      "2 steps, 1.0 MiB, about 4.5 s",
      "SHARD  ACTION           FROM  TO    BYTES    ETA  REASON",
      "    4  move             n4    n2  1.0 MiB  4.0 s  n4 leaves",
      "   12  transfer_leader  n4    n1      0 B  0.5 s  n4 leaves",
      "imbalance 25.0 % → 3.1 %",
      "n4 is emptied",
      "nothing was changed; exactly this is done by the same command with --plan p9",
      "",
    ]);
    expect(JSON.parse((await bench.kvorum(["rebalance", "--dry-run", "--json"])).out)).toEqual(plan);
  });

  it("blockers say what is in the way, in a dry run and when it is refused", async () => {
    const blockers = [
      { node: "n1", shard: 4, reason: "only two nodes are left" },
      { reason: "start a node" },
    ];
    bench.answer = () => ok({ ...plan, blockers });
    const dry = await bench.kvorum(["nodes", "decommission", "n4", "--dry-run"]);
    expect(dry.out).toContain("in the way:\n  n1, shard 4: only two nodes are left\n  start a node\n");
    expect(dry.out).not.toContain("--plan");
    bench.answer = () => problem(409, "blocked", { blockers, outcome: "not_applied" });
    expect(await bench.kvorum(["nodes", "decommission", "n4"])).toMatchObject({
      code: 1,
      out: "",
      err: "kvorum: blocked: because (not applied)\n  n1, shard 4: only two nodes are left\n  start a node\n",
    });
  });

  it("one without steps says why", async () => {
    bench.answer = () => ok({ plan: "p1", steps: [], blockers: [], reason: "the cluster is balanced" });
    expect((await bench.kvorum(["rebalance"])).out).toBe("nothing to do: the cluster is balanced\n");
  });
});

describe("long work", () => {
  const looks = [
    { state: "running", progress: 0, steps_done: 0, steps_total: 4, eta_ms: 8_000 },
    { state: "running", progress: 0, steps_done: 0, steps_total: 4, eta_ms: 8_000 },
    { state: "running", progress: 0.5, steps_done: 2, steps_total: 4, eta_ms: 4_000, blocked_by: "n4's log" },
    { state: "done", progress: 1, steps_done: 4, steps_total: 4, eta_ms: 0 },
  ];

  it("is followed by lines off a terminal, results apart", async () => {
    operating(...looks);
    expect(await bench.kvorum(["shards", "split", "7"])).toEqual({
      code: 0,
      out: "shard 7 is split\n",
      err: "0 %, 0/4 steps, about 8.0 s left\n50 %, 2/4 steps, about 4.0 s left, waits: n4's log\n",
    });
  });

  it("is a bar on a terminal, which is gone at the end and never wraps", async () => {
    operating(...looks);
    const { err } = await bench.kvorum(["shards", "split", "7"], { terminal: true });
    expect(err).toContain("[############------------] 50 %, 2/4 steps");
    expect(err.endsWith("\r\u001b[K")).toBe(true);
    for (const line of err.split("\r\u001b[K")) expect(line.length).toBeLessThan(80);
  });

  it("is the operation itself for scripts", async () => {
    operating(...looks);
    expect(JSON.parse((await bench.kvorum(["shards", "split", "7", "--json"])).out)).toEqual({
      id: "5",
      ...looks[3],
    });
  });

  it("--no-wait says how to go on", async () => {
    operating(...looks);
    const { out } = await bench.kvorum(["shards", "split", "7", "--no-wait"]);
    expect(out).toBe("operation 5: kvorum operations wait 5\n");
    expect(bench.requests).toHaveLength(1);
    expect(await bench.kvorum(["operations", "wait", "5"])).toMatchObject({
      code: 0,
      out: "operation 5 is done\n",
    });
  });

  it.each([
    { state: "failed", err: "kvorum: operation 5 failed: n4 is down\n" },
    { state: "cancelled", err: "kvorum: operation 5 was cancelled: n4 is down\n" },
  ])("1 when it $state", async ({ state, err }) => {
    operating({ state, detail: "n4 is down" });
    expect(await bench.kvorum(["shards", "split", "7"])).toEqual({ code: 1, out: "", err });
  });

  it("goes on where a look finds no leader of placement", async () => {
    let seen = 0;
    bench.answer = ({ method }) => {
      if (method !== "GET") return ok({ operation: "5" }, 202);
      seen += 1;
      return seen < 4 ? problem(503, "unavailable") : ok({ id: "5", state: "done" });
    };
    expect(await bench.kvorum(["shards", "split", "7"])).toMatchObject({
      code: 0,
      out: "shard 7 is split\n",
    });
  });

  it("ends with 5 when nobody is found for long, with 3 when it is forgotten", async () => {
    bench.answer = ({ method }) =>
      method === "GET" ? problem(503, "unavailable") : ok({ operation: "5" }, 202);
    expect((await bench.kvorum(["shards", "split", "7"])).code).toBe(5);
    bench.answer = () => problem(404, "not_found");
    expect((await bench.kvorum(["operations", "wait", "5"])).code).toBe(3);
  });
});

describe("a change that may have been made", () => {
  it("is asked for again at the next address, under the same id", async () => {
    let first = true;
    bench.answer = () => {
      const broke = first;
      first = false;
      return broke ? "hang up" : ok({ operation: "5", state: "done" }, 202);
    };
    const { code } = await bench.kvorum([
      "shards",
      "split",
      "7",
      "--no-wait",
      "--url",
      `${bench.url},${bench.url}`,
    ]);
    expect(code).toBe(0);
    const ids = bench.requests.map(({ headers }) => headers["idempotency-key"]);
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(1);
  });

  it("stays unknown where the next address only refuses", async () => {
    let first = true;
    bench.answer = () => {
      const broke = first;
      first = false;
      return broke ? "hang up" : problem(503, "unavailable", { outcome: "not_applied" });
    };
    const argv = ["shards", "split", "7", "--url", `${bench.url},${bench.url}`];
    expect((await bench.kvorum(argv)).code).toBe(6);
  });
});

describe("lists", () => {
  it("operations say what they wait for", async () => {
    const items = [
      {
        id: "5",
        kind: "move_replica",
        state: "running",
        progress: 0.456,
        eta_ms: 61_000,
        reason: "r",
        blocked_by: "a turn",
      },
      { id: "4", kind: "split", state: "failed", progress: 1, eta_ms: 0, reason: "r", detail: "no leader" },
    ];
    bench.answer = () => ok({ items, cursor: null });
    const { out } = await bench.kvorum(["operations", "--state", "running"]);
    expect(bench.requests[0]?.url).toBe("/v1/admin/operations?state=running");
    const lines = out.split("\n");
    expect(lines[1]).toMatch(/5 +move_replica +running +45 % +61 s +- +r; waits: a turn$/);
    expect(lines[2]).toMatch(/4 +split +failed +100 % +- +- +r; no leader$/);
  });

  it("shards may be chosen", async () => {
    bench.answer = () => ok({ items: [], cursor: null });
    await bench.kvorum(["shards", "--node", "n1", "--state", "leaderless", "--keyspace", "users"]);
    expect(bench.requests[0]?.url).toBe("/v1/admin/shards?keyspace=users&node=n1&state=leaderless");
  });

  it("keyspaces", async () => {
    bench.answer = () =>
      ok({ items: [{ name: "default", partition: "hash", slots: 256, shards: 16, replicas: 3 }] });
    expect((await bench.kvorum(["keyspaces"])).out).toMatch(/^NAME.*\ndefault +hash +256 +16 +3\n$/);
  });
});

it("why shows the place and the decisions", async () => {
  bench.answer = () =>
    ok({
      shard: 3,
      leader: "n1",
      replicas: ["n1", "n2", "n3"],
      epoch: { version: 2, conf_version: 5 },
      decisions: [{ at: "2026-01-01T00:00:00Z", kind: "split", reason: "256 MiB" }],
    });
  const { out } = await bench.kvorum(["why", "a b", "--keyspace", "users"]);
  expect(bench.requests[0]?.url).toBe("/v1/admin/why?key=a+b&keyspace=users");
  expect(out).toContain("replicas  n1,n2,n3\n");
  expect(out).toContain("2026-01-01T00:00:00Z  split: 256 MiB\n");
});
