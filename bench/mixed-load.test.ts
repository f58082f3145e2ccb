import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { leadsMost } from "./failover.ts";
import { Caller } from "./load/caller.ts";
import type { HostPort } from "./load/requests.ts";
import { MixedLoad, numberIn, outcomeOf } from "./mixed-load.ts";

const servers: Server[] = [];

async function listen(handle: RequestListener): Promise<HostPort> {
  const server = createServer(handle);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
}

function stop(server: Server | undefined): void {
  server?.closeAllConnections();
  server?.close();
}

/** @param keeps - whether the write of this number is kept; it is acknowledged in any case */
function store(keeps: (number: string) => boolean): RequestListener {
  const values = new Map<string, string>();
  return (request, response) => {
    const key = request.url ?? "";
    let body = "";
    request.on("data", (text) => {
      body += text;
    });
    request.on("end", () => {
      if (request.method === "GET") response.writeHead(values.has(key) ? 200 : 404).end(values.get(key));
      else {
        if (keeps(body)) values.set(key, body);
        response.end('{"revision":1}');
      }
    });
  };
}

async function runLoad(hosts: readonly HostPort[], writes: number): Promise<MixedLoad> {
  const load = new MixedLoad({ hosts, clients: 4, restMs: 0, timeoutMs: 5000, prefix: "load" });
  load.start();
  while (load.count().acknowledged < writes) await new Promise((resolve) => setImmediate(resolve));
  await load.stop();
  return load;
}

afterEach(() => {
  for (const server of servers.splice(0)) stop(server);
});

describe("the mixed load", () => {
  it("finds nothing lost in a store that keeps everything", async () => {
    const load = await runLoad([await listen(store(() => true))], 60);
    expect(load.count()).toMatchObject({ failed: 0, readsBehind: 0 });
    expect(await load.lost()).toBe(0);
  });

  it("finds what a store loses, at once and at the end", async () => {
    const load = await runLoad([await listen(store((number) => Number(number) < 10))], 60);
    expect(load.count().readsBehind).toBeGreaterThan(0);
    expect(await load.lost()).toBeGreaterThan(0);
  });
});

describe("a caller", () => {
  it("leaves a host that fails for the next one", async () => {
    const first = await listen((_, response) => response.end("first"));
    const second = await listen((_, response) => response.end("second"));
    const caller = new Caller([first, second], 0, 5000);
    expect(await caller.call("GET", "/")).toEqual({ kind: "answer", status: 200, body: "first" });
    stop(servers[0]);
    const kinds = [];
    for (let reply = await caller.call("GET", "/"); ; reply = await caller.call("GET", "/")) {
      kinds.push(reply.kind);
      if (reply.kind === "answer") {
        expect(reply.body).toBe("second");
        break;
      }
    }
    expect(kinds.length).toBeLessThan(4);
    caller.close();
  });

  it("gives a request up after its time, as one whose end nobody knows", async () => {
    const silent = await listen(() => {});
    const caller = new Caller([silent], 0, 20);
    expect(await caller.call("PUT", "/v1/kv/a", "1")).toEqual({ kind: "lost" });
    caller.close();
  });
});

it.each([
  { reply: { kind: "answer", status: 200, body: "{}" }, want: "acknowledged" },
  { reply: { kind: "answer", status: 503, body: '{"outcome":"not_applied"}' }, want: "not_applied" },
  { reply: { kind: "answer", status: 504, body: '{"outcome":"unknown"}' }, want: "unknown" },
  { reply: { kind: "answer", status: 500, body: "" }, want: "unknown" },
  { reply: { kind: "lost" }, want: "unknown" },
  { reply: { kind: "unsent" }, want: "not_applied" },
] as const)("a write answered by $reply is $want", ({ reply, want }) => {
  expect(outcomeOf(reply)).toBe(want);
});

it.each([
  { reply: { kind: "answer", status: 200, body: "17" }, want: 17 },
  { reply: { kind: "answer", status: 404, body: "{}" }, want: 0 },
  { reply: { kind: "answer", status: 503, body: "{}" }, want: undefined },
  { reply: { kind: "lost" }, want: undefined },
] as const)("a read answered by $reply found $want", ({ reply, want }) => {
  expect(numberIn(reply)).toBe(want);
});

it("the node to kill is the one that leads most shards", () => {
  const node = (name: string) => ({ name, pid: 1, liveness: "up", leaders: 0 });
  const shard = (id: number, leader: string | null) => ({ id, leader, health: "healthy" });
  const shards = [shard(1, "n2"), shard(2, "n1"), shard(3, "n2"), shard(4, null)];
  expect(leadsMost([node("n1"), node("n2"), node("n3")], shards).name).toBe("n2");
});
