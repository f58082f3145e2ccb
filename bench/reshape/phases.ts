/** Latencies of requests, by what was going on. @module */
import { Histogram } from "../histogram.ts";

/** What requests met while something went on. */
export interface Phase {
  readonly seconds: number;
  readonly reads: Histogram;
  readonly writes: Histogram;
  readonly failed: number;
}

/** Gathers requests; `cut` ends a phase and begins the next. */
export class Phases {
  #startedMs: number = performance.now();
  #reads: Histogram = new Histogram();
  #writes: Histogram = new Histogram();
  #failed = 0;

  record(kind: "read" | "write", us: number, fine: boolean): void {
    if (!fine) this.#failed++;
    else if (kind === "read") this.#reads.record(us);
    else this.#writes.record(us);
  }

  cut(): Phase {
    const nowMs = performance.now();
    const phase = {
      seconds: (nowMs - this.#startedMs) / 1000,
      reads: this.#reads,
      writes: this.#writes,
      failed: this.#failed,
    };
    this.#startedMs = nowMs;
    this.#reads = new Histogram();
    this.#writes = new Histogram();
    this.#failed = 0;
    return phase;
  }
}
