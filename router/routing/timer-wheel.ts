import type { Cancel, Clock } from "#runtime";

/** Distance of two ticks, ms: timers run at most this much late. */
const tickMs = 8;
const slotCount = 1024;

/** One timer of a wheel; set, cleared and set again without allocating. Owned by whoever made it. */
export class WheelTimer {
  /** What to run; it may set the timer again. */
  readonly run: () => void;
  /** @internal */
  dueTick = 0;
  /** @internal Undefined when not set. */
  slot: WheelTimer | undefined;
  /** @internal */
  next: WheelTimer | undefined;
  /** @internal */
  previous: WheelTimer | undefined;

  constructor(run: () => void) {
    this.run = run;
  }

  get isSet(): boolean {
    return this.slot !== undefined;
  }
}

/**
 * Very many timers on one timer of the clock: every request has a deadline and nearly all of them are
 * cleared long before it. A hashed wheel (Varghese and Lauck 1987, scheme 6): set and clear are O(1), a tick
 * looks at one slot. Timers beyond one turn of the wheel stay in their slot for the turns it takes.
 */
export class TimerWheel {
  readonly #clock: Clock;
  /** Each slot is the head of a doubly linked list. */
  readonly #slots: readonly WheelTimer[];
  #count = 0;
  /** The last tick that was looked at. */
  #tick = 0;
  #cancelTick: Cancel | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#slots = Array.from({ length: slotCount }, () => new WheelTimer(() => {}));
  }

  /** Timers set at present. */
  get size(): number {
    return this.#count;
  }

  /** Runs `timer` once the clock is at or past `atMs`; takes the place of an earlier setting. */
  set(timer: WheelTimer, atMs: number): void {
    this.clear(timer);
    if (this.#count === 0) this.#tick = Math.floor(this.#clock.nowMs() / tickMs);
    timer.dueTick = Math.max(Math.ceil(atMs / tickMs), this.#tick + 1);
    const head = this.#slots[timer.dueTick % slotCount];
    if (head === undefined) return;
    timer.slot = head;
    timer.previous = head;
    timer.next = head.next;
    if (head.next !== undefined) head.next.previous = timer;
    head.next = timer;
    this.#count += 1;
    this.#arm();
  }

  clear(timer: WheelTimer): void {
    if (timer.slot === undefined) return;
    if (timer.previous !== undefined) timer.previous.next = timer.next;
    if (timer.next !== undefined) timer.next.previous = timer.previous;
    timer.slot = undefined;
    timer.next = undefined;
    timer.previous = undefined;
    this.#count -= 1;
  }

  /** Forgets all timers. */
  close(): void {
    for (const head of this.#slots) while (head.next !== undefined) this.clear(head.next);
    this.#cancelTick?.();
    this.#cancelTick = undefined;
  }

  #arm(): void {
    if (this.#cancelTick !== undefined || this.#count === 0) return;
    const untilNextMs = (this.#tick + 1) * tickMs - this.#clock.nowMs();
    this.#cancelTick = this.#clock.after(Math.max(0, untilNextMs), () => {
      this.#cancelTick = undefined;
      // Answers that wait in the socket after a stall come before the verdict that there were none (R15).
      this.#clock.soon(() => this.#turn());
    });
  }

  #turn(): void {
    const nowTick = Math.floor(this.#clock.nowMs() / tickMs);
    const due: WheelTimer[] = [];
    // After a stall of more than a turn each slot is looked at once.
    const slots = Math.min(nowTick - this.#tick, slotCount);
    for (let i = 1; i <= slots; i++) this.#collect((this.#tick + i) % slotCount, nowTick, due);
    this.#tick = Math.max(this.#tick, nowTick);
    due.sort((a, b) => a.dueTick - b.dueTick);
    for (const timer of due) {
      // One that ran before it may have cleared it or set it anew.
      if (timer.slot === undefined || timer.dueTick > nowTick) continue;
      this.clear(timer);
      timer.run();
    }
    this.#arm();
  }

  /** The due ones of a slot, in the order they were set. */
  #collect(slot: number, nowTick: number, due: WheelTimer[]): void {
    const first = due.length;
    for (let timer = this.#slots[slot]?.next; timer !== undefined; timer = timer.next) {
      if (timer.dueTick <= nowTick) due.push(timer);
    }
    if (due.length - first > 1) due.splice(first, due.length - first, ...due.slice(first).reverse());
  }
}
