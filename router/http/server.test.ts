import { connect } from "node:net";
import type { InjectOptions } from "fastify";
import { afterEach, describe, expect, it } from "vitest";
import { type Code, errorCodes } from "#proto";
import type { ReadOutcome, WriteOutcome } from "#router/routing";
import { parseTokenFile, type TokenRule } from "./access.ts";
import { HttpBench, rawRequest } from "./fixture.ts";

const benches: HttpBench[] = [];
function bench(...args: ConstructorParameters<typeof HttpBench>): HttpBench {
  const made = new HttpBench(...args);
  benches.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(benches.splice(0).map((made) => made.server.close(100)));
});

const local = { host: "localhost:7401" };
const served = { shard: 7, servedBy: 2, attempts: 1 };

describe("PUT", () => {
  it("hands key, value, type and condition on, and answers revision and ETag", async () => {
    const { server, writes } = bench();
    const answer = await server.inject({
      method: "PUT",
      url: "/v1/kv/a/b%00?timeout=2s",
      headers: { ...local, "content-type": "text/weird; x=y", "if-match": '"5"' },
      payload: "hello",
    });
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({ revision: 42 });
    expect(answer.headers).toMatchObject({
      etag: '"42"',
      "kvorum-shard": "7",
      "kvorum-served-by": "n2",
      "content-type": "application/json",
    });
    expect(answer.headers["kvorum-request-id"]).toBeTruthy();
    expect(answer.headers["date"]).toBeTruthy();
    const [intent] = writes;
    expect(intent).toMatchObject({ keyspace: "default", timeoutMs: 2_000 });
    expect(Buffer.from(intent!.key).toString()).toBe("a/b\0");
    expect(intent!.operation).toMatchObject({
      kind: "put",
      contentType: "text/weird; x=y",
      condition: { match: [5] },
    });
    expect(Buffer.from((intent!.operation as { value: Uint8Array }).value).toString()).toBe("hello");
  });

  it.each([
    { name: "no type and no body", headers: {}, payload: "", type: "application/octet-stream", bytes: 0 },
    { name: "no type", headers: {}, payload: Buffer.from("x"), type: "application/octet-stream", bytes: 1 },
    {
      name: "a type that is none",
      headers: { "content-type": "nonsense" },
      payload: "x",
      type: "nonsense",
      bytes: 1,
    },
    {
      name: "JSON stays bytes",
      headers: { "content-type": "application/json" },
      payload: "{bad",
      type: "application/json",
      bytes: 4,
    },
  ])("$name", async ({ headers, payload, type, bytes }) => {
    const { server, writes } = bench();
    const { port } = await server.listen("127.0.0.1", 0);
    const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const answer = await rawRequest(
      port,
      `PUT /v1/kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${bytes}\r\n${head.join("")}\r\n${payload}`,
    );
    expect(answer.status).toBe(200);
    expect(writes[0]?.operation).toMatchObject({ kind: "put", contentType: type });
    expect((writes[0]!.operation as { value: Uint8Array }).value).toHaveLength(bytes);
  });

  it("the condition that did not hold is told with the present revision, or none", async () => {
    const made = bench();
    const { server } = made;
    made.onWrite = () => ({ kind: "precondition_failed", revision: 9, ...served });
    const answer = await server.inject({
      method: "PUT",
      url: "/v1/kv/k",
      headers: { ...local, "if-match": "*" },
    });
    expect(answer.statusCode).toBe(412);
    expect(answer.headers["etag"]).toBe('"9"');
    expect(answer.json()).toMatchObject({ code: "precondition_failed", revision: 9, outcome: "not_applied" });
    made.onWrite = () => ({ kind: "precondition_failed", revision: 0, ...served });
    const absent = await server.inject({ method: "PUT", url: "/v1/kv/k", headers: local });
    expect(absent.headers["etag"]).toBeUndefined();
  });

  it.each<{ outcome: WriteOutcome; status: number; want: object; retryAfter?: string }>([
    {
      outcome: {
        kind: "failed",
        code: "unavailable",
        detail: "d",
        outcome: "not_applied",
        retryAfterMs: 1_000,
        attempts: 3,
      },
      status: 503,
      want: { outcome: "not_applied", retryable: true, retry_after_ms: 1_000 },
      retryAfter: "1",
    },
    {
      outcome: { kind: "failed", code: "timeout", detail: "d", outcome: "unknown", attempts: 3, shard: 7 },
      status: 504,
      want: { outcome: "unknown" },
    },
    {
      outcome: {
        kind: "failed",
        code: "too_busy",
        detail: "d",
        outcome: "not_applied",
        retryAfterMs: 200,
        attempts: 1,
      },
      status: 429,
      want: { outcome: "not_applied", retry_after_ms: 200 },
      retryAfter: "1",
    },
    {
      outcome: { kind: "failed", code: "storage_full", detail: "d", outcome: "not_applied", attempts: 1 },
      status: 507,
      want: { outcome: "not_applied" },
    },
  ])("a failure with code $outcome.code is told whole", async ({ outcome, status, want, retryAfter }) => {
    const made = bench();
    made.onWrite = () => outcome;
    const answer = await made.server.inject({
      method: "PUT",
      url: "/v1/kv/k",
      headers: { ...local, "x-request-id": "me-1" },
    });
    expect(answer.statusCode).toBe(status);
    expect(answer.headers["content-type"]).toBe("application/problem+json");
    expect(answer.headers["retry-after"]).toBe(retryAfter);
    const { code } = outcome as { code: Code };
    expect(answer.headers["kvorum-code"]).toBe(code);
    expect(answer.json()).toMatchObject({
      type: `/docs/errors#${code}`,
      title: errorCodes[code].title,
      status,
      code,
      detail: "d",
      request_id: "me-1",
      ...want,
    });
  });
});

