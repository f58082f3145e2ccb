import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { negotiate } from "./accept.ts";
import { authenticate, authorise, parseTokenFile } from "./access.ts";
import { matches, parseConditions } from "./conditions.ts";
import { decodeBytes, decodeText } from "./escapes.ts";
import { OriginGuard } from "./origin.ts";
import { Problem } from "./problem.ts";
import { parseDurationMs, Query } from "./query.ts";
import { findTarget } from "./routes.ts";

function codeOf(run: () => unknown): string {
  try {
    run();
    return "none";
  } catch (error) {
    return error instanceof Problem ? error.code : String(error);
  }
}

/** Every byte escaped, or only those that must be. */
function escapeKey(key: Uint8Array, all: boolean): string {
  return [...key]
    .map((byte) => {
      const plain = !all && /[A-Za-z0-9\-._~/!$&'()*,;=:@]/.test(String.fromCharCode(byte));
      return plain ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, "0")}`;
    })
    .join("");
}

describe("keys in URLs", () => {
  const keys = fc.uint8Array({ minLength: 1, maxLength: 60 });

  it("any key survives the path, however much of it is escaped", () => {
    fc.assert(
      fc.property(keys, fc.boolean(), fc.boolean(), (key, all, upper) => {
        const text = upper
          ? escapeKey(key, all).replace(/%../g, (e) => e.toUpperCase())
          : escapeKey(key, all);
        const target = findTarget(`/v1/kv/${text}?timeout=1s`);
        expect(target).toMatchObject({ name: "key", query: "timeout=1s" });
        expect([...decodeBytes(target.captured["key"]!)!]).toEqual([...key]);
      }),
    );
  });

  it("and the query", () => {
    fc.assert(
      fc.property(keys, fc.boolean(), (key, plus) => {
        const text = escapeKey(key, true).replaceAll("%20", plus ? "+" : "%20");
        expect([...Query.parse(`key=${text}`, ["key"]).bytes("key")!]).toEqual([...key]);
      }),
    );
  });

  it.each([
    { text: "a/b//c", want: "a/b//c" },
    { text: "../x", want: "../x" },
    { text: "%2e%2E/", want: "../" },
    { text: "a+b", want: "a+b" },
    { text: "a%2Bb", want: "a+b" },
    { text: "%25%32%35", want: "%25" },
    { text: "%c3%a9", want: "é" },
    { text: "a#b", want: "a#b" },
  ])("$text is $want", ({ text, want }) => {
    expect(decodeBytes(findTarget(`/v1/kv/${text}`).captured["key"]!)?.toString()).toBe(want);
  });

  it.each(["%", "%f", "%fg", "%zz", "a%", "%%41", "% 1", "%+1"])("%j is badly escaped", (text) => {
    expect(decodeBytes(text)).toBeUndefined();
    expect(decodeBytes(text, true)).toBeUndefined();
  });

  it("text must be UTF-8, bytes need not be", () => {
    expect(decodeText("%ff")).toBeUndefined();
    expect(decodeBytes("%ff%00")).toEqual(Buffer.of(0xff, 0));
  });
});

describe("paths", () => {
  it.each([
    { url: "/v1/kv", want: { name: "keyInQuery", query: "" } },
    { url: "/v1/kv/?key=a", want: { name: "keyInQuery", query: "key=a" } },
    { url: "/v1/kv?key=a?b", want: { name: "keyInQuery", query: "key=a?b" } },
    {
      url: "/v1/ks/other/kv/a/b",
      want: { name: "keyOfKeyspace", captured: { keyspace: "other", key: "a/b" } },
    },
    { url: "/v1/ks/other/kv", want: { name: "keyOfKeyspaceInQuery", captured: { keyspace: "other" } } },
    { url: "/v1/ks//kv/a", want: { name: undefined } },
    { url: "/v1/ks/kv/a", want: { name: undefined } },
    { url: "/v1/admin/nodes/n1", want: { name: "node", captured: { name: "n1" } } },
    { url: "/v1/admin/nodes/n1/x", want: { name: undefined } },
    { url: "/v1/admin/shards/7", want: { name: "shard", captured: { id: "7" } } },
    { url: "/v1/kvx", want: { name: undefined } },
    { url: "//v1/kv/a", want: { name: undefined } },
    { url: "http://h:1/v1/kv/a", want: { name: "key", captured: { key: "a" } } },
    { url: "*", want: { name: undefined } },
    { url: "/toString", want: { name: undefined } },
  ])("$url", ({ url, want }) => {
    expect(findTarget(url)).toMatchObject(want);
  });
});

describe("parameters", () => {
  it.each([
    { query: "a=1", code: "none" },
    { query: "", code: "none" },
    { query: "&a=1&", code: "none" },
    { query: "a", code: "none" },
    { query: "b=1", code: "bad_parameter" },
    { query: "a=1&a=2", code: "bad_parameter" },
    { query: "a=1&%61=2", code: "bad_parameter" },
    { query: "%zz=1", code: "bad_parameter" },
    { query: "=1", code: "bad_parameter" },
    { query: "__proto__=1", code: "bad_parameter" },
  ])("$query: $code", ({ query, code }) => {
    expect(codeOf(() => Query.parse(query, ["a"]))).toBe(code);
  });

  it("the problem names the parameter", () => {
    expect(() => Query.parse("tll=5s", ["timeout"])).toThrow('"tll"');
    expect(() => Query.parse("a=%", ["a"]).bytes("a")).toThrow('"a"');
    expect(() => Query.parse("a=%ff", ["a"]).text("a")).toThrow('"a"');
  });

  it.each([
    { text: "500ms", want: 500 },
    { text: "5s", want: 5_000 },
    { text: "2m", want: 120_000 },
    { text: "1h", want: 3_600_000 },
    { text: "1d", want: 86_400_000 },
    { text: "5", want: undefined },
    { text: "-5s", want: undefined },
    { text: "1.5s", want: undefined },
    { text: "5 s", want: undefined },
    { text: "s", want: undefined },
    { text: "999999999999999d", want: undefined },
  ])("duration $text", ({ text, want }) => {
    expect(parseDurationMs(text)).toBe(want);
  });
});

describe("conditions", () => {
  it.each([
    { header: "*", want: "any" },
    { header: " * ", want: "any" },
    { header: '"5"', want: [5] },
    { header: 'W/"5"', want: [5] },
    { header: '"5", W/"6" ,"7"', want: [5, 6, 7] },
    { header: '"0"', want: [0] },
    { header: '"abc", "5"', want: [5] },
    { header: '"05"', want: [] },
    { header: '"99999999999999999999"', want: [] },
    { header: '""', want: [] },
  ])("$header", ({ header, want }) => {
    expect(parseConditions({ "if-match": header })).toEqual({ match: want });
    expect(parseConditions({ "if-none-match": header })).toEqual({ noneMatch: want });
  });

  it.each(["", "5", "W/5", '"5', '5"', '"5" "6"', '"5",', ",", '*, "5"', 'w/"5"', "**"])(
    "%j is refused",
    (header) => {
      expect(codeOf(() => parseConditions({ "if-match": header }))).toBe("bad_request");
    },
  );

  it("without headers there is none", () => {
    expect(parseConditions({})).toBeUndefined();
  });

  it("any means that it exists, 0 that it does not", () => {
    expect([matches("any", 0), matches("any", 3), matches([0], 0), matches([3], 3), matches([], 3)]).toEqual([
      false,
      true,
      true,
      true,
      false,
    ]);
  });
});

describe("Accept", () => {
  const both = ["application/json", "text/event-stream"];
  it.each([
    { accept: undefined, want: "application/json" },
    { accept: "*/*", want: "application/json" },
    { accept: "text/event-stream", want: "text/event-stream" },
    { accept: "application/json;q=0.1, text/*;q=0.5", want: "text/event-stream" },
    { accept: "text/html, */*;q=0.1", want: "application/json" },
    { accept: "application/json;q=0, */*", want: "text/event-stream" },
    { accept: "image/png", want: undefined },
    { accept: "", want: undefined },
    { accept: "APPLICATION/JSON; charset=utf-8", want: "application/json" },
  ])("$accept", ({ accept, want }) => {
    expect(negotiate(accept, both)).toBe(want);
  });
});

describe("token files", () => {
  const rules = parseTokenFile("# who may what\nr-token read\n\nw-token  write\tusers/\r\na-token admin\n");
  const grant = (header: string | undefined) =>
    typeof rules === "string" ? undefined : authenticate(rules, header);

  it.each([
    { header: "Bearer r-token", want: "read" },
    { header: "bearer   w-token", want: "write" },
    { header: "Bearer a-token ", want: "admin" },
  ])("$header: $want", ({ header, want }) => {
    expect(grant(header)?.level).toBe(want);
  });

  it.each([undefined, "", "Bearer", "Bearer x", "Basic r-token", "r-token", "Bearer r-token extra"])(
    "%j is refused",
    (header) => {
      expect(codeOf(() => grant(header))).toBe("unauthenticated");
    },
  );

  it.each([
    { level: "read", wanted: "read", key: "a", code: "none" },
    { level: "read", wanted: "write", key: "a", code: "forbidden" },
    { level: "write", wanted: "read", key: "a", code: "none" },
    { level: "write", wanted: "admin", key: undefined, code: "forbidden" },
    { level: "admin", wanted: "write", key: "a", code: "none" },
    { level: "write", prefix: "us", wanted: "write", key: "users", code: "none" },
    { level: "write", prefix: "us", wanted: "write", key: "u", code: "forbidden" },
    { level: "admin", prefix: "us", wanted: "read", key: undefined, code: "forbidden" },
  ] as const)("$level $prefix for $wanted of $key: $code", (row) => {
    const { level, wanted, key, code } = row;
    const prefix = "prefix" in row ? { prefix: Buffer.from(row.prefix) } : {};
    expect(codeOf(() => authorise({ level, ...prefix }, wanted, key && Buffer.from(key)))).toBe(code);
  });

  it.each([
    { text: "", want: "no token" },
    { text: "secret reed", want: "line 1" },
    { text: "secret read a b", want: "line 1" },
    { text: "a read\nsecret", want: "line 2" },
    { text: "secret read\nsecret write", want: "line 2" },
  ])("$text: a message that names the line, never the token", ({ text, want }) => {
    const message = parseTokenFile(text);
    expect(message).toContain(want);
    expect(message).not.toContain("secret");
  });
});

describe("Host and Origin", () => {
  const guard = new OriginGuard({
    hosts: ["kv.example", "10.0.0.5:7401"],
    corsOrigins: ["https://app.example/"],
  });

  it.each([
    { host: "localhost:7401", code: "none" },
    { host: "a.localhost", code: "none" },
    { host: "127.0.0.1", code: "none" },
    { host: "127.9.9.9:1", code: "none" },
    { host: "[::1]:7401", code: "none" },
    { host: "KV.example:80", code: "none" },
    { host: "10.0.0.5:7401", code: "none" },
    { host: "10.0.0.6:7401", code: "forbidden" },
    { host: "192.168.1.2:7401", code: "none" },
    { host: "evil.example", code: "forbidden" },
    { host: "127.0.0.1.evil.example", code: "forbidden" },
    { host: "127.evil.example", code: "forbidden" },
    { host: "localhost.evil.example", code: "forbidden" },
    { host: "", code: "forbidden" },
  ])("Host $host: $code", ({ host, code }) => {
    for (let i = 0; i < 2; i++) expect(codeOf(() => guard.checkHost(host, "::ffff:192.168.1.2"))).toBe(code);
  });

  it.each([
    { origin: "http://localhost:7401", code: "none" },
    { origin: "https://app.example", code: "none" },
    { origin: "http://localhost:9999", code: "forbidden" },
    { origin: "https://app.example.evil", code: "forbidden" },
    { origin: "null", code: "forbidden" },
  ])("Origin $origin: $code", ({ origin, code }) => {
    expect(codeOf(() => guard.checkOrigin(origin, "localhost:7401"))).toBe(code);
  });
});
