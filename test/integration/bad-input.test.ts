import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "./support/cluster.ts";
import { type RawReply, raw } from "./support/raw.ts";
import { Scope } from "./support/scope.ts";

const scope = new Scope();
let port: number;

beforeAll(async () => {
  const folder = scope.folder();
  const cluster = await Cluster.whole({ folder, shards: 4, defer: (end) => scope.defer(end) });
  port = cluster.member("n2").client.port;
});

afterAll(() => scope.end());

interface Case {
  readonly name: string;
  /** Method and target. */
  readonly line: string;
  readonly headers?: readonly string[];
  readonly body?: Uint8Array | string;
  readonly want: { readonly status: number; readonly code: string };
  /** Of headers of the answer, lower-case names. */
  readonly and?: Readonly<Record<string, string | RegExp>>;
}

function send({ line, headers = [], body = "" }: Omit<Case, "name" | "want">): Promise<RawReply> {
  const host = headers.some((field) => /^host:/i.test(field)) ? [] : [`Host: 127.0.0.1:${port}`];
  const length = body.length === 0 ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
  return raw(port, [`${line} HTTP/1.1`, ...host, ...headers, ...length], body);
}

const longKey = "k".repeat(4097);
const mebibyte = 2 ** 20;

const cases: readonly Case[] = [
  { name: "an empty key", line: "PUT /v1/kv/", body: "x", want: { status: 400, code: "key_empty" } },
  { name: "no key at all", line: "GET /v1/kv", want: { status: 400, code: "key_empty" } },
  { name: "an empty key in the query", line: "GET /v1/kv?key=", want: { status: 400, code: "key_empty" } },
  {
    name: "a key of 4,097 bytes",
    line: `PUT /v1/kv/${longKey}`,
    body: "x",
    want: { status: 400, code: "key_too_large" },
  },
  {
    name: "a key of 4,097 escaped bytes",
    line: `GET /v1/kv/${"%41".repeat(4097)}`,
    want: { status: 400, code: "key_too_large" },
  },
  {
    name: "an escape that is none",
    line: "PUT /v1/kv/%zz",
    body: "x",
    want: { status: 400, code: "bad_request" },
  },
  { name: "an escape cut short", line: "GET /v1/kv/a%4", want: { status: 400, code: "bad_request" } },
  {
    name: "a value above 1 MiB",
    line: "PUT /v1/kv/big",
    body: randomBytes(mebibyte + 1),
    want: { status: 413, code: "value_too_large" },
  },
  {
    name: "an unknown parameter",
    line: "PUT /v1/kv/a?colour=red",
    body: "x",
    want: { status: 400, code: "bad_parameter" },
  },
  {
    name: "an unknown parameter of a read",
    line: "GET /v1/kv/a?colour=red",
    want: { status: 400, code: "bad_parameter" },
  },
  {
    name: "a repeated parameter",
    line: "GET /v1/kv/a?timeout=1s&timeout=1s",
    want: { status: 400, code: "bad_parameter" },
  },
  {
    name: "a bad timeout",
    line: "PUT /v1/kv/a?timeout=soon",
    body: "x",
    want: { status: 400, code: "bad_parameter" },
  },
  {
    name: "a timeout above a minute",
    line: "GET /v1/kv/a?timeout=61s",
    want: { status: 400, code: "bad_parameter" },
  },
  {
    name: "an unknown consistency",
    line: "GET /v1/kv/a?consistency=perfect",
    want: { status: 400, code: "bad_parameter" },
  },
  {
    name: "a bad revision floor",
    line: "GET /v1/kv/a?min_revision=-1",
    want: { status: 400, code: "bad_parameter" },
  },
  {
    name: "a condition without quotes",
    line: "PUT /v1/kv/a",
    headers: ["If-Match: 12"],
    body: "x",
    want: { status: 400, code: "bad_request" },
  },
  {
    name: "a condition of a revision that never was",
    line: "DELETE /v1/kv/a",
    headers: ['If-Match: "abc"'],
    want: { status: 412, code: "precondition_failed" },
  },
  {
    name: "a content encoding",
    line: "PUT /v1/kv/a",
    headers: ["Content-Encoding: gzip"],
    body: "x",
    want: { status: 415, code: "unsupported_media_type" },
  },
  {
    name: "a content range",
    line: "PUT /v1/kv/a",
    headers: ["Content-Range: bytes 0-0/1"],
    body: "x",
    want: { status: 400, code: "bad_request" },
  },
  {
    name: "a content type that is too long",
    line: "PUT /v1/kv/a",
    headers: [`Content-Type: text/${"x".repeat(129)}`],
    body: "x",
    want: { status: 400, code: "bad_request" },
  },
  {
    name: "a method the resource does not take",
    line: "PATCH /v1/kv/a",
    body: "x",
    want: { status: 405, code: "method_not_allowed" },
    and: { allow: /GET.*PUT|PUT.*GET/ },
  },
  {
    name: "a write to the admin's lists",
    line: "PUT /v1/admin/shards",
    body: "x",
    want: { status: 405, code: "method_not_allowed" },
    and: { allow: /GET/ },
  },
  { name: "an unknown route", line: "GET /v2/kv/a", want: { status: 404, code: "no_such_route" } },
  {
    name: "a keyspace that is not there",
    line: "GET /v1/ks/elsewhere/kv/a",
    want: { status: 404, code: "no_such_keyspace" },
  },
  {
    name: "a keyspace that is not there, written to",
    line: "PUT /v1/ks/elsewhere/kv/a",
    body: "x",
    want: { status: 404, code: "no_such_keyspace" },
  },
  {
    name: "a shard that is not there",
    line: "GET /v1/admin/shards/99999",
    want: { status: 404, code: "not_found" },
  },
  {
    name: "a node that is not there",
    line: "GET /v1/admin/nodes/nobody",
    want: { status: 404, code: "not_found" },
  },
  {
    name: "a request line above 64 KiB",
    line: `GET /v1/kv/${"a".repeat(65_600)}`,
    want: { status: 414, code: "uri_too_long" },
  },
  {
    name: "headers above 64 KiB",
    line: "GET /v1/kv/a",
    headers: [`X-Much: ${"y".repeat(65_600)}`],
    want: { status: 431, code: "headers_too_large" },
  },
  {
    name: "another site's name as Host",
    line: "GET /v1/kv/a",
    headers: ["Host: evil.example"],
    want: { status: 403, code: "forbidden" },
  },
  {
    name: "a page of another site",
    line: "PUT /v1/kv/a",
    headers: ["Origin: https://evil.example"],
    body: "x",
    want: { status: 403, code: "forbidden" },
  },
  {
    name: "an Accept that no error's and no value's type meets",
    line: "GET /v1/admin/shards",
    headers: ["Accept: image/png"],
    want: { status: 406, code: "not_acceptable" },
  },
  { name: "a key that is absent", line: "GET /v1/kv/absent", want: { status: 404, code: "not_found" } },
  {
    name: "a condition that does not hold",
    line: "PUT /v1/kv/absent",
    headers: ['If-Match: "1"'],
    body: "x",
    want: { status: 412, code: "precondition_failed" },
  },
];