describe("DELETE", () => {
  it("answers whether something was there, and its own stamp", async () => {
    const made = bench();
    made.onWrite = () => ({ kind: "deleted", deleted: true, revision: 50, ...served });
    const answer = await made.server.inject({
      method: "DELETE",
      url: "/v1/kv/k",
      headers: { ...local, "if-match": '"4"' },
    });
    expect(answer.json()).toEqual({ deleted: true, revision: 50 });
    expect(made.writes[0]?.operation).toEqual({ kind: "delete", condition: { match: [4] } });
  });
});

describe("GET and HEAD", () => {
  it("the value with its type, revision and the headers that keep browsers from running it", async () => {
    const { server, reads } = bench();
    const answer = await server.inject({ method: "GET", url: "/v1/kv/k", headers: local });
    expect(answer.statusCode).toBe(200);
    expect(answer.body).toBe("value");
    expect(answer.headers).toMatchObject({
      etag: '"42"',
      "content-type": "text/plain",
      "content-length": "5",
      "x-content-type-options": "nosniff",
      "content-security-policy": "sandbox; default-src 'none'",
      "cache-control": "no-cache",
      "kvorum-shard": "7",
      "kvorum-served-by": "n2",
    });
    expect(reads[0]).toEqual({
      keyspace: "default",
      key: Buffer.from("k"),
      timeoutMs: 5_000,
      consistency: "linearizable",
    });
  });

  it("HEAD has the same headers and no body, for errors the code in a header", async () => {
    const made = bench();
    const answer = await made.server.inject({ method: "HEAD", url: "/v1/kv/k", headers: local });
    expect(answer.body).toBe("");
    expect(answer.headers).toMatchObject({ etag: '"42"', "content-length": "5" });
    made.onRead = () => ({ kind: "absent", ...served });
    const absent = await made.server.inject({ method: "HEAD", url: "/v1/kv/k", headers: local });
    expect(absent.statusCode).toBe(404);
    expect(absent.body).toBe("");
    expect(absent.headers["kvorum-code"]).toBe("not_found");
  });

  it("a missing key is a problem without an outcome", async () => {
    const made = bench();
    made.onRead = () => ({ kind: "absent", ...served });
    const answer = await made.server.inject({ method: "GET", url: "/v1/kv/k", headers: local });
    expect(answer.statusCode).toBe(404);
    expect(answer.json()).not.toHaveProperty("outcome");
    expect(answer.headers["kvorum-shard"]).toBe("7");
  });

  it("reads from another keyspace, by query, with + as a space", async () => {
    const { server, reads } = bench();
    await server.inject({ method: "GET", url: "/v1/ks/other/kv?key=a+b%2B", headers: local });
    expect(reads[0]).toMatchObject({ keyspace: "other" });
    expect(Buffer.from(reads[0]!.key).toString()).toBe("a b+");
  });

  it.each([
    { query: "consistency=stale", want: { consistency: "stale" } },
    { query: "consistency=leader", want: { consistency: "leader" } },
    { query: "max_staleness=500ms", want: { consistency: "stale", maxStalenessMs: 500 } },
    { query: "min_revision=7", want: { consistency: "stale", minRevision: 7 } },
    { query: "consistency=linearizable&min_revision=7", want: { consistency: "linearizable" } },
    { query: "timeout=60s", want: { timeoutMs: 60_000 } },
  ])("$query", async ({ query, want }) => {
    const { server, reads } = bench();
    const answer = await server.inject({ method: "GET", url: `/v1/kv/k?${query}`, headers: local });
    expect(answer.statusCode).toBe(200);
    expect(reads[0]).toMatchObject(want);
  });

  it.each<{ name: string; headers: Record<string, string>; found: boolean; status: number }>([
    { name: "its own revision", headers: { "if-none-match": '"42"' }, found: true, status: 304 },
    { name: "a list with it", headers: { "if-none-match": '"1", W/"42"' }, found: true, status: 304 },
    { name: "any", headers: { "if-none-match": "*" }, found: true, status: 304 },
    { name: "another revision", headers: { "if-none-match": '"41"' }, found: true, status: 200 },
    { name: "If-Match that holds", headers: { "if-match": '"42"' }, found: true, status: 200 },
    { name: "If-Match that does not", headers: { "if-match": '"41"' }, found: true, status: 412 },
    { name: "If-Match of an absent key", headers: { "if-match": "*" }, found: false, status: 412 },
    { name: "If-None-Match of an absent key", headers: { "if-none-match": "*" }, found: false, status: 404 },
    {
      name: "dates are ignored",
      headers: { "if-modified-since": "x", range: "bytes=0-1" },
      found: true,
      status: 200,
    },
  ])("$name: $status", async ({ headers, found, status }) => {
    const made = bench();
    if (!found) made.onRead = () => ({ kind: "absent", ...served });
    const answer = await made.server.inject({
      method: "GET",
      url: "/v1/kv/k",
      headers: { ...local, ...headers },
    });
    expect(answer.statusCode).toBe(status);
    if (status === 304) {
      expect(answer.body).toBe("");
      expect(answer.headers["etag"]).toBe('"42"');
    }
  });

  it("a stale read says how stale, a value with a TTL when it ends, a traced one how long it took", async () => {
    const made = bench();
    const stored = { revision: 1, contentType: "a/b", value: Buffer.alloc(0), expiresMs: 1_700_000_000_000 };
    made.onRead = (): ReadOutcome => ({ kind: "found", stored, stalenessMs: 12.3, ...served });
    const answer = await made.server.inject({
      method: "GET",
      url: "/v1/kv/k",
      headers: { ...local, "kvorum-trace": "1" },
    });
    expect(answer.headers).toMatchObject({
      "kvorum-staleness-ms": "13",
      "kvorum-expires": "2023-11-14T22:13:20.000Z",
      "content-length": "0",
    });
    expect(answer.headers["server-timing"]).toMatch(/^total;dur=[\d.]+, shard;desc="7"$/);
  });
});

