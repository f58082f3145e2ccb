import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { commands } from "./commands.ts";
import {
  type Answer,
  type Asked,
  CliBench,
  type Given,
  type Outcome,
  problem as problemOf,
} from "./fixture.ts";

let bench: CliBench;
let requests: readonly Asked[];
let answer: Answer | "hang up";

beforeEach(async () => {
  bench = await CliBench.open();
  requests = bench.requests;
  answer = {};
  bench.answer = () => answer;
});

afterEach(() => bench.close());

const kvorum = (argv: readonly string[], given?: Given): Promise<Outcome> => bench.kvorum(argv, given);
const problem = (status: number, code: string, outcome?: string): Answer =>
  problemOf(status, code, outcome === undefined ? {} : { outcome });

describe("put", () => {
  beforeEach(() => {
    answer = { body: '{"revision":12}' };
  });

  it("takes the value from its argument, stdin or a file", async () => {
    await kvorum(["put", "k", "v1"]);
    await kvorum(["put", "k"], { input: "v2" });
    expect(await kvorum(["put", "k", "--file", "f"], { files: { f: "v3" } })).toMatchObject({
      code: 0,
      out: "revision 12\n",
    });
    expect(requests.map(({ body }) => body)).toEqual(["v1", "v2", "v3"]);
  });

  it("says conditions, type, life time and id as the API wants them", async () => {
    const flags = [
      "--if-revision",
      "7",
      "--content-type",
      "text/plain",
      "--ttl",
      "30s",
      "--id",
      "a1",
      "--timeout",
      "2s",
    ];
    await kvorum(["put", "a/b c", "v", ...flags]);
    expect(requests[0]).toMatchObject({
      method: "PUT",
      url: "/v1/kv/a%2Fb%20c?ttl=30000ms&timeout=2000ms",
      headers: { "if-match": '"7"', "content-type": "text/plain", "idempotency-key": "a1" },
    });
    await kvorum(["put", "k", "v", "--if-absent"]);
    expect(requests[1]?.headers["if-none-match"]).toBe("*");
  });

  it("names keys that a URL library would rewrite by a parameter", async () => {
    await kvorum(["put", "..", "v"]);
    expect(requests[0]?.url).toBe("/v1/kv?key=..");
  });

  it("sends the token of the environment", async () => {
    await kvorum(["put", "k", "v"], { environment: { KVORUM_TOKEN: "secret" } });
    expect(requests[0]?.headers.authorization).toBe("Bearer secret");
  });
});

describe("get", () => {
  beforeEach(() => {
    answer = { body: "hi", headers: { etag: '"5"', "content-type": "text/plain" } };
  });

  it("prints the value as it is, with a newline on a terminal only", async () => {
    expect((await kvorum(["get", "k"])).out).toBe("hi");
    expect((await kvorum(["get", "k"], { terminal: true })).out).toBe("hi\n");
  });

  it("prints a row for scripts", async () => {
    const { out } = await kvorum(["get", "k", "--json"]);
    expect(JSON.parse(out)).toEqual({ key: "k", value: "hi", revision: 5, content_type: "text/plain" });
  });

  it("prints bytes that are no text as base64", async () => {
    answer = { body: Buffer.from([0xff, 0]), headers: { etag: '"5"' } };
    expect(JSON.parse((await kvorum(["get", "k", "--json"])).out)).toMatchObject({
      value: { base64: "/wA=" },
    });
  });

  it("asks for the consistency wanted", async () => {
    await kvorum(["get", "k", "--consistency", "stale", "--max-staleness", "500ms", "--min-revision", "3"]);
    expect(requests[0]?.url).toBe("/v1/kv/k?consistency=stale&max_staleness=500ms&min_revision=3");
  });
});

it("del of an absent key is no failure", async () => {
  answer = { body: '{"deleted":false,"revision":9}' };
  expect(await kvorum(["del", "k"])).toMatchObject({ code: 0, out: "was absent\n" });
});

