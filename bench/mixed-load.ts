/** Writes and reads that go on while a node is killed, and remember what was acknowledged. @module */
import { setTimeout as delay } from "node:timers/promises";
import { Caller, type Reply } from "./load/caller.ts";
import type { HostPort } from "./load/requests.ts";

export interface MixedOptions {
  readonly hosts: readonly HostPort[];
  readonly clients: number;
  /** Each client rests so long between two requests: the load shall not take the CPU that failover needs. */
  readonly restMs: number;
  readonly timeoutMs: number;
  /** First part of all its keys. */
  readonly prefix: string;
  /** Told of every request that is over. */
  readonly onRequest?: (kind: "read" | "write", us: number, fine: boolean) => void;
  /** Told of every request that failed, in words. */
  readonly onFailure?: (what: string) => void;
}

export interface MixedCount {
  readonly acknowledged: number;
  readonly failed: number;
  /** Linearizable reads that gave less than had been acknowledged before they began. */
  readonly readsBehind: number;
}

/** Then the next key: so the load reaches many shards. */
const writesPerKey = 10;
const verifyTries = 50;

export class MixedLoad {
  readonly #options: MixedOptions;
  /** Key to the last number whose write was acknowledged; each key has one writer, which counts up. */
  readonly #acknowledged: Map<string, number> = new Map();
  #running: Promise<unknown> = Promise.resolve();
  #stopping = false;
  #writes = 0;
  #failed = 0;
  #readsBehind = 0;

  constructor(options: MixedOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = Promise.all(
      Array.from({ length: this.#options.clients }, (_, client) => this.#runClient(client)),
    );
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  count(): MixedCount {
    return { acknowledged: this.#writes, failed: this.#failed, readsBehind: this.#readsBehind };
  }

  /**
   * Reads all keys again, after `stop`.
   * @returns how many acknowledged writes are gone: keys whose number is below the last acknowledged one
   * @throws Error when a key cannot be read
   */
  async lost(): Promise<number> {
    const { hosts, timeoutMs } = this.#options;
    let lost = 0;
    const entries = [...this.#acknowledged];
    const readers = Array.from({ length: 16 }, async (_, at) => {
      const caller = new Caller(hosts, at, timeoutMs);
      for (let entry = entries.pop(); entry !== undefined; entry = entries.pop()) {
        const [key, number] = entry;
        if ((await readForSure(caller, key)) < number) lost++;
      }
      caller.close();
    });
    await Promise.all(readers);
    return lost;
  }

  /** Writes through one node and reads through the next. */
  async #runClient(client: number): Promise<void> {
    const { hosts, prefix, restMs, timeoutMs } = this.#options;
    const writer = new Caller(hosts, client, timeoutMs);
    const reader = new Caller(hosts, client + 1, timeoutMs);
    for (let part = 0; !this.#stopping; part++) {
      const key = `${prefix}/${client}/${part}`;
      for (let number = 1; number <= writesPerKey && !this.#stopping; number++) {
        const reply = await this.#timed("write", () => writer.call("PUT", pathOf(key), String(number)));
        const outcome = this.#note(key, number, reply);
        await delay(restMs);
        this.#check(key, await this.#timed("read", () => reader.call("GET", pathOf(key))));
        await delay(restMs);
        // It might still be applied, over what this client writes next: nothing else is said of this key.
        if (outcome === "unknown") break;
      }
    }
    writer.close();
    reader.close();
  }

  async #timed(kind: "read" | "write", call: () => Promise<Reply>): Promise<Reply> {
    const startMs = performance.now();
    const reply = await call();
    const fine = kind === "write" ? outcomeOf(reply) === "acknowledged" : numberIn(reply) !== undefined;
    const ms = performance.now() - startMs;
    this.#options.onRequest?.(kind, ms * 1000, fine);
    if (!fine) this.#options.onFailure?.(`a ${kind} failed after ${Math.round(ms)} ms: ${describe(reply)}`);
    return reply;
  }

  #note(key: string, number: number, reply: Reply): "acknowledged" | "not_applied" | "unknown" {
    const outcome = outcomeOf(reply);
    if (outcome === "acknowledged") {
      this.#acknowledged.set(key, number);
      this.#writes++;
    } else this.#failed++;
    return outcome;
  }

  #check(key: string, reply: Reply): void {
    const found = numberIn(reply);
    if (found === undefined) this.#failed++;
    else if (found < (this.#acknowledged.get(key) ?? 0)) this.#readsBehind++;
  }
}

function describe(reply: Reply): string {
  return reply.kind === "answer" ? `${reply.status} ${reply.body.slice(0, 200)}` : reply.kind;
}

/** What a write's answer says of it. */
export function outcomeOf(reply: Reply): "acknowledged" | "not_applied" | "unknown" {
  if (reply.kind === "unsent") return "not_applied";
  if (reply.kind === "lost") return "unknown";
  if (reply.status === 200) return "acknowledged";
  return /"outcome" *: *"not_applied"/.test(reply.body) ? "not_applied" : "unknown";
}

/** undefined: the read failed; 0: no such key. */
export function numberIn(reply: Reply): number | undefined {
  if (reply.kind !== "answer") return undefined;
  if (reply.status === 404) return 0;
  return reply.status === 200 ? Number(reply.body) : undefined;
}

async function readForSure(caller: Caller, key: string): Promise<number> {
  for (let attempt = 0; attempt < verifyTries; attempt++) {
    const found = numberIn(await caller.call("GET", pathOf(key)));
    if (found !== undefined) return found;
    await delay(200);
  }
  throw new Error(`${key} could not be read in ${verifyTries} attempts`);
}

function pathOf(key: string): string {
  return `/v1/kv/${key}`;
}
