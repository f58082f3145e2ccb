import { describe, expect, it } from "vitest";
import { type ShardDescriptor, tiles } from "#proto";
import { seededRandom, silentLogger, VirtualClock } from "#runtime";
import { MemoryDisk, openMemory } from "#storage";
import { SimNetwork } from "#transport";
import { type AssembledNode, assembleNode } from "./assemble.ts";
import type { Wish } from "./identity.ts";

interface Operation {
  readonly id: string;
  readonly state: string;
  readonly detail?: string;
}

/** Nodes on their real parts, shards included, in one process under a virtual clock. */
class Cluster {
  readonly clock: VirtualClock = new VirtualClock();
  readonly network: SimNetwork;
  readonly nodes: Map<string, AssembledNode> = new Map();
  readonly #random = seededRandom(11);
  #fatal: Error | undefined;
  #written = 0;

  constructor(names: readonly string[], wish: Wish) {
    this.network = new SimNetwork({ clock: this.clock, random: this.#random.fork("net") });
    for (const [i, name] of names.entries()) this.#start(name, i === 0 ? wish : undefined);
    this.until("ready", () => this.nodes.size === names.length && this.whole);
  }

  #start(name: string, bootstrap?: Wish): void {
    assembleNode(
      {
        name,
        cluster: "test",
        http: `127.0.0.1:74${name.slice(1).padStart(2, "0")}`,
        labels: {},
        ...(bootstrap === undefined ? {} : { bootstrap }),
        engine: openMemory(new MemoryDisk(), { clock: this.clock }),
        wire: this.network.wire(name),
        clock: this.clock,
        random: this.#random.fork(name),
        logger: silentLogger,
        pid: 1,
        version: "0.0.0",
        onFatal: (error) => {
          this.#fatal = error;
        },
      },
      (result) => {
        if (result.ok) this.nodes.set(name, result.node);
      },
    );
  }

  until(what: string, holds: () => boolean, limitMs = 60_000): void {
    const endMs = this.clock.nowMs() + limitMs;
    while (!holds()) {
      if (this.#fatal !== undefined) throw this.#fatal;
      if (this.clock.nowMs() >= endMs) throw new Error(`not within ${limitMs} virtual ms: ${what}`);
      this.clock.advance(20);
    }
  }

  get any(): AssembledNode {
    return [...this.nodes.values()][0] as AssembledNode;
  }

  node(name: string): AssembledNode {
    return this.nodes.get(name) as AssembledNode;
  }

  get model(): AssembledNode["placement"]["model"] {
    return [...this.nodes.values()].find((node) => node.placement.leads)?.placement.model;
  }

  get whole(): boolean {
    const { model } = this;
    if (model === undefined || model.shards.size === 0) return false;
    return (
      [...model.shards.values()].every((s) => s.health === "healthy" && s.birth === undefined) &&
      [...this.nodes.values()].every((node) => node.ready())
    );
  }

  /** The shards of the default keyspace in order; they must tile it whenever they are looked at. */
  shards(): readonly { readonly id: number; readonly start: Uint8Array }[] {
    const all = [...(this.model?.shards.values() ?? [])].map((s) => s.descriptor);
    all.sort((a, b) => Buffer.compare(a.start, b.start));
    expect(tiles(all)).toBe(true);
    return all;
  }

  admin(operation: string, parameters: Record<string, unknown> = {}): { kind: string; body?: unknown } {
    let answer: { kind: string; body?: unknown } | undefined;
    this.any.router.admin({ operation, parameters }, 5_000, (outcome) => {
      answer = outcome;
    });
    this.until(operation, () => answer !== undefined);
    return answer as { kind: string; body?: unknown };
  }

  begin(operation: string, parameters: Record<string, unknown>): string {
    const answer = this.admin(operation, parameters);
    expect(answer).toMatchObject({ kind: "ok" });
    return (answer.body as { operation: string }).operation;
  }

  look(id: string): Operation {
    return this.admin("operations.get", { id }).body as Operation;
  }

  end(id: string): Operation {
    let seen: Operation | undefined;
    this.until(`operation ${id}`, () => {
      seen = this.look(id);
      return seen.state !== "running";
    });
    return seen as Operation;
  }

  /** Writes until `done`, every one of which must be answered as applied. @returns how many */
  writeWhile(done: () => boolean, keyOf: (n: number) => string): number {
    const before = this.#written;
    while (!done()) {
      const key = keyOf(this.#written);
      let outcome: { kind: string } | undefined;
      const operation = { kind: "put", value: Buffer.from(key), contentType: "text/plain" } as const;
      this.any.router.write(
        { keyspace: "default", key: Buffer.from(key), operation, timeoutMs: 5_000 },
        (result) => {
          outcome = result;
        },
      );
      this.until(`put ${key}`, () => outcome !== undefined);
      expect(outcome, key).toMatchObject({ kind: "put" });
      this.#written += 1;
    }
    return this.#written - before;
  }

  get(key: string): unknown {
    let outcome: unknown;
    this.any.router.read(
      { keyspace: "default", key: Buffer.from(key), consistency: "linearizable", timeoutMs: 5_000 },
      (result) => {
        outcome = result;
      },
    );
    this.until(`get ${key}`, () => outcome !== undefined);
    return outcome;
  }
}

const four = ["n1", "n2", "n3", "n4"];
/** Voters of the configuration, or of both halves of a joint one. */
function halves({ replicas }: ShardDescriptor): readonly (readonly unknown[])[] {
  const without = (gone: string): readonly unknown[] =>
    replicas.filter(({ role }) => role !== gone && role !== "learner");
  return [without("outgoing"), without("incoming")];
}

const keyOf = (n: number): string => `key-${String(n).padStart(5, "0")}`;

function expectAll(c: Cluster, count: number): void {
  for (let n = 0; n < count; n += 7) expect(c.get(keyOf(n)), keyOf(n)).toMatchObject({ kind: "found" });
}

describe("splitting while clients write", () => {
  it.each(["range", "hash"] as const)(
    "%s: in four parts, no write fails, every key is there",
    (partition) => {
      const c = new Cluster(["n1", "n2", "n3"], { shards: 1, replicas: 3, partition });
      let n = 0;
      c.writeWhile(() => n++ >= 60, keyOf);
      const id = c.begin("shards.split", { id: 1, ways: 4 });
      const more = c.writeWhile(() => c.look(id).state !== "running", keyOf);
      expect(c.look(id)).toMatchObject({ state: "done" });
      c.until("four shards", () => c.shards().length === 4 && c.whole);
      expectAll(c, 60 + more);
      const why = c.admin("shards.why", { key: keyOf(59) }).body as { decisions: { reason: string }[] };
      expect(why.decisions[0]?.reason).toMatch(/shard/);
    },
  );

  it("at a key: it begins the new shard; once more there is a conflict with itself", () => {
    const c = new Cluster(["n1", "n2", "n3"], { shards: 1, replicas: 3, partition: "range" });
    let n = 0;
    c.writeWhile(() => n++ >= 20, keyOf);
    const at = keyOf(10);
    expect(c.end(c.begin("shards.split", { id: 1, at }))).toMatchObject({ state: "done" });
    expect(c.shards().map((s) => Buffer.from(s.start).toString())).toEqual(["", at]);
    const child = c.shards()[1]?.id ?? 0;
    expect(c.admin("shards.split", { id: child, at })).toMatchObject({ code: "bad_parameter" });
    expect(c.admin("shards.split", { id: 1, at })).toMatchObject({ code: "bad_parameter" });
    expectAll(c, 20);
  });

  it("in a hash keyspace it falls between slots, and a shard of one slot is blocked", () => {
    const c = new Cluster(["n1"], { shards: 1, replicas: 1, partition: "hash" });
    expect(c.admin("keyspaces.create", { name: "tiny", slots: 2, shards: 1 })).toMatchObject({ kind: "ok" });
    c.until("whole", () => c.whole);
    const id = [...(c.model?.shards.values() ?? [])].find((s) => s.keyspace?.name === "tiny")?.id;
    expect(c.end(c.begin("shards.split", { id, at: "a" }))).toMatchObject({ state: "done" });
    c.until("whole", () => c.whole);
    expect(c.admin("shards.split", { id })).toMatchObject({ code: "blocked" });
  });

  it("by itself, when it has grown beyond split_bytes", () => {
    const c = new Cluster(["n1", "n2", "n3"], { shards: 1, replicas: 3, partition: "range" });
    c.admin("config.set", { changes: { split_bytes: 65_536 } });
    const big = Buffer.alloc(8_192, 1);
    for (let n = 0; n < 24; n++) {
      let outcome: unknown;
      const operation = { kind: "put", value: big, contentType: "text/plain" } as const;
      c.any.router.write(
        { keyspace: "default", key: Buffer.from(keyOf(n)), operation, timeoutMs: 5_000 },
        (result) => {
          outcome = result;
        },
      );
      c.until("put", () => outcome !== undefined);
    }
    c.until("split", () => c.shards().length > 1 && c.whole, 120_000);
    expectAll(c, 24);
  });
});

describe("moving while clients write", () => {
  it("five replicas instead of three, and three again, logs compacted meanwhile: no write fails (R10)", () => {
    const c = new Cluster([...four, "n5"], { shards: 3, replicas: 3, partition: "hash" });
    let count = c.writeWhile(() => c.model?.warm === true && c.whole, keyOf);
    for (const replicas of [5, 3]) {
      c.admin("config.set", { changes: { replicas } });
      count += c.writeWhile(() => {
        c.admin("snapshot");
        const shards = [...(c.model?.shards.values() ?? [])];
        const sizes = shards.map(({ descriptor }) => halves(descriptor).map((half) => half.length));
        expect(sizes.flat().every((size) => size === 3 || size === 5)).toBe(true);
        return c.whole && shards.every(({ descriptor }) => descriptor.replicas.length === replicas);
      }, keyOf);
    }
    expectAll(c, count);
  });

  it("decommission and recommission: no write fails, every key is there", () => {
    const c = new Cluster(four, { shards: 4, replicas: 3, partition: "hash" });
    let n = 0;
    c.writeWhile(() => n++ >= 40, keyOf);
    const id = c.begin("nodes.decommission", { name: "n2" });
    const more = c.writeWhile(() => c.look(id).state !== "running", keyOf);
    expect(c.look(id)).toMatchObject({ state: "done" });
    expect(c.node("n2").host.groups()).toEqual([]);
    expectAll(c, 40 + more);
    c.end(c.begin("nodes.recommission", { name: "n2" }));
    c.until("replicas again", () => c.node("n2").host.groups().length > 0 && c.whole, 120_000);
    expectAll(c, 40 + more);
  });
});