interface BadRow {
  name: string;
  request: InjectOptions;
  status: number;
  code: Code;
  detail?: string;
  headers?: object;
}

describe("bad input", () => {
  const long = "x".repeat(4097);
  it.each<BadRow>([
    { name: "no key", request: { url: "/v1/kv" }, status: 400, code: "key_empty" },
    { name: "no key behind the slash", request: { url: "/v1/kv/" }, status: 400, code: "key_empty" },
    { name: "an empty key", request: { url: "/v1/kv?key=" }, status: 400, code: "key_empty" },
    { name: "a long key", request: { url: `/v1/kv/${long}` }, status: 400, code: "key_too_large" },
    {
      name: "a long key, put",
      request: { method: "PUT", url: `/v1/kv/${long}` },
      status: 400,
      code: "key_too_large",
    },
    {
      name: "a badly escaped query",
      request: { url: "/v1/kv?key=%zz" },
      status: 400,
      code: "bad_parameter",
      detail: '"key"',
    },
    {
      name: "an unknown parameter",
      request: { url: "/v1/kv/k?x=1" },
      status: 400,
      code: "bad_parameter",
      detail: '"x"',
    },
    {
      name: "ttl, not known here",
      request: { method: "PUT", url: "/v1/kv/k?ttl=5s" },
      status: 400,
      code: "bad_parameter",
      detail: '"ttl"',
    },
    {
      name: "a read's parameter on a write",
      request: { method: "PUT", url: "/v1/kv/k?consistency=stale" },
      status: 400,
      code: "bad_parameter",
    },
    {
      name: "a repeated parameter",
      request: { url: "/v1/kv/k?timeout=1s&timeout=1s" },
      status: 400,
      code: "bad_parameter",
      detail: '"timeout"',
    },
    { name: "a key twice over", request: { url: "/v1/kv/k?key=k" }, status: 400, code: "bad_parameter" },
    {
      name: "a timeout without unit",
      request: { url: "/v1/kv/k?timeout=5" },
      status: 400,
      code: "bad_parameter",
    },
    {
      name: "a timeout too long",
      request: { url: "/v1/kv/k?timeout=61s" },
      status: 400,
      code: "bad_parameter",
    },
    { name: "no time at all", request: { url: "/v1/kv/k?timeout=0ms" }, status: 400, code: "bad_parameter" },
    {
      name: "an unknown consistency",
      request: { url: "/v1/kv/k?consistency=strong" },
      status: 400,
      code: "bad_parameter",
    },
    {
      name: "a bad revision",
      request: { url: "/v1/kv/k?min_revision=-1" },
      status: 400,
      code: "bad_parameter",
    },
    {
      name: "a bad staleness",
      request: { url: "/v1/kv/k?max_staleness=1" },
      status: 400,
      code: "bad_parameter",
    },
    {
      name: "a condition without quotes",
      request: { url: "/v1/kv/k", headers: { "if-none-match": "5" } },
      status: 400,
      code: "bad_request",
    },
    {
      name: "the same on a write",
      request: { method: "PUT", url: "/v1/kv/k", headers: { "if-match": "5" } },
      status: 400,
      code: "bad_request",
    },
    {
      name: "part of a value",
      request: { method: "PUT", url: "/v1/kv/k", headers: { "content-range": "bytes 0-1/2" } },
      status: 400,
      code: "bad_request",
    },
    {
      name: "an encoded value",
      request: { method: "PUT", url: "/v1/kv/k", headers: { "content-encoding": "gzip" } },
      status: 415,
      code: "unsupported_media_type",
    },
    {
      name: "a long type",
      request: {
        method: "PUT",
        url: "/v1/kv/k",
        headers: { "content-type": `a/${"b".repeat(127)}` },
        payload: "v",
      },
      status: 400,
      code: "bad_request",
    },
    {
      name: "an id that cannot be kept",
      request: { method: "PUT", url: "/v1/kv/k", headers: { "idempotency-key": "x" } },
      status: 400,
      code: "bad_parameter",
      detail: "Idempotency-Key",
    },
    {
      name: "a keyspace's bad name",
      request: { url: "/v1/ks/Nope/kv/k" },
      status: 404,
      code: "no_such_keyspace",
    },
    {
      name: "a value too large",
      request: { method: "PUT", url: "/v1/kv/k", payload: Buffer.alloc(1024 * 1024 + 1) },
      status: 413,
      code: "value_too_large",
    },
    {
      name: "a method it does not take",
      request: { method: "POST", url: "/v1/kv/k" },
      status: 405,
      code: "method_not_allowed",
      headers: { allow: "GET, HEAD, PUT, DELETE, OPTIONS" },
    },
    {
      name: "the same for admin",
      request: { method: "DELETE", url: "/v1/admin/nodes" },
      status: 405,
      code: "method_not_allowed",
      headers: { allow: "GET, HEAD, OPTIONS" },
    },
    { name: "no such path", request: { url: "/v2" }, status: 404, code: "no_such_route" },
    {
      name: "no such path, put",
      request: { method: "PUT", url: "/v1/keys/a", payload: "x" },
      status: 404,
      code: "no_such_route",
    },
    { name: "a path under an internal name", request: { url: "/key" }, status: 404, code: "no_such_route" },
    {
      name: "a foreign host",
      request: { url: "/v1/kv/k", headers: { host: "evil.example" } },
      status: 403,
      code: "forbidden",
    },
    {
      name: "a foreign origin",
      request: { url: "/v1/kv/k", headers: { origin: "http://evil.example" } },
      status: 403,
      code: "forbidden",
    },
    {
      name: "JSON not wanted",
      request: { url: "/v1/admin/nodes", headers: { accept: "image/png" } },
      status: 406,
      code: "not_acceptable",
    },
    {
      name: "a parameter where none are",
      request: { url: "/healthz?x=1" },
      status: 400,
      code: "bad_parameter",
    },
    { name: "a shard's bad id", request: { url: "/v1/admin/shards/x" }, status: 404, code: "not_found" },
    { name: "a bad limit", request: { url: "/v1/admin/shards?limit=0" }, status: 400, code: "bad_parameter" },
    { name: "locate without a key", request: { url: "/v1/admin/locate" }, status: 400, code: "key_empty" },
  ])("$name: $status $code", async ({ request, status, code, detail, headers }) => {
    const made = bench();
    const method = request.method ?? "GET";
    const answer = await made.server.inject({
      ...request,
      method,
      headers: { ...local, ...request.headers },
    });
    expect({ status: answer.statusCode, code: answer.json().code }).toEqual({ status, code });
    expect(answer.headers["kvorum-code"]).toBe(code);
    expect(answer.headers["kvorum-served-by"]).toBe("n1");
    if (detail !== undefined) expect(answer.json().detail).toContain(detail);
    if (headers !== undefined) expect(answer.headers).toMatchObject(headers);
    const isWrite = method !== "GET" && /^\/v1\/(kv|ks|admin)\b/.test(String(request.url));
    expect(answer.json().outcome).toBe(isWrite ? "not_applied" : undefined);
    expect([...made.writes, ...made.reads]).toEqual([]);
  });

  it("a fault inside is a problem of code internal, outcome unknown", async () => {
    const made = bench();
    made.onWrite = () => {
      throw new Error("oops");
    };
    const answer = await made.server.inject({ method: "PUT", url: "/v1/kv/k", headers: local, payload: "v" });
    expect(answer.json()).toMatchObject({ code: "internal", outcome: "unknown" });
    expect(answer.body).not.toContain("oops");
  });
});

