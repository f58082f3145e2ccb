import { describe, expect, it } from "vitest";
import { seededRandom, silentLogger, VirtualClock } from "#runtime";
import { MemoryDisk, openMemory } from "#storage";
import { SimNetwork } from "#transport";
import { type AssembledNode, assembleNode } from "./assemble.ts";
import type { Wish } from "./identity.ts";

/** Three nodes in one process under a virtual clock. */
class Three {
  readonly clock: VirtualClock = new VirtualClock();
  readonly network: SimNetwork;
  readonly nodes: Map<string, AssembledNode> = new Map();
  readonly disks: Map<string, MemoryDisk> = new Map();
  readonly refusals: Map<string, string> = new Map();
  readonly fatal: Map<string, Error> = new Map();
  readonly #random = seededRandom(7);
  #boots = 0;

  constructor() {
    this.network = new SimNetwork({ clock: this.clock, random: this.#random.fork("net") });
  }

  start(name: string, bootstrap?: Wish): void {
    const disk = this.disks.get(name) ?? new MemoryDisk();
    this.disks.set(name, disk);
    this.#boots += 1;
    assembleNode(
      {
        name,
        cluster: "test",
        http: `127.0.0.1:74${name.slice(1).padStart(2, "0")}`,
        labels: {},
        ...(bootstrap === undefined ? {} : { bootstrap }),
        engine: openMemory(disk, { clock: this.clock }),
        wire: this.network.wire(name),
        clock: this.clock,
        random: this.#random.fork(`${name}/${this.#boots}`),
        logger: silentLogger,
        pid: 1,
        version: "0.0.0",
        onFatal: (error) => this.fatal.set(name, error),
      },
      (result) => {
        if (result.ok) this.nodes.set(name, result.node);
        else this.refusals.set(name, result.refusal);
      },
    );
  }

  until(what: string, holds: () => boolean, limitMs = 30_000): void {
    const endMs = this.clock.nowMs() + limitMs;
    while (!holds()) {
      for (const error of this.fatal.values()) throw error;
      if (!this.clock.step(endMs)) throw new Error(`not within ${limitMs} virtual ms: ${what}`);
    }
  }

  node(name: string): AssembledNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`${name} is not up`);
    return node;
  }

  put(name: string, key: string, value: string): unknown {
    let outcome: unknown;
    const operation = { kind: "put", value: Buffer.from(value), contentType: "text/plain" } as const;
    this.node(name).router.write(
      { keyspace: "default", key: Buffer.from(key), operation, timeoutMs: 5_000 },
      (result) => {
        outcome = result;
      },
    );
    this.until(`put ${key}`, () => outcome !== undefined);
    return outcome;
  }

  get(name: string, key: string): unknown {
    let outcome: unknown;
    this.node(name).router.read(
      { keyspace: "default", key: Buffer.from(key), consistency: "linearizable", timeoutMs: 5_000 },
      (result) => {
        outcome = result;
      },
    );
    this.until(`get ${key}`, () => outcome !== undefined);
    return outcome;
  }

  ready(): boolean {
    if (this.nodes.size < 3) return false;
    const leaders = new Set<number>();
    for (const node of this.nodes.values()) {
      for (const group of node.host.groups())
        if (node.host.view(group)?.role === "leader") leaders.add(group);
    }
    return leaders.size === 17 && [...this.nodes.values()].every((node) => node.ready());
  }
}

const wish: Wish = { shards: 16, replicas: 3, partition: "hash" };

describe("three nodes assembled from their rooms", () => {
  it("bootstrap, join, sixteen shards on three nodes each, writes and reads through any node", () => {
    const three = new Three();
    three.start("n1", wish);
    three.start("n2");
    three.start("n3");
    three.until("ready", () => three.ready());
    expect(three.put("n1", "a", "hi")).toMatchObject({ kind: "put" });
    for (const name of ["n1", "n2", "n3"]) {
      expect(three.get(name, "a")).toMatchObject({ kind: "found" });
    }
    three.until("leaders everywhere", () =>
      [...three.nodes.values()].every((node) => node.shards.ledShards().length >= 4),
    );
    const voters = three.node("n1").host.view(0)?.conf.voters.length;
    expect(voters).toBe(3);
  });

  it("a second bootstrap under the same cluster name is refused (R30)", () => {
    const three = new Three();
    three.start("n1", wish);
    three.until("n1", () => three.nodes.has("n1"));
    three.clock.advance(2_000);
    three.start("n9", wish);
    three.until("refusal", () => three.refusals.has("n9"));
    expect(three.refusals.get("n9")).toMatch(/exists already/);
  });

  it("a node with an emptied directory under its old name is refused (R1)", () => {
    const three = new Three();
    three.start("n1", wish);
    three.start("n2");
    three.start("n3");
    three.until("ready", () => three.ready());
    three.node("n2").kill();
    three.nodes.delete("n2");
    three.disks.delete("n2");
    three.clock.advance(2_000);
    three.start("n2");
    three.until("refusal", () => three.refusals.has("n2"));
    expect(three.refusals.get("n2")).toMatch(/n2/);
  });
});
