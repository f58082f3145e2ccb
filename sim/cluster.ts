import {
  compareBytes,
  encodeKey,
  type GroupId,
  hexOf,
  placementGroup,
  type ShardDescriptor,
  tiles,
} from "#proto";
import { invariant } from "#runtime";
import { calmLink, type SimLink } from "#transport";
import { entryOf } from "./checks/entry-of.ts";
import { Violation } from "./checks/violation.ts";
import { Faults } from "./faults.ts";
import { Links } from "./links.ts";
import { mayMerge } from "./plan.ts";
import { Reshaper } from "./reshaper.ts";
import { SimNode } from "./sim-node.ts";
import { SimRouter } from "./sim-router.ts";
import type { Port } from "./workload.ts";
import type { World } from "./world.ts";

/** How long a node that stopped itself stays down, as `kvorum dev` has it but shorter, ms. */
const restartAfterMs = 300;

/** All machines of a run, and what can be asked of them together. */
export class SimCluster {
  readonly world: World;
  readonly nodes: SimNode[] = [];
  readonly routers: SimRouter[] = [];
  readonly links: Links;
  readonly faults: Faults;
  readonly reshaper: Reshaper;
  /** Names whose machine lost its disk: their return must be refused. */
  readonly #wiped = new Set<string>();
  #replacements = 0;
  /** All shards of the beginning have been seen. */
  #isFormed = false;
  #stopping = false;

  constructor(world: World) {
    this.world = world;
    const { network, plan } = world;
    const hosts = (): string[] => [...this.nodes, ...this.routers].map((host) => host.name);
    this.links = new Links(network, calmLink, hosts);
    for (let i = 1; i <= plan.nodes; i++) this.#addNode(`n${i}`, i === 1);
    for (let i = 1; i <= plan.statelessRouters; i++) this.routers.push(new SimRouter(world, `r${i}`));
    this.links.refresh();
    this.reshaper = new Reshaper(world, {
      nodes: () => this.nodes,
      shardAt: (number) => this.groupAt(number + 1),
    });
    this.faults = new Faults({
      world,
      links: this.links,
      nodes: () => this.nodes,
      leaderOf: (shard) => this.leaderOf(this.groupAt(shard)),
      canLose: (node) => this.#canLose(node),
      replace: (gone) => this.#replace(gone),
      reshape: (reshape) => this.reshaper.begin(reshape),
      transferLeader: (shard, to) => this.#transferLeader(this.groupAt(shard + 1), to),
    });
  }

