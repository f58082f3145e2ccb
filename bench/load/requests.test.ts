import { describe, expect, it } from "vitest";
import { seededRandom } from "#runtime";
import { Corpus, isAnswer, RequestTemplate, type System, type Workload } from "./requests.ts";

const host = { host: "127.0.0.1", port: 7401 };

function request(system: System, workload: Workload, key: number): { head: string[]; body: Buffer } {
  const corpus = new Corpus(system, 20, 128, seededRandom(1));
  const bytes = new RequestTemplate(system, workload, host, corpus).fill(key, 3);
  const end = bytes.indexOf("\r\n\r\n");
  return { head: bytes.toString("latin1", 0, end).split("\r\n"), body: bytes.subarray(end + 4) };
}

describe("kvorum's requests", () => {
  it("PUT has the value as its body", () => {
    const { head, body } = request("kvorum", "put", 7);
    expect(head).toEqual(["PUT /v1/kv/bench/000007 HTTP/1.1", "Host: 127.0.0.1:7401", "Content-Length: 128"]);
    expect(body.length).toBe(128);
  });

  it.each([
    ["get", "GET /v1/kv/bench/000012 HTTP/1.1"],
    ["stale", "GET /v1/kv/bench/000012?consistency=stale HTTP/1.1"],
  ] as const)("%s is %s", (workload, line) => {
    expect(request("kvorum", workload, 12)).toEqual({
      head: [line, "Host: 127.0.0.1:7401"],
      body: Buffer.alloc(0),
    });
  });
});

describe("etcd's requests", () => {
  it.each([
    ["put", "/v3/kv/put", { value: expect.any(String) }],
    ["get", "/v3/kv/range", {}],
    ["stale", "/v3/kv/range", { serializable: true }],
  ] as const)("%s goes to %s", (workload, path, rest) => {
    const { head, body } = request("etcd", workload, 7);
    expect(head[0]).toBe(`POST ${path} HTTP/1.1`);
    expect(head).toContain(`Content-Length: ${body.length}`);
    const key = Buffer.from("bench/000007").toString("base64");
    expect(JSON.parse(body.toString())).toEqual({ key, ...rest });
  });

  it("both systems are sent the same values for a seed", () => {
    const { value } = JSON.parse(request("etcd", "put", 0).body.toString());
    expect(Buffer.from(value, "base64")).toEqual(request("kvorum", "put", 0).body);
  });
});

it("a template is patched for the next request", () => {
  const corpus = new Corpus("kvorum", 20, 16, seededRandom(1));
  const template = new RequestTemplate("kvorum", "put", host, corpus);
  const first = Buffer.from(template.fill(1, 1));
  expect(Buffer.from(template.fill(2, 2))).not.toEqual(first);
  expect(Buffer.from(template.fill(1, 1))).toEqual(first);
});

it.each([
  { name: "an error", is: isAnswer("kvorum", "put", 503, 90, 128), want: false },
  { name: "a put's answer", is: isAnswer("kvorum", "put", 200, 14, 128), want: true },
  { name: "a value", is: isAnswer("kvorum", "get", 200, 128, 128), want: true },
  { name: "a value cut short", is: isAnswer("kvorum", "get", 200, 12, 128), want: false },
  { name: "etcd's answer without a value", is: isAnswer("etcd", "get", 200, 100, 172), want: false },
  { name: "etcd's answer with one", is: isAnswer("etcd", "get", 200, 350, 172), want: true },
])("$name counts as success: $want", ({ is, want }) => {
  expect(is).toBe(want);
});