describe("over a socket", () => {
  it.each([
    { name: "an escape cut short", path: "/v1/kv/%f", status: 400, code: "bad_request" },
    { name: "an escape that is none", path: "/v1/kv/%zz", status: 400, code: "bad_request" },
    { name: "any byte, escaped", path: "/v1/kv/%ff%00", status: 200, code: undefined },
    { name: "dots are not resolved", path: "/v1/kv/../../x", status: 200, code: undefined },
    { name: "bytes above ASCII as they are", path: "/v1/kv/\xe9", status: 400, code: "bad_request" },
    { name: "the absolute form", path: "http://localhost/v1/kv/a", status: 200, code: undefined },
    { name: "a long URL", path: `/v1/kv?key=${"x".repeat(70_000)}`, status: 414, code: "uri_too_long" },
    { name: "a very long URL", path: `/v1/kv/${"x".repeat(400_000)}`, status: 414, code: "uri_too_long" },
    { name: "a space in it", path: "/v1/kv/a b", status: 400, code: "bad_request" },
  ])("$name: $status", async ({ path, status, code }) => {
    const { server, reads } = bench();
    const { port } = await server.listen("127.0.0.1", 0);
    const text = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`, "latin1");
    const answer = await rawRequest(port, text);
    expect({ status: answer.status, code: answer.headers["kvorum-code"] }).toEqual({ status, code });
    expect(reads).toHaveLength(status === 200 ? 1 : 0);
    if (path.endsWith("%00")) expect([...reads[0]!.key]).toEqual([0xff, 0]);
    if (path.includes("..")) expect(Buffer.from(reads[0]!.key).toString()).toBe("../../x");
  });

  it.each([
    { name: "large headers", text: `X: ${"x".repeat(70_000)}\r\n`, status: 431, code: "headers_too_large" },
    {
      name: "very large headers",
      text: `X: ${"x".repeat(1_000)}\r\n`.repeat(400),
      status: 431,
      code: "headers_too_large",
    },
    {
      name: "many headers",
      text: Array.from({ length: 5_000 }, (_, i) => `X-${i}: abcdefghij\r\n`).join(""),
      status: 431,
      code: "headers_too_large",
    },
    { name: "a header's bad name", text: "a b: c\r\n", status: 400, code: "bad_request" },
    {
      name: "two lengths",
      text: "Content-Length: 1\r\nContent-Length: 2\r\n",
      status: 400,
      code: "bad_request",
    },
  ])("$name: $status", async ({ text, status, code }) => {
    const { server } = bench();
    const { port } = await server.listen("127.0.0.1", 0);
    const answer = await rawRequest(port, `GET /v1/kv/k HTTP/1.1\r\nHost: localhost\r\n${text}\r\n`);
    expect({ status: answer.status, code: answer.headers["kvorum-code"] }).toEqual({ status, code });
    expect(JSON.parse(answer.body)).toMatchObject({ code, status });
  });

  it("without Host: refused in HTTP/1.1, served in 1.0", async () => {
    const { server } = bench();
    const { port } = await server.listen("127.0.0.1", 0);
    expect((await rawRequest(port, "GET /v1/kv/k HTTP/1.1\r\n\r\n")).status).toBe(400);
    expect((await rawRequest(port, "GET /v1/kv/k HTTP/1.0\r\n\r\n")).status).toBe(200);
  });

  it("what is no HTTP at all gets a problem", async () => {
    const { server } = bench();
    const { port } = await server.listen("127.0.0.1", 0);
    const answer = await rawRequest(port, "hello\r\n\r\n");
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body)).toMatchObject({ code: "bad_request" });
  });

  it("a value announced as too large is refused before it comes, and so is one that turns out so", async () => {
    const { server, writes } = bench();
    const { port } = await server.listen("127.0.0.1", 0);
    const head = "PUT /v1/kv/k HTTP/1.1\r\nHost: localhost\r\n";
    const announced = await rawRequest(port, `${head}Content-Length: 9000000\r\n\r\n`);
    expect(announced).toMatchObject({ status: 413, headers: { connection: "close" } });
    const mib = `100000\r\n${"x".repeat(1024 * 1024)}\r\n`;
    const chunked = await rawRequest(
      port,
      `${head}Transfer-Encoding: chunked\r\n\r\n${mib}1\r\nx\r\n0\r\n\r\n`,
    );
    expect(chunked.status).toBe(413);
    expect(JSON.parse(chunked.body)).toMatchObject({ code: "value_too_large", outcome: "not_applied" });
    expect(writes).toHaveLength(0);
    const exactly = await rawRequest(port, `${head}Transfer-Encoding: chunked\r\n\r\n${mib}0\r\n\r\n`);
    expect(exactly.status).toBe(200);
    expect((writes[0]!.operation as { value: Uint8Array }).value).toHaveLength(1024 * 1024);
  });

  it("bodies in flight have a budget; it comes back when they are answered", async () => {
    const made = bench({ limits: () => ({ maxValueBytes: 1_000_000, maxInflightBytes: 1_500_000 }) });
    const { port } = await made.server.listen("127.0.0.1", 0);
    const put = `PUT /v1/kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(1_000_000)}`;
    made.onWrite = () => undefined;
    const socket = connect({ host: "127.0.0.1", port }, () => socket.write(put));
    await expect.poll(() => made.writes.length).toBe(1);
    const refused = await rawRequest(port, put);
    expect(refused.status).toBe(429);
    expect(JSON.parse(refused.body)).toMatchObject({ code: "too_busy", outcome: "not_applied" });
    made.onWrite = () => ({ kind: "put", revision: 1, ...served });
    // The first client goes away: what it held is free again.
    socket.destroy();
    await expect.poll(async () => (await rawRequest(port, put)).status).toBe(200);
  });

  it("while draining everything but /healthz is 503 on a connection that ends", async () => {
    const made = bench();
    const { port } = await made.server.listen("127.0.0.1", 0);
    made.server.drain();
    const get = (path: string) => rawRequest(port, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    const answer = await rawRequest(
      port,
      "PUT /v1/kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx",
    );
    expect(answer).toMatchObject({ status: 503, headers: { connection: "close", "retry-after": "1" } });
    expect(JSON.parse(answer.body)).toMatchObject({ code: "unavailable", outcome: "not_applied" });
    expect((await get("/healthz")).status).toBe(200);
    expect((await get("/readyz")).status).toBe(503);
  });

  it("a request under way while the server stops is answered, then its connection ends", async () => {
    const made = bench();
    const { port } = await made.server.listen("127.0.0.1", 0);
    made.onRead = () => undefined;
    const pending = rawRequest(port, "GET /v1/kv/k HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await expect.poll(() => made.reads.length).toBe(1);
    const closed = made.server.close(10_000);
    made.answerRead({ kind: "absent", ...served });
    expect(await pending).toMatchObject({ status: 404, headers: { connection: "close" } });
    await closed;
  });

  it("many requests on one connection are answered in their order", async () => {
    const made = bench();
    const { port } = await made.server.listen("127.0.0.1", 0);
    const one = "GET /v1/kv/k HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const put = "PUT /v1/kv/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    const answer = await rawRequest(port, put + one + put + one);
    expect(answer.status).toBe(200);
    await expect.poll(() => made.reads.length + made.writes.length).toBe(4);
  });
});

describe("access", () => {
  const tokens = parseTokenFile("reader read\nwriter write users/\nchief admin\n") as TokenRule[];
  it.each([
    { token: undefined, method: "GET", url: "/v1/kv/k", status: 401 },
    { token: "wrong", method: "GET", url: "/v1/kv/k", status: 401 },
    { token: "reader", method: "GET", url: "/v1/kv/k", status: 200 },
    { token: "reader", method: "PUT", url: "/v1/kv/k", status: 403 },
    { token: "writer", method: "PUT", url: "/v1/kv/users/1", status: 200 },
    { token: "writer", method: "GET", url: "/v1/kv/users/1", status: 200 },
    { token: "writer", method: "PUT", url: "/v1/kv/k", status: 403 },
    { token: "writer", method: "DELETE", url: "/v1/kv?key=users", status: 403 },
    { token: "chief", method: "DELETE", url: "/v1/kv/k", status: 200 },
    { token: "reader", method: "GET", url: "/v1/admin/nodes", status: 200 },
    { token: "writer", method: "GET", url: "/v1/admin/nodes", status: 403 },
    { token: undefined, method: "GET", url: "/v1/admin/nodes", status: 401 },
    { token: undefined, method: "GET", url: "/metrics", status: 401 },
    { token: "reader", method: "GET", url: "/metrics", status: 200 },
    { token: undefined, method: "GET", url: "/healthz", status: 200 },
    { token: undefined, method: "GET", url: "/readyz", status: 200 },
    { token: undefined, method: "OPTIONS", url: "/v1/kv/k", status: 204 },
  ] as const)("$token $method $url: $status", async ({ token, method, url, status }) => {
    const { server } = bench({ tokens });
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const answer = await server.inject({ method, url, headers: { ...local, ...authorization } });
    expect(answer.statusCode).toBe(status);
    if (status === 401) expect(answer.headers["www-authenticate"]).toBe("Bearer");
  });
});

describe("browsers", () => {
  it("a page of an allowed origin may read answers, errors too, and ask what it may send", async () => {
    const made = bench({ corsOrigins: ["https://app.example"] });
    const headers = { ...local, origin: "https://app.example" };
    const get = await made.server.inject({ method: "GET", url: "/v1/kv/k", headers });
    expect(get.headers).toMatchObject({
      "access-control-allow-origin": "https://app.example",
      vary: "Origin",
    });
    expect(get.headers["access-control-expose-headers"]).toContain("ETag");
    const bad = await made.server.inject({ method: "GET", url: "/v1/kv", headers });
    expect(bad.headers["access-control-allow-origin"]).toBe("https://app.example");
    const preflight = await made.server.inject({
      method: "OPTIONS",
      url: "/v1/kv/k",
      headers: {
        ...headers,
        "access-control-request-method": "PUT",
        "access-control-request-headers": "if-match",
      },
    });
    expect(preflight.statusCode).toBe(204);
    expect(preflight.headers).toMatchObject({
      allow: "GET, HEAD, PUT, DELETE, OPTIONS",
      "access-control-allow-methods": "GET, HEAD, PUT, DELETE",
      "access-control-allow-headers": "if-match",
    });
  });

  it("without an origin nothing is said of it", async () => {
    const { server } = bench();
    const answer = await server.inject({ method: "GET", url: "/v1/kv/k", headers: local });
    expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
  });
});

describe("placement's API", () => {
  it.each([
    { url: "/v1/admin/cluster", want: { operation: "cluster.get", parameters: {} } },
    {
      url: "/v1/admin/shards?limit=5&cursor=9",
      want: { operation: "shards.list", parameters: { limit: 5, cursor: "9" } },
    },
    { url: "/v1/admin/nodes/n%31", want: { operation: "nodes.get", parameters: { name: "n1" } } },
    {
      url: "/v1/admin/shards?node=n1&state=healthy",
      want: { operation: "shards.list", parameters: { node: "n1", state: "healthy" } },
    },
    { url: "/v1/admin/shards/7", want: { operation: "shards.get", parameters: { id: 7 } } },
    { url: "/v1/admin/keyspaces", want: { operation: "keyspaces.list", parameters: {} } },
    { url: "/v1/admin/config", want: { operation: "config.get", parameters: {} } },
  ])("$url", async ({ url, want }) => {
    const { server, adminRequests } = bench();
    const answer = await server.inject({ method: "GET", url, headers: local });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers["kvorum-served-by"]).toBe("n1");
    expect(adminRequests).toEqual([want]);
  });

  it("locate sends the key's bytes; problems come through with their fields", async () => {
    const made = bench();
    made.onAdmin = () => ({ kind: "error", code: "blocked", detail: "no", extra: { blockers: [1] } });
    const url = "/v1/admin/locate?key=%ff&keyspace=x";
    const answer = await made.server.inject({ method: "GET", url, headers: local });
    expect(made.adminRequests).toEqual([
      { operation: "locate", parameters: { key: Buffer.of(0xff), keyspace: "x" } },
    ]);
    expect(answer.statusCode).toBe(409);
    expect(answer.json()).toMatchObject({ code: "blocked", blockers: [1] });
  });
});

describe("for operators", () => {
  it("readiness says what it waits for", async () => {
    const { server } = bench({ readiness: () => ({ ready: false, reasons: ["routes are not loaded"] }) });
    const answer = await server.inject({ method: "GET", url: "/readyz", headers: local });
    expect(answer.statusCode).toBe(503);
    expect(answer.json()).toMatchObject({ code: "unavailable", reasons: ["routes are not loaded"] });
  });

  it("metrics: names begin with kvorum_ and end in a unit or _total, each family once", async () => {
    const labels = { family: "raft" };
    const { server } = bench({
      collect: () => [
        { name: "kvorum_storage_bytes", help: "Bytes of a family", type: "gauge", value: 5, labels },
        {
          name: "kvorum_storage_bytes",
          help: "Bytes of a family",
          type: "gauge",
          value: 6,
          labels: { family: "data" },
        },
      ],
    });
    for (const url of ["/v1/kv/k", "/v1/kv", "/nothing"]) {
      await server.inject({ method: "GET", url, headers: local });
    }
    const { body, headers } = await server.inject({ method: "GET", url: "/metrics", headers: local });
    expect(headers["content-type"]).toContain("text/plain");
    expect(body).toContain('kvorum_storage_bytes{family="raft"} 5');
    expect(body).toContain('kvorum_http_requests_total{resource="key",method="GET",status="200"} 1');
    expect(body).toContain('kvorum_http_request_duration_seconds_bucket{resource="key",le="+Inf"} 1');
    expect(body).toContain('kvorum_http_request_duration_seconds_count{resource="key"} 1');
    expect(body).toContain("kvorum_router_writes_total 0");
    const families = [...body.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1]!);
    expect(families.length).toBeGreaterThan(20);
    expect(new Set(families).size).toBe(families.length);
    for (const name of families) expect(name).toMatch(/^kvorum_[a-z0-9_]+_(total|bytes|seconds|requests)$/);
  });

  it("documents are served", async () => {
    const { server } = bench();
    const get = (url: string) => server.inject({ method: "GET", url, headers: local });
    expect((await get("/openapi.json")).json()).toMatchObject({
      openapi: "3.1.0",
      info: { version: "0.0.1" },
    });
    expect((await get("/docs")).body).toContain("/openapi.json");
    expect((await get("/docs/errors")).body).toContain('id="timeout"');
    expect((await get("/healthz")).json()).toEqual({ status: "ok" });
  });

  it("request ids: the caller's where it can be written, else an own one each", async () => {
    const { server } = bench();
    const idOf = async (id?: string) =>
      (
        await server.inject({
          method: "GET",
          url: "/healthz",
          headers: { ...local, ...(id && { "x-request-id": id }) },
        })
      ).headers["kvorum-request-id"];
    expect(await idOf("abc")).toBe("abc");
    const own = [await idOf(), await idOf("with space"), await idOf("x".repeat(129))];
    expect(new Set(own).size).toBe(3);
    for (const id of own) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-z]+$/);
  });
});
