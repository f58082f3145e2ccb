import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { Generator, type LoadSpec } from "./generator.ts";
import { keyName } from "./requests.ts";

const servers: Server[] = [];

/** Keeps values as Kvorum does, and a note of which server was asked for what. */
async function startStub(options: { readonly failures?: number } = {}): Promise<{
  readonly spec: LoadSpec;
  readonly values: Map<string, Buffer>;
  readonly asked: number[];
}> {
  const values = new Map<string, Buffer>();
  const asked = [0, 0, 0];
  let failures = options.failures ?? 0;
  const hosts = [];
  for (const at of asked.keys()) {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        asked[at] = (asked[at] ?? 0) + 1;
        const key = (request.url ?? "").replace("/v1/kv/", "");
        if (failures-- > 0) {
          if (failures % 2 === 0) response.socket?.destroy();
          else response.writeHead(503).end("no");
        } else if (request.method === "PUT") {
          values.set(key, Buffer.concat(chunks));
          response.end('{"revision":1}');
        } else response.writeHead(values.has(key) ? 200 : 404).end(values.get(key));
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    hosts.push({ host: "127.0.0.1", port: (server.address() as AddressInfo).port });
  }
  const spec = {
    hosts,
    system: "kvorum",
    workload: "fill",
    connections: 7,
    keys: 200,
    valueBytes: 128,
  } as const;
  return { spec: { ...spec, seed: "1" }, values, asked };
}

async function fill(spec: LoadSpec): Promise<Generator> {
  const generator = new Generator({ ...spec, workload: "fill" });
  generator.start();
  await generator.finished;
  return generator;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

describe("filling", () => {
  it("writes every key, over all hosts", async () => {
    const { spec, values, asked } = await startStub();
    const generator = await fill(spec);
    expect([...values.keys()].toSorted()).toEqual(Array.from({ length: 200 }, (_, at) => keyName(at)));
    expect([...values.values()].every((value) => value.length === 128)).toBe(true);
    expect(asked.every((count) => count > 0)).toBe(true);
    expect(generator.count()).toMatchObject({ operations: 200, failures: 0 });
  });

  it("leaves no key out when requests fail and connections break", async () => {
    const { spec, values } = await startStub({ failures: 20 });
    const generator = await fill(spec);
    expect(values.size).toBe(200);
    expect(generator.count().failures).toBe(20);
  });
});

describe("load", () => {
  it("counts answers and their latencies since the reset", async () => {
    const { spec } = await startStub();
    await fill(spec);
    const generator = new Generator({ ...spec, workload: "get" });
    generator.start();
    await until(() => generator.count().operations > 50);
    generator.reset();
    expect(generator.count().operations).toBe(0);
    await until(() => generator.count().operations > 50);
    generator.stop();
    const { failures, latencies, operations } = generator.count();
    expect([failures, latencies.total]).toEqual([0, operations]);
    expect(latencies.quantileUs(0.5)).toBeGreaterThan(0);
  });

  it("asks for stale reads as such, and takes a missing value for a failure", async () => {
    const { spec } = await startStub();
    const generator = new Generator({ ...spec, workload: "stale", keys: 5 });
    generator.start();
    await until(() => generator.count().failures > 20);
    generator.stop();
    expect(generator.count()).toMatchObject({ operations: 0, lastFailure: expect.stringContaining("404") });
  });
});
