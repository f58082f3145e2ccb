import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { importsOf, withoutTexts } from "./support/source.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

interface Room {
  /** Rooms it may import; `runtime`, `proto` and the room itself go without saying. */
  readonly sees: readonly string[];
  /** npm packages it may import, besides. */
  readonly packages?: readonly string[];
}

const adapters = ["storage", "transport"];
const raft = ["raft/core", "raft/host"];
const served = ["shard", "placement", "router/routing", "router/http", "router/compat"];
const product = [...raft, ...adapters, ...served];

/** docs/architecture.md draws it; this is what holds it. */
const rooms: Readonly<Record<string, Room>> = {
  runtime: { sees: [] },
  proto: { sees: [], packages: ["@msgpack/msgpack"] },
  "raft/core": { sees: [], packages: ["@msgpack/msgpack"] },
  "raft/host": { sees: ["raft/core", ...adapters] },
  storage: { sees: [], packages: ["@nxtedition/rocksdb"] },
  transport: { sees: [], packages: ["@nats-io/transport-node"] },
  shard: { sees: [...raft, ...adapters] },
  placement: { sees: [...raft, ...adapters] },
  "router/routing": { sees: ["transport"] },
  "router/http": {
    sees: ["router/routing", "transport"],
    packages: ["fastify", "prom-client", "zod", "@msgpack/msgpack"],
  },
  "router/compat": { sees: ["router/routing", "router/http", "transport"], packages: ["fastify"] },
  client: { sees: [] },
  node: { sees: [...product, "client"], packages: ["commander", "fastify", "pino", "prom-client", "zod"] },
  sim: { sees: [...product, "client", "node"] },
  web: { sees: ["client"] },
  bench: { sees: [...product, "client", "node", "sim"], packages: ["commander"] },
  test: { sees: [...product, "client", "node", "sim"] },
};

/** Every room may use these two; they use nothing of ours. */
const open = ["runtime", "proto"];
const testPackages = ["vitest", "fast-check"];

/** What runs in tests alone, beside the sources. */
const testing = /(\.test|conformance|\/crash-[a-z]+)\.ts$|\/conformance\//;

/** Where time, chance, the process, the network and the disk are real (R37). */
const real: readonly RegExp[] = [
  /^runtime\/(clock|random)\.ts$/,
  /^node\/(main|start[^/]*|dev|lifecycle|logger|http-request)\.ts$/,
  /^node\/(cli|dev|start)\//,
  /^router\/http\//,
  /^router\/compat\//,
  /^transport\/nats[^/]*\.ts$/,
  /^storage\/(rocks|ballast|sequence-file)[^/]*\.ts$/,
  /^client\/defaults\.ts$/,
  /^sim\/(main|cli)[^/]*\.ts$/,
  /^(web|test|bench)\//,
  testing,
];

