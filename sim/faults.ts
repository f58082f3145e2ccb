import type { Random } from "#runtime";
import type { Links } from "./links.ts";
import type { Fault, Reshape, Target } from "./plan-faults.ts";
import type { SimNode } from "./sim-node.ts";
import type { World } from "./world.ts";

/** What faults act on. */
export interface FaultGround {
  readonly world: World;
  readonly links: Links;
  readonly nodes: () => readonly SimNode[];
  /** The node that leads a shard, by the shard's place in order; 0 is placement. */
  readonly leaderOf: (shard: number) => SimNode | undefined;
  /** Whether every shard keeps a majority of what there is of it without the node's disk. */
  readonly canLose: (node: SimNode) => boolean;
  /** Makes a new, empty machine in place of one that is gone for good. */
  readonly replace: (gone: SimNode) => void;
  readonly transferLeader: (shard: number, to: SimNode) => void;
  /** @returns what takes it back; undefined when it could not be asked for */
  readonly reshape: (reshape: Reshape) => (() => void) | undefined;
}

/** Makes the faults of a plan happen, counts them, and sets everything right at the end. */
export class Faults {
  readonly counts: Record<string, number> = {};
  readonly #ground: FaultGround;
  readonly #random: Random;
  /** How to end what is wrong now. */
  readonly #active = new Set<() => void>();
  #healed = false;

  constructor(ground: FaultGround) {
    this.#ground = ground;
    this.#random = ground.world.random.fork("faults");
  }

  /** Arms all faults of the plan, from now on. */
  schedule(faults: readonly Fault[]): void {
    for (const fault of faults) this.#ground.world.clock.after(fault.atMs, () => this.#inject(fault));
  }

  count(kind: string, times = 1): void {
    if (times > 0) this.counts[kind] = (this.counts[kind] ?? 0) + times;
  }

  #inject(fault: Fault): void {
    if (this.#healed) return;
    const end = this.#begin(fault);
    if (end === undefined) return;
    this.count(fault.kind);
    const once = (): void => {
      if (this.#active.delete(once)) end();
    };
    this.#active.add(once);
    this.#ground.world.clock.after(fault.forMs, once);
  }

  /** Faults stop: everything is set right, dead machines start. */
  heal(): void {
    this.#healed = true;
    for (const end of [...this.#active]) end();
    this.#active.clear();
    for (const node of this.#ground.nodes()) {
      node.healDisk();
      if (node.paused) node.resume();
    }
  }

  get healed(): boolean {
    return this.#healed;
  }

  #note(text: string): void {
    this.#ground.world.trace.note(this.#ground.world.clock.nowMs(), `FAULT ${text}`);
  }

  #target(target: Target): SimNode | undefined {
    if ("node" in target) return this.#ground.nodes()[target.node];
    return this.#ground.leaderOf(target.leaderOf);
  }

  /** @returns what ends it; undefined when it could not begin */
  #begin(fault: Fault): (() => void) | undefined {
    switch (fault.kind) {
      case "partition":
        return this.#partition(fault);
      case "natsRestart":
        this.#note(`the NATS server stops for ${fault.forMs} ms`);
        this.#ground.world.network.stopServer();
        return () => this.#ground.world.network.startServer();
      case "transferLeader": {
        const to = this.#ground.nodes()[fault.to];
        if (to === undefined) return undefined;
        this.#note(`leadership of shard ${fault.shard} to ${to.name}`);
        this.#ground.transferLeader(fault.shard, to);
        return () => {};
      }
      case "split":
      case "move":
      case "drain":
      case "decommission":
      case "rebalance":
      case "merge":
        return this.#ground.reshape(fault);
      case "wipe":
        return this.#wipe(fault.node);
      case "powerLoss":
        return fault.all ? this.#blackout(fault.keep) : this.#die(this.#target(fault.target), fault.keep);
      default:
        return this.#beginOnNode(fault);
    }
  }

