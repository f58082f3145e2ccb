import type { Cancel, Clock, Random, VirtualClock } from "#runtime";

export interface NodeClockOptions {
  /** How fast the node's oscillator runs, in millionths away from true. */
  readonly driftPpm: number;
  /** How far its wall clock stands from true at the start, in µs. */
  readonly wallOffsetMicros: number;
  /** Polls of the event loop take up to this long, in µs; drawn for each, so that nodes interleave. */
  readonly pollMicrosMax: number;
}

/** A timer must not fire before its own clock says so, whatever the sums of fractions round to. */
const roundingMs = 1e-6;

interface Waiting {
  readonly run: () => void;
  cancelled: boolean;
}

/**
 * The clock of one process: its own zero, drift and wall clock over the world's virtual time. Paused, as by
 * SIGSTOP, time goes on and what falls due is held and run late, in order. Killed, nothing runs any more.
 */
export class NodeClock implements Clock {
  readonly #world: VirtualClock;
  readonly #random: Random;
  readonly #rate: number;
  readonly #pollMicrosMax: number;
  /** The world's time at the start of the process, and what its own clock said then: of no use to others. */
  readonly #startMs: number;
  readonly #zeroMs: number;
  readonly #wallStartMicros: number;
  #wallJumpsMicros = 0;
  #state: "running" | "paused" | "killed" = "running";
  #held: Waiting[] = [];
  #pausedAtMs = 0;
  #pausedMs = 0;
  readonly #pending = new Set<Waiting>();
  /** Told after each callback that ran: the process may have changed. */
  onRan: () => void = () => {};

  constructor(world: VirtualClock, random: Random, options: NodeClockOptions) {
    this.#world = world;
    this.#random = random;
    this.#rate = 1 + options.driftPpm / 1_000_000;
    this.#pollMicrosMax = options.pollMicrosMax;
    this.#startMs = world.nowMs();
    this.#zeroMs = random.below(1_000_000);
    this.#wallStartMicros = world.wallMicros() + options.wallOffsetMicros;
  }

  nowMs(): number {
    return this.#zeroMs + (this.#world.nowMs() - this.#startMs) * this.#rate;
  }

  wallMicros(): number {
    const elapsedMicros = (this.#world.nowMs() - this.#startMs) * this.#rate * 1000;
    return this.#wallStartMicros + this.#wallJumpsMicros + Math.floor(elapsedMicros);
  }

  after(delayMs: number, run: () => void): Cancel {
    return this.#schedule(delayMs > 0 ? delayMs / this.#rate + roundingMs : 0, run);
  }

  soon(run: () => void): void {
    this.#schedule(this.#random.below(this.#pollMicrosMax + 1) / 1000, run);
  }

  #schedule(worldDelayMs: number, run: () => void): Cancel {
    const waiting: Waiting = { run, cancelled: false };
    if (this.#state === "killed") return () => {};
    this.#pending.add(waiting);
    const cancel = this.#world.after(worldDelayMs, () => this.#due(waiting));
    return () => {
      waiting.cancelled = true;
      this.#pending.delete(waiting);
      cancel();
    };
  }

  #due(waiting: Waiting): void {
    if (waiting.cancelled || this.#state === "killed") return;
    if (this.#state === "paused") {
      this.#held.push(waiting);
      return;
    }
    this.#pending.delete(waiting);
    waiting.run();
    this.onRan();
  }

  /** Callbacks set and neither run nor cancelled. */
  get pending(): number {
    return this.#pending.size;
  }

  get paused(): boolean {
    return this.#state === "paused";
  }

  /** Time spent paused, by its own clock: what a clock that stands still in sleep would not count. */
  get pausedMs(): number {
    return this.#pausedMs;
  }

  pause(): void {
    if (this.#state !== "running") return;
    this.#state = "paused";
    this.#pausedAtMs = this.nowMs();
  }

  /** Timers first, then sockets, as Node's event loop wakes up (R15): callers resume the network after this. */
  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "running";
    this.#pausedMs += this.nowMs() - this.#pausedAtMs;
    const held = this.#held;
    this.#held = [];
    for (const waiting of held) this.#world.after(0, () => this.#due(waiting));
  }

  /** The process is gone. */
  kill(): void {
    this.#state = "killed";
    this.#held = [];
    this.#pending.clear();
  }

  jumpWall(micros: number): void {
    this.#wallJumpsMicros += micros;
  }
}