const realThings = new RegExp(
  [
    /(?<![.\w$#])(?:Date|performance|setTimeout|setInterval|setImmediate|queueMicrotask)\b(?!\s*\??:)/,
    /(?<![.\w$#])(?:globalThis|crypto|fetch|WebSocket|Intl|require)\b(?!\s*\??:)/,
    // A variable of ours may have the name: Node's is known by what is asked of it.
    /(?<![.\w$#])process(?:\s*\[|\.(?:env|argv|exit|exitCode|on|once|off|emit|nextTick|hrtime|pid|kill|cwd|std\w+|memoryUsage|cpuUsage|resourceUsage|uptime|platform|arch|versions?|exec\w+|umask|get\w+|abort|title|report|emitWarning)\b)/,
    /=\s*process\s*;/,
    /\bMath\.(?:random|sin|cos|tan|exp|log|log2|log10|pow|cbrt)\b/,
    /\b(?:AbortSignal\.timeout|randomUUID|nextTick)\b/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "g",
);

/** Of Node's own modules only what computes: the others reach a clock, a disk, a network or a thread. */
const computingModules = ["node:assert", "node:buffer", "node:util", "node:zlib"];

const files = listSources();

describe("the direction of imports", () => {
  it("sees the sources", () => {
    expect(files.length).toBeGreaterThan(60);
    for (const room of [
      "raft/core",
      "raft/host",
      "shard",
      "placement",
      "router/routing",
      "router/http",
      "node",
    ]) {
      expect(files.filter((file) => roomOf(file) === room).length, room).toBeGreaterThan(1);
    }
  });

  it("every source lies in a room", () => {
    expect(files.filter((file) => rooms[roomOf(file)] === undefined)).toEqual([]);
  });

  it("each room imports what the table gives it, and nothing else", () => {
    expect(files.flatMap((file) => importsOf(read(file)).flatMap((name) => complain(file, name)))).toEqual(
      [],
    );
  });

  it("a room's mod.ts is what package.json names for it", () => {
    const names: Record<string, { source: string; default: string }> = JSON.parse(
      read("package.json"),
    ).imports;
    for (const [name, { source, default: built }] of Object.entries(names)) {
      expect(built, name).toBe(source.replace("./", "./dist/").replace(/\.ts$/, ".js"));
      expect(existsSync(join(root, source)), source).toBe(true);
    }
  });
});

describe("time, chance and the world outside (R37)", () => {
  const pure = files.filter((file) => !real.some((pattern) => pattern.test(file)));

  it("are handed in everywhere but in their real forms", () => {
    const found = pure.flatMap((file) =>
      [...withoutTexts(read(file)).matchAll(realThings)].map((match) => `${file}: ${match[0]}`),
    );
    expect(found).toEqual([]);
  });

  it("are not reached through Node's modules either", () => {
    const found = pure.flatMap((file) =>
      importsOf(read(file))
        .filter((name) => name.startsWith("node:") && !computingModules.includes(name))
        .filter(
          (name) =>
            name !== "node:crypto" ||
            !/import \{ createHash(, type Hash)? \} from "node:crypto"/.test(read(file)),
        )
        .map((name) => `${file}: ${name}`),
    );
    expect(found).toEqual([]);
  });

  it("the check sees what it should: the real forms are full of them", () => {
    expect(withoutTexts(read("runtime/clock.ts")).match(realThings)?.length).toBeGreaterThan(3);
  });
});

it("the lock file names no host", () => {
  expect(read("package-lock.json")).not.toMatch(/"resolved"|https?:\/\/[^"]*(registry|npmjs)/);
});

function complain(file: string, name: string): string[] {
  const from = roomOf(file);
  const room = rooms[from];
  if (room === undefined) return [];
  if (name.startsWith(".")) {
    const target = join(file, "..", name);
    return roomOf(target) === from ? [] : [`${file}: ${name} leaves the room: say #${roomOf(target)}`];
  }
  if (name.startsWith("#")) {
    const target = name.slice(1);
    if (rooms[target] === undefined) return [`${file}: ${name} is no room's entry`];
    if (target === from) return [`${file}: ${name} is its own room: import relatively`];
    return open.includes(target) || room.sees.includes(target)
      ? []
      : [`${file}: ${from} must not see ${target}`];
  }
  if (name.startsWith("node:")) return [];
  const inTests = testing.test(file) || from === "test";
  const allowed = [...(room.packages ?? []), ...(inTests ? testPackages : [])];
  return allowed.includes(packageOf(name)) ? [] : [`${file}: ${from} must not use the package ${name}`];
}

/** raft/ and router/ hold rooms; the others are one. */
function roomOf(file: string): string {
  const [first = "", second = ""] = file.split("/");
  return first === "raft" || first === "router" ? `${first}/${second}` : first;
}

function packageOf(name: string): string {
  return name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/");
}

function read(file: string): string {
  return readFileSync(join(root, file), "utf8");
}

function listSources(): string[] {
  const tops = new Set(Object.keys(rooms).map((room) => room.split("/")[0] ?? room));
  return [...tops]
    .filter((top) => existsSync(join(root, top)))
    .flatMap((top) =>
      readdirSync(join(root, top), { recursive: true, encoding: "utf8" }).map((path) => `${top}/${path}`),
    )
    .filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts") && !path.includes("node_modules/"));
}