  #beginOnNode(
    fault: Exclude<
      Fault,
      Reshape | { kind: "partition" | "natsRestart" | "transferLeader" | "wipe" | "powerLoss" }
    >,
  ): (() => void) | undefined {
    const node = this.#target(fault.kind === "slowLink" ? fault.from : fault.target);
    if (node === undefined) return undefined;
    switch (fault.kind) {
      case "isolate":
        return this.#isolate(node);
      case "slowLink": {
        const to = this.#ground.nodes()[fault.to]?.name;
        this.#note(`slow link from ${node.name} to ${to}`);
        return this.#ground.links.add({
          applies: (from, other) => from === node.name && other === to,
          link: { delayMsMax: fault.delayMsMax, bytesPerMs: fault.bytesPerMs },
        });
      }
      case "pause":
        if (!node.isUp || node.paused) return undefined;
        this.#note(`${node.name} is paused`);
        node.pause();
        return () => this.#resume(node);
      case "clockJump":
        this.#note(`the wall clock of ${node.name} jumps by ${Math.round(fault.micros / 1000)} ms`);
        node.jumpWall(fault.micros);
        return () => node.jumpWall(-fault.micros);
      case "crash":
        return this.#die(node, "all");
      case "disconnect":
        this.#note(`${node.name} loses its connections`);
        this.#ground.world.network.disconnect(node.name);
        return () => {};
      default:
        return this.#hurtDisk(node, fault);
    }
  }

  #resume(node: SimNode): void {
    this.#note(`${node.name} goes on`);
    node.resume();
  }

  #hurtDisk(
    node: SimNode,
    fault: Extract<Fault, { kind: "slowDisk" | "failingDisk" | "fullDisk" }>,
  ): () => void {
    const { faults } = node.disk;
    this.#note(`${fault.kind} of ${node.name}`);
    if (fault.kind === "slowDisk") {
      const random = this.#random.fork(`slow ${node.name} ${fault.atMs}`);
      faults.syncDelayMs = () => random.below(fault.syncMsMax * 1000) / 1000;
    } else if (fault.kind === "failingDisk") {
      if (fault.fails === "writes") faults.failWrites = true;
      else faults.failSyncs = true;
    } else faults.occupiedBytes = node.disk.freeBytes - fault.freeBytes;
    return () => node.healDisk();
  }

  #isolate(node: SimNode): () => void {
    this.#note(`${node.name} is cut off`);
    return this.#ground.links.add({
      applies: (from, to) => (from === node.name) !== (to === node.name),
      link: { cut: true },
    });
  }

  #partition(fault: Extract<Fault, { kind: "partition" }>): (() => void) | undefined {
    const nodes = this.#ground.nodes();
    const named = (numbers: readonly number[]): Set<string> =>
      new Set(numbers.flatMap((i) => nodes[i]?.name ?? []));
    const side = named(fault.side);
    const bridge = fault.bridge === undefined ? undefined : nodes[fault.bridge]?.name;
    if (side.size === 0 || side.size === nodes.length) return undefined;
    const across = fault.bothWays ? "" : " one way";
    this.#note(
      `partition${across}: ${[...side].join(" ")}${bridge === undefined ? "" : ` with bridge ${bridge}`}`,
    );
    return this.#ground.links.add({
      applies: (from, to) => {
        if (from === bridge || to === bridge) return false;
        return fault.bothWays ? side.has(from) !== side.has(to) : side.has(from) && !side.has(to);
      },
      link: { cut: true },
    });
  }

  #die(node: SimNode | undefined, keep: "all" | "random" | "none"): (() => void) | undefined {
    if (node === undefined || !node.isUp) return undefined;
    this.#note(`${node.name} ${keep === "all" ? "crashes" : "loses power"}`);
    if (keep !== "all") this.count("unsyncedBatchesAtRisk", node.disk.unsyncedBatches);
    node.kill({ keep });
    return () => node.start();
  }

  #blackout(keep: "random" | "none"): () => void {
    const nodes = this.#ground.nodes().filter((node) => node.isUp);
    this.#note("all nodes lose power");
    for (const node of nodes) node.kill({ keep });
    return () => {
      for (const node of nodes) node.start();
    };
  }

  /** The machine comes back empty under its old name, which must be refused (R1); a new one takes its place. */
  #wipe(number: number): (() => void) | undefined {
    const node = this.#ground.nodes()[number];
    if (node === undefined || !this.#ground.canLose(node)) return undefined;
    this.#note(`${node.name} loses its disk`);
    node.kill({ keep: "none" });
    node.wipe();
    node.start();
    return () => this.#ground.replace(node);
  }
}
