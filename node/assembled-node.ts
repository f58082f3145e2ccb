import { askAsRouter, bootstrapReplica, Placement, type PlacementParts } from "#placement";
import {
  type Address,
  addressOf,
  type BootId,
  type ClusterId,
  type NodeId,
  type NodeInfo,
  placementGroup,
  type Settings,
} from "#proto";
import type { GroupView } from "#raft/host";
import { defaultLimits, defaultTiming, Host, type HostLimits, type HostTiming } from "#raft/host";
import { RouteCache, Router } from "#router/routing";
import type { Cancel } from "#runtime";
import { initialRows, ShardService } from "#shard";
import { JoinExchange, Mesh, Rpc } from "#transport";
import type { AssembleOptions } from "./assembly-options.ts";
import type { Identity, Wish } from "./identity.ts";
import { MeteredEngine } from "./metered-engine.ts";
import { routesWaitFor } from "./readiness.ts";

export type Member = Extract<Identity, { kind: "member" }>;

/** How long a stopping node waits for others to take its leaderships over, ms. */
const handOverMs = 4_000;
const handOverPollMs = 20;

/** A node that knows nobody but itself asks again after this, ms. */
const searchAgainMs = 1_000;

/** One node, running. */
export class AssembledNode {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly boot: BootId;
  readonly engine: MeteredEngine;
  readonly mesh: Mesh;
  readonly rpc: Rpc;
  readonly host: Host;
  readonly shards: ShardService;
  readonly placement: Placement;
  readonly routes: RouteCache;
  readonly router: Router;
  readonly #options: AssembleOptions;
  readonly #joins: JoinExchange;
  #members: readonly NodeId[];
  #cancelSearch: Cancel = () => {};
  /** On its way out: nothing makes it lead again. */
  #stopping = false;
  #stopped = false;

  constructor(options: AssembleOptions, identity: Member, members: readonly NodeId[]) {
    const { clock, random, logger, wire } = options;
    this.#options = options;
    this.#members = members;
    this.nodeId = identity.nodeId;
    this.clusterId = identity.clusterId;
    this.boot = random.hex(6);
    this.engine = new MeteredEngine(options.engine, clock);
    const timing = { ...defaultTiming, ...options.timing };
    this.mesh = this.#makeMesh(timing);
    this.rpc = new Rpc({ transport: this.mesh, boot: this.boot, clock, logger });
    const self = addressOf(this.nodeId);
    this.#joins = new JoinExchange({ clusterName: options.cluster, self, wire, logger });
    this.routes = new RouteCache({ clock, random, rpc: this.rpc, logger, self, seeds: () => this.#seeds() });
    this.router = new Router({
      clock,
      random,
      logger,
      rpc: this.rpc,
      cache: this.routes,
      self: this.nodeId,
      lastHeardMs: (node) => this.mesh.lastHeardMs(addressOf(node)),
    });
    const settings = { maxValueBytes: 1024 * 1024, maxInflightBytes: 64 * 1024 * 1024 };
    this.shards = new ShardService({ engine: this.engine, rpc: this.rpc, clock, logger, settings });
    this.placement = new Placement(this.#placementParts());
    this.host = this.#makeHost(timing);
    this.#start(identity);
  }

  #makeMesh(timing: HostTiming): Mesh {
    const { cluster, wire, bulkWire, clock, logger, transportLimits } = this.#options;
    return new Mesh({
      clusterName: cluster,
      clusterId: this.clusterId,
      self: addressOf(this.nodeId),
      boot: this.boot,
      wire,
      ...(bulkWire === undefined ? {} : { bulkWire }),
      clock,
      logger,
      heartbeatMs: timing.heartbeatMs,
      absence: { leaseMs: timing.leaseMs, minConnectionAgeMs: timing.electionMinMs },
      ...(transportLimits === undefined ? {} : { limits: transportLimits }),
    });
  }

  #makeHost(timing: HostTiming): Host {
    const { clock, random, logger, seams } = this.#options;
    return new Host({
      nodeId: this.nodeId,
      boot: this.boot,
      engine: this.engine,
      transport: this.mesh,
      clock,
      random,
      logger,
      timing,
      limits: this.#hostLimits(),
      factory: {
        make: (group, replica) => {
          const machine = group === placementGroup ? this.placement.make() : this.shards.make(group, replica);
          return machine === undefined ? undefined : (seams?.wrapMachine?.(machine, group) ?? machine);
        },
      },
      onFatal: (error) => this.#fatal(error),
      onLeadershipChange: (view) => this.#leadershipChanged(view),
      ...(seams?.makeCore === undefined ? {} : { makeCore: seams.makeCore }),
    });
  }

  /** The rate of snapshots is a live setting, read as they go. */
  #hostLimits(): HostLimits {
    const fixed = this.#options.limits?.snapshotBytesPerS;
    const rate = (): number => fixed ?? this.placement.settings.move_bytes_per_s;
    const limits = { ...defaultLimits, ...this.#options.limits };
    return Object.defineProperty(limits, "snapshotBytesPerS", { get: rate, enumerable: true });
  }

  #leadershipChanged(view: GroupView): void {
    this.placement.leadershipChanged(view);
    // What this replica knows need not wait for placement to hear of it and to tell the routes.
    const { group, leaderNode } = view;
    if (group !== placementGroup && leaderNode !== undefined) this.routes.setLeader(group, leaderNode);
  }