  #addNode(name: string, bootstrap: boolean): SimNode {
    const node = new SimNode({
      world: this.world,
      name,
      bootstrap,
      onEnded: () => this.#ended(node),
    });
    this.nodes.push(node);
    return node;
  }

  /** A node stopped itself. */
  #ended(node: SimNode): void {
    if (this.#stopping) return;
    if (this.#wiped.has(node.name)) {
      this.faults.count("wipedNodeRefused");
      return;
    }
    this.world.clock.after(restartAfterMs, () => node.start());
  }

  #replace(gone: SimNode): void {
    gone.kill({ keep: "all" });
    this.#wiped.add(gone.name);
    this.nodes.splice(this.nodes.indexOf(gone), 1);
    this.#replacements += 1;
    const fresh = this.#addNode(`m${this.#replacements}`, false);
    this.links.refresh();
    fresh.start();
  }

  /**
   * A split's child begins on a replica that lags behind its parent only when a leader of its own sends it there
   * (R5): until then it is as good as lost, and a disk lost besides may be the majority.
   */
  #canLose(lost: SimNode): boolean {
    const shards = this.nodes
      .map(({ process }) => process?.placement()?.shards)
      .find((seen) => seen !== undefined);
    if (shards === undefined) return false;
    const others = this.nodes.filter((node) => node !== lost);
    if (!this.#placementStays(others)) return false;
    return shards.every(({ id, replicas }) => {
      const voters = replicas.filter(({ role }) => role === "voter" || role === "incoming");
      const held = voters.filter(({ nodeId }) =>
        others.some((node) => node.nodeId === nodeId && node.holds(id)),
      );
      return held.length * 2 > voters.length;
    });
  }

  /** Would placement's own group, which is no shard, have its quorum on these? At first it has one voter alone. */
  #placementStays(others: readonly SimNode[]): boolean {
    const conf = this.leaderOf(placementGroup)?.process?.host.view(placementGroup)?.conf;
    if (conf === undefined) return false;
    const held = new Set(others.map((node) => node.process?.host.view(placementGroup)?.replica));
    return [conf.voters, conf.outgoing].every(
      (half) => half.length === 0 || half.filter((replica) => held.has(replica)).length * 2 > half.length,
    );
  }

  #transferLeader(group: GroupId, to: SimNode): void {
    const host = this.leaderOf(group)?.process?.host;
    const view = host?.view(group);
    const id = to.process?.nodeId;
    const target = view?.conf.voters.find(
      (replica) => id !== undefined && to.process?.host.view(group)?.replica === replica,
    );
    if (host !== undefined && target !== undefined) host.transferLeader(group, target);
  }

  /** A machine lost its disk for good and another took its place. */
  get hasLostMachines(): boolean {
    return this.#replacements > 0;
  }

  // ---- views

  get ports(): readonly Port[] {
    return [...this.nodes, ...this.routers];
  }

  /** Groups in order, placement first; numbers beyond the last wrap. */
  groupAt(number: number): GroupId {
    const groups = this.groups;
    return groups[number % Math.max(1, groups.length)] ?? placementGroup;
  }

  get groups(): readonly GroupId[] {
    const all = new Set<GroupId>();
    for (const node of this.nodes) for (const group of node.process?.host.groups() ?? []) all.add(group);
    return [...all].sort((a, b) => a - b);
  }

  leaderOf(group: GroupId): SimNode | undefined {
    let leader: SimNode | undefined;
    let term = -1;
    for (const node of this.nodes) {
      const view = node.process?.host.view(group);
      if (view?.role !== "leader" || view.term <= term) continue;
      leader = node;
      term = view.term;
    }
    return leader;
  }

  shardOf(key: string): GroupId | undefined {
    for (const port of [...this.nodes, ...this.routers]) {
      const routes = port.process?.routes;
      const keyspace = routes?.keyspace("default");
      if (routes === undefined || keyspace === undefined) continue;
      const { partition, slots } = keyspace.descriptor;
      const entry = routes.lookup(
        keyspace,
        encodeKey(new Uint8Array(Buffer.from(key, "latin1")), partition, slots),
      );
      if (entry !== undefined) return entry.shard.id;
    }
    return undefined;
  }

  /** Every process runs and says that it is ready, and every group has a leader. */
  get isReady(): boolean {
    if (!this.#everyone((process) => process.ready())) return false;
    const { groups } = this;
    // Once they have been there, their number is the operators' affair.
    const { plan } = this.world;
    const fewest = plan.early && mayMerge(plan) ? 1 : plan.shards;
    this.#isFormed ||= groups.length > fewest;
    return this.#isFormed && groups.every((group) => this.leaderOf(group) !== undefined);
  }

  #everyone(holds: (process: { ready(): boolean }) => boolean): boolean {
    return [...this.nodes, ...this.routers].every(({ process }) => process !== undefined && holds(process));
  }

  /** For people: who is missing what. */
  describeReadiness(): string {
    const processes = [...this.nodes, ...this.routers].map(({ name, process }) =>
      process === undefined ? `${name} down` : `${name} ${process.ready() ? "ready" : "not ready"}`,
    );
    const leaderless = this.groups.filter((group) => this.leaderOf(group) === undefined);
    return `${processes.join(", ")}; groups ${this.groups.join(" ")}; without leader: ${leaderless.join(" ") || "none"}`;
  }

  // ---- looks that cost more, taken now and then

  /** R38, wherever two replicas of a group stand at one index. */
  compareStates(): void {
    const { monitor } = this.world;
    for (const node of this.nodes) {
      if (node.paused) continue;
      for (const group of node.process?.host.groups() ?? []) {
        const state = node.stateOf(group);
        if (state === undefined) continue;
        monitor.see(() => monitor.agreement.state(group, state.applied, state.hash, node.name));
      }
    }
  }

  /** The shards of each keyspace, as placement's leader has them, tile it. */
  checkTiling(): void {
    for (const { name, process } of this.nodes) {
      const view = process?.placement();
      if (view === undefined) continue;
      const keyspaces = new Map<number, ShardDescriptor[]>();
      for (const shard of view.shards) entryOf(keyspaces, shard.keyspace, () => []).push(shard);
      for (const shards of keyspaces.values()) {
        shards.sort((a, b) => compareBytes(a.start, b.start));
        if (tiles(shards)) continue;
        const ranges = shards.map(({ id, start, end }) => `${id} [${hexOf(start)}, ${hexOf(end)})`).join(" ");
        throw new Violation("shards tile their keyspace", `${name} has ${ranges}`);
      }
    }
  }

  /** Whether all replicas of each group are at one applied index. */
  get isLevel(): boolean {
    return this.groups.every((group) => {
      const applied = new Set<number>();
      for (const node of this.nodes) {
        const view = node.process?.host.view(group);
        if (view !== undefined) applied.add(view.applied);
      }
      return applied.size === 1;
    });
  }

  // ---- phases

  start(): void {
    const random = this.world.random.fork("starts");
    for (const host of [...this.nodes, ...this.routers]) {
      this.world.clock.after(random.below(200), () => host.start());
    }
  }

  setNetwork(link: SimLink): void {
    this.links.setUsual(link);
  }

  /** Faults end, and whoever is down comes back. */
  heal(): void {
    this.setNetwork(calmLink);
    this.faults.heal();
    for (const node of this.nodes) node.start();
  }

  stop(done: () => void): void {
    this.#stopping = true;
    let open = this.nodes.length + this.routers.length;
    invariant(open > 0, "a cluster has nodes");
    for (const host of [...this.nodes, ...this.routers]) {
      host.stop((left) => {
        if (left > 0) {
          const what = `${host.name} left ${left} callbacks behind`;
          this.world.monitor.report(new Violation("nothing leaks", what));
        }
        open -= 1;
        if (open === 0) done();
      });
    }
  }
}
