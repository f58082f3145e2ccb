import { type Clock, type Logger, type Random, silentLogger } from "#runtime";
import type { Wire, WireHandler } from "./wire.ts";

/** How messages travel from one host to another, one way. */
export interface SimLink {
  /** Each message's delay is drawn evenly from this range, ms. */
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** Probabilities, per message. NATS over one connection neither duplicates nor reorders. */
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  /** Throughput; a message waits for those before it. Infinity: no limit. */
  readonly bytesPerMs: number;
  /** Nothing passes. */
  readonly cut: boolean;
}

export const calmLink: SimLink = {
  delayMsMin: 0.1,
  delayMsMax: 0.5,
  loss: 0,
  duplicate: 0,
  reorder: 0,
  bytesPerMs: Number.POSITIVE_INFINITY,
  cut: false,
};

export interface SimNetworkOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger?: Logger;
  /** NATS's `max_payload`; default 1 MiB. */
  readonly maxPayloadBytes?: number;
  /** What the server keeps for a paused host before it cuts the connection; default 64 MiB. */
  readonly maxPendingBytes?: number;
  /** What links are like where nothing else is said; default `calmLink`. */
  readonly link?: Partial<SimLink>;
  /** How long a lost connection takes to come back, ms; default 50 to 120 as measured of NATS. */
  readonly reconnectMsMin?: number;
  readonly reconnectMsMax?: number;
}

interface Subscription {
  readonly wire: SimWire;
  readonly handler: WireHandler;
}

interface Delivery {
  readonly subscription: Subscription;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly noResponders: boolean;
}

/** What is under way from one wire to another, in order. */
interface Pipe {
  readonly queue: Delivery[];
  /** When the last one arrives, and when the link has room again. */
  lastAtMs: number;
  busyUntilMs: number;
  /** A connection at either end broke: what is under way is lost. */
  broken: boolean;
}

/** What happened to messages, for tests and reports. */
export interface SimNetworkStats {
  published: number;
  delivered: number;
  lost: number;
  duplicated: number;
  reordered: number;
  noResponders: number;
}

/**
 * A NATS server and its clients' connections in one process, under a given clock: at most once, in order
 * between two connections unless told otherwise, with the faults of a real network on demand. Wires belong
 * to hosts; faults are set between hosts. The same seed and calls give the same run.
 */
export class SimNetwork {
  readonly stats: SimNetworkStats = {
    published: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    noResponders: 0,
  };
  readonly clock: Clock;
  readonly logger: Logger;
  readonly maxPayloadBytes: number;
  readonly #random: Random;
  readonly #maxPendingBytes: number;
  readonly #reconnectMs: readonly [number, number];
  #default: SimLink;
  readonly #links = new Map<string, SimLink>();
  readonly #wires = new Set<SimWire>();
  /** By subject, or by subject with `*` as the last token. */
  readonly #subscriptions = new Map<string, Set<Subscription>>();
  readonly #pipes = new Map<SimWire, Map<SimWire, Pipe>>();
  readonly #paused = new Set<string>();
  /** Hosts whose connection to the server is cut without either side knowing. */
  readonly #isolated = new Set<string>();
  #up = true;

  constructor(options: SimNetworkOptions) {
    this.clock = options.clock;
    this.logger = options.logger ?? silentLogger;
    this.#random = options.random;
    this.maxPayloadBytes = options.maxPayloadBytes ?? 1024 * 1024;
    this.#maxPendingBytes = options.maxPendingBytes ?? 64 * 1024 * 1024;
    this.#reconnectMs = [options.reconnectMsMin ?? 50, options.reconnectMsMax ?? 120];
    this.#default = { ...calmLink, ...options.link };
  }

