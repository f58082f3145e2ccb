/** What nodes send each other as snapshots, from their metrics. @module */
import { setTimeout as delay } from "node:timers/promises";
import type { HostPort } from "../load/requests.ts";
import { urlOf } from "../servers/served.ts";

/** Bytes sent until a moment. */
export interface Reading {
  readonly ms: number;
  readonly bytes: number;
}

const everyMs = 100;
/** Over at least this long a rate is looked at. */
export const windowMs = 1000;

/** Reads the counters of all nodes again and again. */
export class Traffic {
  readonly #hosts: () => readonly HostPort[];
  readonly #readings: Map<string, Reading[]> = new Map();
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(hosts: () => readonly HostPort[]) {
    this.#hosts = hosts;
  }

  async start(): Promise<void> {
    await this.#look();
    this.#running = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    await this.#look();
  }

  /** Of all nodes together, since `start`. */
  get sentBytes(): number {
    return [...this.#readings.values()].reduce((sum, readings) => {
      return sum + (readings.at(-1)?.bytes ?? 0) - (readings[0]?.bytes ?? 0);
    }, 0);
  }

  /** The most that any node sent in a second. */
  get peakBytesPerS(): number {
    return Math.max(0, ...[...this.#readings.values()].map(peakOf));
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      await delay(everyMs);
      await this.#look();
    }
  }

  async #look(): Promise<void> {
    await Promise.all(
      this.#hosts().map(async (host) => {
        const url = urlOf(host);
        const page = await pageOf(url);
        if (page === undefined) return;
        const readings = this.#readings.get(url) ?? [];
        if (readings.length === 0) this.#readings.set(url, readings);
        readings.push({ ms: performance.now(), bytes: sentIn(page) });
      }),
    );
  }
}

/** undefined: it could not be asked now; the counter goes on. */
async function pageOf(url: string): Promise<string | undefined> {
  try {
    const answer = await fetch(`${url}/metrics`);
    return answer.ok ? await answer.text() : undefined;
  } catch {
    return undefined;
  }
}

/** @throws Error when the page has no such counter */
export function sentIn(page: string): number {
  const value = /^kvorum_raft_snapshot_bytes_sent_total (\S+)$/m.exec(page)?.[1];
  if (value === undefined) throw new Error("the metrics have no kvorum_raft_snapshot_bytes_sent_total");
  return Number(value);
}

/** The highest rate between two readings that are a window or a little more apart, bytes per second. */
export function peakOf(readings: readonly Reading[]): number {
  let peak = 0;
  let from = 0;
  for (const { ms, bytes } of readings) {
    // The latest one that is a whole window ago.
    while ((readings[from + 1]?.ms ?? Number.POSITIVE_INFINITY) <= ms - windowMs) from++;
    const begin = readings[from];
    if (begin === undefined || ms - begin.ms < windowMs) continue;
    peak = Math.max(peak, ((bytes - begin.bytes) / (ms - begin.ms)) * 1000);
  }
  return peak;
}
