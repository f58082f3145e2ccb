import { setTimeout as delay } from "node:timers/promises";
import { type Random, seededRandom } from "#runtime";
import type { Call } from "#sim";
import type { HttpClient } from "./http.ts";
import { type CallLimits, Recorder, type Told } from "./recorder.ts";

export interface LoadOptions {
  /** Asked before each call: whom clients may call now. */
  readonly servers: () => readonly HttpClient[];
  readonly recorder?: Recorder;
  readonly clients?: number;
  readonly keys?: number;
  /** Makes keys of another load other keys. */
  readonly prefix?: string;
  /** Each client waits up to twice this between calls: the load is bounded on any machine. */
  readonly pauseMs?: number;
  readonly limits?: CallLimits;
  readonly seed?: number | string;
}

/** Closed-loop clients with mixed calls on few keys: blind and conditional puts, deletes, reads of all kinds. */
export class Load {
  readonly recorder: Recorder;
  readonly told: Told[] = [];
  readonly #options: LoadOptions;
  readonly #keys: readonly string[];
  /** The highest revision anybody was told of, by key: for conditions that hold, and some that do not. */
  readonly #revisions = new Map<string, number>();
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: LoadOptions) {
    this.#options = options;
    this.recorder = options.recorder ?? new Recorder();
    const { keys = 32, prefix = "load" } = options;
    this.#keys = Array.from({ length: keys }, (_, i) => `${prefix}/${i}`);
  }

  start(): void {
    const { clients = 12, seed = 1 } = this.#options;
    const random = seededRandom(seed);
    const loops = Array.from({ length: clients }, (_, i) => this.#client(i, random.fork(`client ${i}`)));
    this.#running = Promise.all(loops);
  }

  /** Resolves once no call is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Calls answered as asked since `fromMs`. */
  succeeded(fromMs = 0): number {
    return this.told.filter(({ code, startMs }) => startMs >= fromMs && isFine(code)).length;
  }

  /** Calls that failed, by whom they went through and what they were told. */
  failures(fromMs = 0): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { server, code, why, answer, startMs } of this.told) {
      if (isFine(code) || startMs < fromMs) continue;
      const what = `${server}: ${why ?? code}, ${answer.kind}`;
      counts[what] = (counts[what] ?? 0) + 1;
    }
    return counts;
  }

  async #client(number: number, random: Random): Promise<void> {
    const { servers, pauseMs = 10, limits } = this.#options;
    const who = `c${number + 1}`;
    for (let turn = number; !this.#stopped; turn++) {
      const choices = servers();
      const server = choices[turn % choices.length];
      const key = this.#keys[random.below(this.#keys.length)] ?? "";
      if (server !== undefined) {
        const told = await this.recorder.call(server, who, key, this.#draw(random, key), limits);
        this.#learn(told);
      }
      await delay(random.below(2 * pauseMs + 1));
    }
  }

  #draw(random: Random, key: string): Call {
    const known = this.#revisions.get(key) ?? 0;
    const draw = random.below(100);
    if (draw < 40) return { kind: "put", value: this.recorder.newValue() };
    if (draw < 50) return { kind: "put", value: this.recorder.newValue(), condition: { match: [known] } };
    if (draw < 55) return { kind: "put", value: this.recorder.newValue(), condition: { noneMatch: "any" } };
    if (draw < 62) return { kind: "delete" };
    if (draw < 65) return { kind: "delete", condition: { match: "any" } };
    if (draw < 90) return { kind: "get" };
    if (draw < 94) return { kind: "leaderGet" };
    return { kind: "staleGet", ...(random.chance(0.5) && known > 0 ? { minRevision: known } : {}) };
  }

  #learn(told: Told): void {
    this.told.push(told);
    const { answer, key } = told;
    if (answer.kind !== "put" && answer.kind !== "found" && answer.kind !== "conditionFailed") return;
    if (answer.revision > (this.#revisions.get(key) ?? 0)) this.#revisions.set(key, answer.revision);
  }
}

/** A condition that does not hold and an absent key are answers. */
export function isFine(code: string | undefined): boolean {
  return code === undefined || code === "precondition_failed" || code === "not_found";
}