  /** A new connection of `host`. It connects right after, when the server is up. */
  wire(host: string): Wire {
    const wire = new SimWire(this, host);
    this.#wires.add(wire);
    this.clock.soon(() => this.#connect(wire));
    return wire;
  }

  // ---- faults

  /** Changes every link that `setLink` did not name. */
  setDefaultLink(link: Partial<SimLink>): void {
    this.#default = { ...this.#default, ...link };
  }

  /** Changes the way from one host to another; the way back stays. */
  setLink(from: string, to: string, link: Partial<SimLink>): void {
    this.#links.set(`${from}>${to}`, { ...this.#link(from, to), ...link });
  }

  /** Cuts the ways from each host of `from` to each of `to`; with `bothWays` (default) back too. */
  partition(from: readonly string[], to: readonly string[], bothWays = true): void {
    for (const a of from) {
      for (const b of to) {
        if (a === b) continue;
        this.setLink(a, b, { cut: true });
        if (bothWays) this.setLink(b, a, { cut: true });
      }
    }
  }

  /**
   * Cuts a host from the server, both ways; its connection stays open and nobody is told, as when a cable
   * is pulled. Its subscriptions stay, so others get no "no responders".
   */
  isolate(host: string): void {
    this.#isolated.add(host);
  }

  /** Ends all cuts, pauses and other settings of links; what was lost stays lost. */
  heal(): void {
    this.#links.clear();
    this.#isolated.clear();
    for (const host of [...this.#paused]) this.resume(host);
  }

  /** The host stops reading; what arrives waits, and beyond the server's bound its connection is cut. */
  pause(host: string): void {
    this.#paused.add(host);
  }

  resume(host: string): void {
    if (!this.#paused.delete(host)) return;
    for (const wire of this.#wires) {
      if (wire.host !== host) continue;
      for (const delivery of wire.takeHeld()) this.#hand(delivery);
    }
  }

  /** Breaks the connections of a host; they come back by themselves. */
  disconnect(host: string): void {
    for (const wire of this.#wires) if (wire.host === host) this.#drop(wire);
  }

  /** The server dies: every connection breaks and what is under way is lost. */
  stopServer(): void {
    this.#up = false;
    for (const wire of this.#wires) this.#drop(wire);
  }

  /** Connections come back one by one, each after a time of its own. */
  startServer(): void {
    if (this.#up) return;
    this.#up = true;
    for (const wire of this.#wires) this.#reconnectLater(wire);
  }

  #drop(wire: SimWire): void {
    if (!wire.connected) return;
    wire.setConnected(false);
    this.#breakPipesTo(wire);
    this.#breakPipesFrom(wire);
    this.clock.soon(() => wire.tellStatus());
    this.#reconnectLater(wire);
  }

  #reconnectLater(wire: SimWire): void {
    if (!this.#up) return;
    const [min, max] = this.#reconnectMs;
    this.clock.after(this.#between(min, max), () => this.#connect(wire));
  }

  #connect(wire: SimWire): void {
    if (!this.#up || wire.closed || wire.connected) return;
    wire.setConnected(true);
    wire.tellStatus();
  }

  // ---- what wires call

  addSubscription(subject: string, subscription: Subscription): () => void {
    const at = this.#subscriptions.get(subject) ?? new Set();
    this.#subscriptions.set(subject, at.add(subscription));
    return () => {
      at.delete(subscription);
    };
  }

  remove(wire: SimWire): void {
    this.#wires.delete(wire);
    this.#breakPipesTo(wire);
    // What it published before it ended is with the server and still arrives.
    this.#pipes.delete(wire);
    for (const at of this.#subscriptions.values()) {
      for (const subscription of at) if (subscription.wire === wire) at.delete(subscription);
    }
  }

  publish(from: SimWire, subject: string, data: Uint8Array, reply: string | undefined): void {
    this.stats.published++;
    if (this.#isolated.has(from.host)) {
      this.stats.lost++;
      return;
    }
    const listeners = this.#matching(subject);
    for (const subscription of listeners) {
      this.#route(from, { subscription, subject, data, noResponders: false });
    }
    if (listeners.length > 0 || reply === undefined) return;
    for (const subscription of this.#matching(reply)) {
      if (subscription.wire !== from) continue;
      this.stats.noResponders++;
      this.#route(from, { subscription, subject: reply, data: new Uint8Array(0), noResponders: true });
      return;
    }
  }

  /** Those the server knows: a broken connection has no subscriptions there. */
  #matching(subject: string): Subscription[] {
    const wildcard = `${subject.slice(0, subject.lastIndexOf(".") + 1)}*`;
    const found: Subscription[] = [];
    for (const key of [subject, wildcard]) {
      for (const subscription of this.#subscriptions.get(key) ?? []) {
        if (subscription.wire.connected) found.push(subscription);
      }
    }
    return found;
  }

  #route(from: SimWire, delivery: Delivery): void {
    const to = delivery.subscription.wire;
    // The server's own answer takes the way back to its asker, which no link between hosts describes.
    const link = delivery.noResponders
      ? { ...this.#default, loss: 0, cut: false }
      : this.#link(from.host, to.host);
    if (link.cut || this.#isolated.has(to.host) || this.#random.chance(link.loss)) {
      this.stats.lost++;
      return;
    }
    this.#schedule(from, delivery, link);
    if (!this.#random.chance(link.duplicate)) return;
    this.stats.duplicated++;
    this.#schedule(from, delivery, link);
  }

  #schedule(from: SimWire, delivery: Delivery, link: SimLink): void {
    const nowMs = this.clock.nowMs();
    const to = delivery.subscription.wire;
    const pipe = this.#pipe(from, to);
    pipe.busyUntilMs = Math.max(pipe.busyUntilMs, nowMs) + delivery.data.length / link.bytesPerMs;
    const atMs = pipe.busyUntilMs + this.#between(link.delayMsMin, link.delayMsMax);
    const arrive = (arrived: Delivery): void => {
      if (!pipe.broken && !this.#isolated.has(to.host)) this.#hand(arrived);
      else this.stats.lost++;
    };
    if (this.#random.chance(link.reorder)) {
      this.stats.reordered++;
      this.clock.after(atMs - nowMs, () => arrive(delivery));
      return;
    }
    // The pipe's order, not the timers', decides: equal times may differ by a rounding.
    pipe.lastAtMs = Math.max(pipe.lastAtMs, atMs);
    pipe.queue.push(delivery);
    this.clock.after(pipe.lastAtMs - nowMs, () => {
      const next = pipe.queue.shift();
      if (next !== undefined) arrive(next);
    });
  }

  #hand(delivery: Delivery): void {
    const { wire, handler } = delivery.subscription;
    if (wire.closed) return;
    if (this.#paused.has(wire.host)) {
      if (wire.hold(delivery) > this.#maxPendingBytes) this.#drop(wire);
      return;
    }
    this.stats.delivered++;
    try {
      handler(delivery.subject, delivery.data, delivery.noResponders);
    } catch (error) {
      this.logger.error({ err: error, subject: delivery.subject }, "a wire handler threw");
    }
  }

  #pipe(from: SimWire, to: SimWire): Pipe {
    const pipes = this.#pipes.get(from) ?? new Map<SimWire, Pipe>();
    this.#pipes.set(from, pipes);
    const pipe = pipes.get(to) ?? { queue: [], lastAtMs: 0, busyUntilMs: 0, broken: false };
    pipes.set(to, pipe);
    return pipe;
  }

  #breakPipesTo(wire: SimWire): void {
    for (const pipes of this.#pipes.values()) {
      const pipe = pipes.get(wire);
      if (pipe !== undefined) pipe.broken = true;
      pipes.delete(wire);
    }
  }

  #breakPipesFrom(wire: SimWire): void {
    for (const pipe of this.#pipes.get(wire)?.values() ?? []) pipe.broken = true;
    this.#pipes.delete(wire);
  }

  #link(from: string, to: string): SimLink {
    return this.#links.get(`${from}>${to}`) ?? this.#default;
  }

  /** In whole microseconds, so that sums stay the same on every machine. */
  #between(minMs: number, maxMs: number): number {
    const spanMicros = Math.max(0, Math.round((maxMs - minMs) * 1000));
    return minMs + this.#random.below(spanMicros + 1) / 1000;
  }
}

class SimWire implements Wire {
  readonly host: string;
  readonly #network: SimNetwork;
  #connected = false;
  #told = false;
  #epoch = 0;
  #closed = false;
  #held: Delivery[] = [];
  #heldBytes = 0;
  readonly #statusHandlers = new Set<(connected: boolean) => void>();

  constructor(network: SimNetwork, host: string) {
    this.#network = network;
    this.host = host;
  }

  get connected(): boolean {
    return this.#connected;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get maxPayloadBytes(): number {
    return this.#network.maxPayloadBytes;
  }

  publish(subject: string, data: Uint8Array, reply?: string): boolean {
    if (!this.#connected || data.length > this.maxPayloadBytes) return false;
    this.#network.publish(this, subject, data, reply);
    return true;
  }

  subscribe(subject: string, handler: WireHandler): () => void {
    return this.#network.addSubscription(subject, { wire: this, handler });
  }

  onStatus(handler: (connected: boolean) => void): () => void {
    this.#statusHandlers.add(handler);
    return () => {
      this.#statusHandlers.delete(handler);
    };
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#connected = false;
    this.#statusHandlers.clear();
    this.#network.remove(this);
    return Promise.resolve();
  }

  setConnected(connected: boolean): void {
    this.#connected = connected;
    if (connected) this.#epoch++;
    this.#held = [];
    this.#heldBytes = 0;
  }

  /** Says what changed since it was last said. */
  tellStatus(): void {
    if (this.#told === this.#connected) return;
    this.#told = this.#connected;
    for (const handler of [...this.#statusHandlers]) {
      try {
        handler(this.#connected);
      } catch (error) {
        this.#network.logger.error({ err: error }, "a wire status handler threw");
      }
    }
  }

  /** Keeps what a paused host does not read; returns the bytes kept. */
  hold(delivery: Delivery): number {
    this.#held.push(delivery);
    this.#heldBytes += delivery.data.length;
    return this.#heldBytes;
  }

  takeHeld(): Delivery[] {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    return held;
  }
}