  #placementParts(): PlacementParts {
    const { clock, logger } = this.#options;
    return {
      clusterId: this.clusterId,
      nodeId: this.nodeId,
      boot: this.boot,
      host: () => this.host,
      engine: this.engine,
      transport: this.mesh,
      rpc: this.rpc,
      joins: this.#joins,
      clock,
      logger,
      info: this.#info(),
      capacity: () => this.#capacity(),
      shards: {
        descriptorOf: (group) => this.shards.machineOf(group)?.descriptor,
        statsOf: (group) => this.shards.reportOf(group),
        frozenOf: (group) => this.shards.machineOf(group)?.frozen,
        suggestSplit: (group, wish) => this.shards.suggestSplit(group, wish),
      },
      orders: {
        initialRows: (shard) => initialRows(shard),
        split: (group, split, done) => this.shards.split(group, split, done),
        merge: (group, step, done) => this.shards.merge(group, step, done),
      },
      routes: {
        version: () => this.routes.version,
        placementLeader: () => this.routes.placementLeader,
        take: (table) => void this.routes.applyTable(table),
        table: () => (this.routes.loaded ? this.routes.table() : undefined),
      },
      seeds: () => this.#seeds(),
      events: {
        onSettings: (settings) => this.#configure(settings),
        onStanding: (standing) => {
          this.shards.setClockBad(standing.clockBad);
          this.#setDraining(standing.clockBad || standing.membership === "draining");
        },
        onRemoved: (detail) => this.#fatal(new Error(detail)),
      },
    };
  }

  #info(): NodeInfo {
    const { name, http, labels, pid, version, clock } = this.#options;
    return { name, http, labels, pid, version, startedAtMs: Math.floor(clock.wallMicros() / 1000) };
  }

  #capacity(): ReturnType<PlacementParts["capacity"]> {
    const { freeBytes, totalBytes } = this.engine.diskSpace();
    const { bytes } = this.engine.approximateSize({ family: "data", start: new Uint8Array(0) });
    return {
      diskFreeBytes: freeBytes,
      diskTotalBytes: totalBytes,
      bytes,
      fsyncP99Ms: this.engine.syncP99Ms,
    };
  }

  /** Whom to ask while the routes know nobody. */
  #seeds(): readonly Address[] {
    const own = this.host.view(placementGroup) === undefined ? [] : [this.nodeId];
    return [...this.#members, ...this.routes.nodes.map((node) => node.id), ...own].map(addressOf);
  }

  #configure(settings: Settings): void {
    const { max_value_bytes: maxValueBytes, max_inflight_bytes: maxInflightBytes } = settings;
    this.shards.configure({ maxValueBytes, maxInflightBytes });
    this.router.setLimits({ ...this.router.limits, bytes: maxInflightBytes });
  }

  #setDraining(asked: boolean): void {
    const draining = asked || this.#stopping;
    this.shards.setDraining(draining);
    if (draining) this.host.drain();
    else this.host.undrain();
  }

  #start(identity: Member): void {
    this.mesh.onForeignCluster((from, cluster) => this.#metForeign(from, cluster));
    this.routes.serve();
    this.routes.start();
    this.mesh.handle("event", (from, body) => this.routes.onEvent(from, body));
    this.host.start();
    this.shards.start(this.host);
    this.placement.start();
    this.#findMembers();
    if (identity.wish !== undefined) this.#createPlacement(identity, identity.wish);
  }

  /**
   * A node that starts again without a replica of placement, or with one that was replaced meanwhile, knows
   * nobody: it asks, as a newcomer does, until it has routes.
   */
  #findMembers(): void {
    const { clock } = this.#options;
    const self = addressOf(this.nodeId);
    if (this.#stopped || this.routes.loaded || this.#seeds().some((seed) => seed !== self)) return;
    const parts = { joins: this.#joins, clock };
    this.#cancelSearch = askAsRouter(parts, Number.POSITIVE_INFINITY, (welcome) => {
      if (welcome === undefined) return;
      if (welcome.clusterId !== this.clusterId) this.#metForeign("that lets routers in", welcome.clusterId);
      else this.#members = welcome.members;
      this.#cancelSearch = clock.after(searchAgainMs, () => this.#findMembers());
    });
  }

  /** Says "exists" or "tombstone" on every later start, and changes nothing then (R30). */
  #createPlacement(identity: Member, wish: Wish): void {
    const { clock, http, labels, version } = this.#options;
    const init = bootstrapReplica({
      clusterId: identity.clusterId,
      clusterName: identity.cluster,
      wish,
      node: { name: identity.name, http, labels, version, nonce: identity.nonce },
      wallMicros: clock.wallMicros(),
    });
    this.host.create(init, () => {});
  }

  /**
   * R30: somebody of another cluster goes by this cluster's name. Who has not reached a quorum of placement
   * since its start cannot know which of the two it should be in.
   */
  #metForeign(from: Address, cluster: ClusterId): void {
    if (this.placement.reachedQuorum) return;
    this.#fatal(
      new Error(
        `node ${from} says that cluster ${this.#options.cluster} has the id ${cluster}, not ${this.clusterId}`,
      ),
    );
  }

  /** Joined, routes loaded, and each group here has a leader. */
  ready(): boolean {
    return this.waitsFor().length === 0;
  }

  /** What readiness waits for, in words; empty when ready. */
  waitsFor(): readonly string[] {
    if (this.#stopped) return ["the node has stopped"];
    const reasons = routesWaitFor(this.routes);
    const leaderless = this.host
      .groups()
      .filter((group) => this.host.view(group)?.leaderReplica === undefined).length;
    if (leaderless > 0) reasons.push(`${leaderless} groups here have no leader`);
    return reasons;
  }

  get settings(): Settings {
    return this.placement.settings;
  }

  /** Gives this node's leaderships to others; `done` runs when none is left to give, or after four seconds. */
  handOver(done: () => void): void {
    const { clock } = this.#options;
    const untilMs = clock.nowMs() + handOverMs;
    this.#stopping = true;
    this.#setDraining(true);
    const poll = (): void => {
      if (this.#stopped || this.host.leadersToHandOver === 0 || clock.nowMs() >= untilMs) done();
      else clock.after(handOverPollMs, poll);
    };
    poll();
  }

  /**
   * Stops: with `handOver` leaderships go to others first. `done` runs when nothing runs any more; the engine
   * and the wires stay the caller's to close.
   */
  stop(options: { readonly handOver: boolean }, done: () => void): void {
    const end = (): void => {
      this.#end(() => this.host.stop());
      done();
    };
    if (options.handOver && !this.#stopped) this.handOver(end);
    else end();
  }

  /** As if the process were gone: nothing is called, sent or answered afterwards. */
  kill(): void {
    this.#end(() => this.host.kill());
  }

  #end(endHost: () => void): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#cancelSearch();
    this.placement.stop();
    this.routes.close();
    this.router.close();
    endHost();
    this.shards.close();
    this.rpc.close();
    this.#joins.close();
    void this.mesh.close();
  }

  #fatal(error: Error): void {
    if (this.#stopped) return;
    this.kill();
    this.#options.onFatal(error);
  }
}