describe("bad input over the real server", () => {
  it.each(cases)("$name: $want.status $want.code", async (one) => {
    const reply = await send(one);
    expect({ status: reply.status, code: reply.headers.get("kvorum-code") }).toEqual(one.want);
    expect(reply.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    expect(reply.headers.get("kvorum-request-id")).toMatch(/./);
    const problem = JSON.parse(reply.body);
    expect(problem).toMatchObject({
      type: `/docs/errors#${one.want.code}`,
      title: expect.stringMatching(/./),
      status: one.want.status,
      code: one.want.code,
      detail: expect.stringMatching(/./),
      retryable: false,
      request_id: reply.headers.get("kvorum-request-id"),
    });
    expect(problem.outcome).toBe(/^(GET|HEAD) /.test(one.line) ? undefined : "not_applied");
    for (const [name, want] of Object.entries(one.and ?? {})) expect(reply.headers.get(name)).toMatch(want);
  });

  it("names the parameter it does not take", async () => {
    const reply = await send({ line: "GET /v1/kv/a?colour=red" });
    expect(JSON.parse(reply.body).detail).toContain("colour");
  });

  it("says the code of a HEAD's error in a header alone", async () => {
    const reply = await send({ line: "HEAD /v1/kv/absent" });
    expect({ status: reply.status, code: reply.headers.get("kvorum-code"), body: reply.body }).toEqual({
      status: 404,
      code: "not_found",
      body: "",
    });
  });

  it("gives the caller's request id back", async () => {
    const reply = await send({ line: "GET /v1/kv/absent", headers: ["X-Request-Id: abc-123"] });
    expect(reply.headers.get("kvorum-request-id")).toBe("abc-123");
    expect(JSON.parse(reply.body).request_id).toBe("abc-123");
  });
});

describe("odd but good input", () => {
  it.each([
    { name: "a zero byte", path: "/v1/kv/%00" },
    { name: "a byte that is no UTF-8", path: "/v1/kv/%ff%fe" },
    { name: "slashes", path: "/v1/kv//a//b/" },
    { name: "an escaped slash and percent", path: "/v1/kv/a%2Fb%25c" },
    { name: "two dots in the query", path: "/v1/kv?key=.." },
    { name: "two dots on the way", path: "/v1/kv/../x" },
    { name: "a key of 4,096 escaped bytes", path: `/v1/kv/${"%e4".repeat(4096)}` },
  ])("$name is a key", async ({ path }) => {
    const value = `value of ${path.slice(0, 40)}`;
    const put = await send({ line: `PUT ${path}`, body: value });
    expect({ status: put.status, body: put.body }).toMatchObject({ status: 200 });
    const got = await send({ line: `GET ${path}` });
    expect({ status: got.status, body: got.body }).toEqual({ status: 200, body: value });
    expect((await send({ line: `DELETE ${path}` })).body).toContain('"deleted":true');
    expect((await send({ line: `GET ${path}` })).status).toBe(404);
  });

  it("`..` in the query, a plus there, and escapes name one key with the path's", async () => {
    expect((await send({ line: "PUT /v1/kv?key=a+b%2Fc", body: "same" })).status).toBe(200);
    expect((await send({ line: "GET /v1/kv/a%20b/c" })).body).toBe("same");
  });

  it("an empty value and one of 1 MiB are values", async () => {
    for (const value of [Buffer.alloc(0), Buffer.alloc(mebibyte, "x")]) {
      const headers = value.length === 0 ? ["Content-Length: 0"] : [];
      expect((await send({ line: "PUT /v1/kv/sized", headers, body: value })).status).toBe(200);
      expect(Buffer.byteLength((await send({ line: "GET /v1/kv/sized" })).body)).toBe(value.length);
    }
  });

  it("dates and ranges as conditions are ignored", async () => {
    const headers = ["If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT"];
    expect((await send({ line: "PUT /v1/kv/dated", headers, body: "kept whole" })).status).toBe(200);
    const got = await send({ line: "GET /v1/kv/dated", headers: ["Range: bytes=0-1"] });
    expect({ status: got.status, body: got.body }).toEqual({ status: 200, body: "kept whole" });
  });
});

it("after all that the server serves", async () => {
  expect((await send({ line: "PUT /v1/kv/a", body: "x" })).status).toBe(200);
  expect((await send({ line: "GET /healthz" })).status).toBe(200);
});
