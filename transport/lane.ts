import type { Address, BootId, ClusterId } from "#proto";
import { Link, type LinkContext, type TransportLimits } from "./link.ts";
import type { TransportStats } from "./stats.ts";
import { inboxSubject, type LaneName, packetSubject } from "./subjects.ts";
import type { Wire, WireHandler } from "./wire.ts";

/** After so long without a packet from it a source's share of the window goes to the others, ms. */
const idleAfterMs = 60_000;
const fragmentsAgeMsMax = 5_000;

export interface LaneOptions {
  readonly name: LaneName;
  readonly clusterName: string;
  readonly clusterId: ClusterId;
  readonly self: Address;
  readonly boot: BootId;
  readonly wire: Wire;
  readonly stats: TransportStats;
  readonly limits: TransportLimits;
}

/** One connection of a mesh and the links over it. */
export class Lane {
  readonly name: LaneName;
  readonly wire: Wire;
  /** Monotonic ms; meaningless while disconnected. */
  connectedAtMs = 0;
  readonly #options: LaneOptions;
  readonly #context: LinkContext;
  readonly #links = new Map<Address, Link>();
  #dirty: Link[] = [];
  #stop: (() => void)[] = [];

  constructor(options: LaneOptions) {
    this.name = options.name;
    this.wire = options.wire;
    this.#options = options;
    this.#context = {
      cluster: options.clusterId,
      boot: options.boot,
      wire: options.wire,
      stats: options.stats,
      limits: options.limits,
      grantBytes: options.limits.windowBytes,
      totalSent: 0,
    };
    this.#shareWindow(0);
  }

  start(onMessage: WireHandler, onStatus: (connected: boolean) => void): void {
    const { name, clusterName, self } = this.#options;
    this.#stop = [
      this.wire.onStatus(onStatus),
      this.wire.subscribe(inboxSubject(name, clusterName, self), onMessage),
    ];
  }

  stop(): void {
    for (const stop of this.#stop) stop();
    this.#stop = [];
  }

  link(address: Address): Link {
    const known = this.#links.get(address);
    if (known !== undefined) return known;
    const { name, clusterName, self } = this.#options;
    const link = new Link(this.#context, address, packetSubject(name, clusterName, address, self));
    this.#links.set(address, link);
    return link;
  }

  links(): IterableIterator<Link> {
    return this.#links.values();
  }

  markDirty(link: Link): void {
    if (link.dirty) return;
    link.dirty = true;
    this.#dirty.push(link);
  }

  flush(): void {
    if (this.#dirty.length === 0) return;
    const links = this.#dirty;
    this.#dirty = [];
    for (const link of links) {
      link.dirty = false;
      if (this.wire.connected) link.flush();
    }
  }

  /** Every reconnect counts as loss: queues are dropped, windows whole again. */
  onDisconnected(): void {
    for (const link of this.#links.values()) {
      this.#options.stats.lostOnDisconnect += link.dropQueue();
    }
  }

  onConnected(nowMs: number): void {
    this.connectedAtMs = nowMs;
    for (const link of this.#links.values()) link.resetWindow();
  }

  setLimits(limits: TransportLimits): void {
    this.#context.limits = limits;
  }

  /**
   * Forgets what is long silent, and shares the window anew among the others.
   * @param keep - addresses that stay whatever happens
   * @returns the addresses forgotten
   */
  sweep(nowMs: number, keep: ReadonlySet<Address>): Address[] {
    const forgotten: Address[] = [];
    let sources = 0;
    for (const link of this.#links.values()) {
      link.expireFragments(nowMs - fragmentsAgeMsMax, () => this.#options.stats.dropped.reassembly++);
      // A link never heard starts its time of grace now.
      link.lastReceivedMs ??= nowMs;
      if (nowMs - link.lastReceivedMs < idleAfterMs || keep.has(link.address) || link.queuedMessages > 0) {
        sources++;
        continue;
      }
      this.#links.delete(link.address);
      forgotten.push(link.address);
    }
    this.#shareWindow(sources);
    return forgotten;
  }

  /** The sum of what is granted stays below half of what the server keeps for us (R28). */
  #shareWindow(sources: number): void {
    const { windowBytes, minWindowBytes, natsMaxPendingBytes } = this.#context.limits;
    const share = Math.floor(natsMaxPendingBytes / 2 / Math.max(1, sources));
    this.#context.grantBytes = Math.max(minWindowBytes, Math.min(windowBytes, share));
  }
}