describe("exit codes", () => {
  it.each([
    { name: "absent", argv: ["get", "k"], answer: problem(404, "not_found"), code: 3 },
    {
      name: "a condition did not hold",
      argv: ["put", "k", "v"],
      answer: problem(412, "precondition_failed"),
      code: 4,
    },
    {
      name: "unavailable",
      argv: ["put", "k", "v"],
      answer: problem(503, "unavailable", "not_applied"),
      code: 5,
    },
    { name: "too busy", argv: ["put", "k", "v"], answer: problem(429, "too_busy", "not_applied"), code: 5 },
    {
      name: "unavailable, perhaps done",
      argv: ["put", "k", "v"],
      answer: problem(503, "unavailable", "unknown"),
      code: 6,
    },
    {
      name: "a write timed out",
      argv: ["put", "k", "v"],
      answer: problem(504, "timeout", "unknown"),
      code: 6,
    },
    { name: "a read timed out", argv: ["get", "k"], answer: problem(504, "timeout"), code: 5 },
    {
      name: "refused for good",
      argv: ["put", "k", "v"],
      answer: problem(413, "value_too_large", "not_applied"),
      code: 1,
    },
    { name: "a write broke off", argv: ["put", "k", "v"], answer: "hang up" as const, code: 6 },
    { name: "a read broke off", argv: ["get", "k"], answer: "hang up" as const, code: 5 },
  ])("$code: $name", async ({ argv, answer: given, code }) => {
    answer = given;
    const outcome = await kvorum(argv);
    expect(outcome).toMatchObject({ code, out: "" });
    expect(outcome.err).toMatch(/^kvorum: [^\n]+\n$/);
  });

  it("5: nobody there", async () => {
    expect(await kvorum(["put", "k", "v", "--url", "http://127.0.0.1:1"])).toMatchObject({ code: 5 });
  });

  it.each([
    { argv: ["get"], names: "key" },
    { argv: ["get", "k", "l"], names: "too many arguments" },
    { argv: ["get", "k", "--nope"], names: "--nope" },
    { argv: ["gett", "k"], names: "gett" },
    { argv: ["get", ""], names: "key" },
    { argv: ["get", "k".repeat(4097)], names: "4096" },
    { argv: ["put", "k", "v", "--ttl", "30"], names: "--ttl" },
    { argv: ["put", "k", "v", "--file", "f"], names: "--file" },
    { argv: ["put", "k", "v", "--if-absent", "--if-revision", "3"], names: "--if-absent" },
    { argv: ["get", "k", "--url", "localhost:7401"], names: "--url" },
    { argv: ["get", "k", "--config", "missing.json"], names: "config file" },
    { argv: ["nodes", "shwo", "n1"], names: "shwo" },
    { argv: ["dev", "--replicas", "2"], names: "--replicas" },
    { argv: ["dev", "--nodes", "0"], names: "--nodes" },
    { argv: ["dev", "extra"], names: "too many arguments" },
    { argv: ["dev", "--data", "d", "--ephemeral"], names: "--ephemeral" },
    { argv: ["node", "--name", "n1"], names: "--http" },
    { argv: ["node", "--name", "N 1"], names: "--name" },
    {
      argv: ["router", "--cluster", "c", "--nats", "nats://h", "--http", "0.0.0.0:1"],
      names: "--token-file",
    },
    { argv: ["completion", "tcsh"], names: "tcsh" },
    { argv: [], names: "Usage" },
  ])("2: $argv names $names", async ({ argv, names }) => {
    const { code, err } = await kvorum(argv);
    expect(code).toBe(2);
    expect(err).toContain(names);
    expect(requests).toEqual([]);
  });

  it("2: a bad variable and an unknown key are named", async () => {
    expect((await kvorum(["get", "k"], { environment: { KVORUM_TIMEOUT: "1" } })).err).toContain(
      "KVORUM_TIMEOUT",
    );
    const given = { files: { "c.json": '{"nodez":3}' } };
    expect((await kvorum(["get", "k", "--config", "c.json"], given)).err).toContain("unknown key nodez");
  });
});

describe("several URLs", () => {
  it("are tried in turn where nothing was done", async () => {
    answer = { body: '{"revision":1}' };
    expect(await kvorum(["put", "k", "v", "--url", `http://127.0.0.1:1,${bench.url}`])).toMatchObject({
      code: 0,
    });
  });

  it("a write that may have been done is not tried a second time", async () => {
    answer = "hang up";
    expect(await kvorum(["put", "k", "v", "--url", `${bench.url},${bench.url}`])).toMatchObject({ code: 6 });
    expect(requests.length).toBe(1);
  });

  it("a read is", async () => {
    answer = "hang up";
    expect(await kvorum(["get", "k", "--url", `${bench.url},${bench.url}`])).toMatchObject({ code: 5 });
    expect(requests.length).toBe(2);
  });
});

describe("lists", () => {
  const shards = [
    {
      id: 1,
      leader: "n1",
      replicas: [
        { node: "n1", role: "voter" },
        { node: "n2", role: "learner" },
      ],
      bytes: 2048,
    },
    { id: 12, leader: null, replicas: [], health: "leaderless" },
  ];

  beforeEach(() => {
    answer = { body: JSON.stringify({ items: shards, cursor: null }) };
  });

  it("are tables for people", async () => {
    const lines = (await kvorum(["shards"])).out.split("\n");
    expect(lines[0]).toMatch(/^ID {2}KEYSPACE/);
    expect(lines[1]).toMatch(/^ 1 .* n1,n2\(learner\) .* 2\.0 KiB/);
    expect(lines[2]).toMatch(/^12 .* leaderless$/);
  });

  it("are a row a line for scripts", async () => {
    const { out } = await kvorum(["shards", "--json"]);
    expect(
      out
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual(shards);
  });
});

describe("commands about the command", () => {
  it.each(["bash", "zsh", "fish"])("completion %s knows every command", async (shell) => {
    const { code, out } = await kvorum(["completion", shell]);
    expect(code).toBe(0);
    for (const { name } of commands) expect(out).toContain(name);
  });

  it("version", async () => {
    expect((await kvorum(["version"])).out).toMatch(/^kvorum \d+\.\d+\.\d+ \(Node /);
  });

  it.each(commands.map(({ name }) => name))(
    "%s --help ends with 0 and names each flag's variable",
    async (name) => {
      const { code, out } = await kvorum([name, "--help"]);
      expect(code).toBe(0);
      expect(out).toContain("KVORUM_CONFIG");
    },
  );
});
