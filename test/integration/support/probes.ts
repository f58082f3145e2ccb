import { setTimeout as delay } from "node:timers/promises";
import { type HttpClient, header } from "./http.ts";
import { type CallLimits, Recorder } from "./recorder.ts";
import { until } from "./wait.ts";

/** A key of every shard, found by writing. */
export async function keyPerShard(
  client: HttpClient,
  shards: readonly number[],
): Promise<ReadonlyMap<number, string>> {
  const found = new Map<number, string>();
  for (let i = 0; found.size < shards.length; i++) {
    if (i > 5000) throw new Error(`no key found for each of the shards ${shards.join(" ")}`);
    const key = `probe/${i}`;
    const reply = await client.call("PUT", `/v1/kv/${key}`, { body: "first" });
    const shard = Number(header(reply, "kvorum-shard"));
    if (reply.status !== 200 || !shards.includes(shard)) {
      throw new Error(`PUT ${key}: ${reply.status}, shard ${shard}: ${reply.body.toString()}`);
    }
    if (!found.has(shard)) found.set(shard, key);
  }
  return found;
}

export interface ProbeOptions {
  readonly keys: ReadonlyMap<number, string>;
  /** Asked before each write: through whom it may go now. */
  readonly servers: () => readonly HttpClient[];
  readonly recorder?: Recorder;
  readonly pauseMs?: number;
  readonly limits?: CallLimits;
}

/** Writes to each shard without end, one after the other, to see for how long a fault stops them. */
export class Probes {
  readonly recorder: Recorder;
  readonly #options: ProbeOptions;
  /** When writes were acknowledged, by shard. */
  readonly #acks = new Map<number, number[]>();
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.recorder = options.recorder ?? new Recorder();
  }

  start(): void {
    this.#running = Promise.all([...this.#options.keys].map(([shard, key]) => this.#probe(shard, key)));
  }

  /** Resolves once no write is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Until each shard has acknowledged `count` writes after `sinceMs`. */
  async untilEach(what: string, sinceMs: number, count: number): Promise<void> {
    await until(what, () => {
      const behind = [...this.#acks].filter(([, acks]) => acks.filter((ms) => ms > sinceMs).length < count);
      if (behind.length === 0) return true;
      throw new Error(`shards ${behind.map(([shard]) => shard).join(" ")} are behind`);
    });
  }

  /** For each shard the longest time without an acknowledgement that `fromMs` to now has seen. */
  gaps(fromMs: number): ReadonlyMap<number, number> {
    const nowMs = performance.now();
    return new Map(
      [...this.#acks].map(([shard, acks]) => {
        let gapMs = 0;
        let lastMs = fromMs;
        for (const ms of [...acks, nowMs]) {
          if (ms <= fromMs) continue;
          gapMs = Math.max(gapMs, ms - lastMs);
          lastMs = ms;
        }
        return [shard, gapMs];
      }),
    );
  }

  async #probe(shard: number, key: string): Promise<void> {
    const { servers, pauseMs = 20, limits } = this.#options;
    const acks: number[] = [];
    this.#acks.set(shard, acks);
    for (let turn = shard; !this.#stopped; turn++) {
      const choices = servers();
      const server = choices[turn % choices.length];
      if (server !== undefined) {
        const call = { kind: "put", value: this.recorder.newValue() } as const;
        const { answer } = await this.recorder.call(server, `probe ${shard}`, key, call, limits);
        if (answer.kind === "put") acks.push(performance.now());
      }
      await delay(pauseMs);
    }
  }
}
