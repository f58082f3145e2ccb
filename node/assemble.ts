/**
 * Composition of one node from its rooms, over seams that are passed in: the real node and the simulator both
 * come through here. Callbacks only; no clock, chance, disk or network of its own.
 * @module
 */

import {
  askAsRouter,
  askToJoin,
  bootstrapReplica,
  Placement,
  type PlacementParts,
  probeCluster,
} from "#placement";
import {
  type Address,
  addressOf,
  type BootId,
  type ClusterId,
  defaultSettings,
  type GroupId,
  isName,
  type NodeId,
  type NodeInfo,
  placementGroup,
  type Settings,
} from "#proto";
import type { StateMachine } from "#raft/host";
import {
  defaultLimits,
  defaultTiming,
  Host,
  type HostLimits,
  type HostTiming,
  type MakeCore,
} from "#raft/host";
import { Registration, RouteCache, Router } from "#router/routing";
import type { Cancel, Clock, Logger, Random } from "#runtime";
import { initialRows, ShardService } from "#shard";
import type { Engine } from "#storage";
import { JoinExchange, Mesh, Rpc, type TransportLimits, type Wire } from "#transport";
import { type Identity, readIdentity, type Wish, writeIdentity } from "./identity.ts";
import { MeteredEngine } from "./metered-engine.ts";

export interface AssembleOptions {
  readonly name: string;
  readonly cluster: string;
  /** host:port that others are told. */
  readonly http: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly bootstrap?: Wish;
  readonly engine: Engine;
  readonly wire: Wire;
  /** A connection of its own for snapshots; without it they share `wire`. */
  readonly bulkWire?: Wire;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly timing?: Partial<HostTiming>;
  readonly limits?: Partial<HostLimits>;
  readonly transportLimits?: Partial<TransportLimits>;
  readonly pid: number;
  readonly version: string;
  /** This node must not go on (R8, R11, R30). Called once; everything has stopped by then. */
  readonly onFatal: (error: Error) => void;
  /** For tests: other cores and state machines in the places of ours. */
  readonly seams?: {
    readonly makeCore?: MakeCore;
    readonly wrapMachine?: (machine: StateMachine, group: GroupId) => StateMachine;
  };
}

export type AssembleResult =
  | { readonly ok: true; readonly node: AssembledNode }
  /** One line for people: why this node may not come in. */
  | { readonly ok: false; readonly refusal: string };

type Member = Extract<Identity, { kind: "member" }>;

/**
 * Starts a node: as whom its data directory says, else as a new member (by the cluster's name alone), else, with
 * `bootstrap`, as the first node of a new cluster. `done` runs once.
 * @returns gives up while `done` has not run
 */
export function assembleNode(options: AssembleOptions, done: (result: AssembleResult) => void): () => void {
  if (!isName(options.name)) return refuseNow(done, `bad node name: ${options.name}`);
  if (!isName(options.cluster)) return refuseNow(done, `bad cluster name: ${options.cluster}`);
  const identity = readIdentity(options.engine);
  if (identity !== undefined && identity.cluster !== options.cluster) {
    return refuseNow(done, `the data directory is of cluster ${identity.cluster}, not ${options.cluster}`);
  }
  if (identity !== undefined && identity.name !== options.name) {
    return refuseNow(done, `the data directory is of node ${identity.name}, not ${options.name}`);
  }
  // R30: --bootstrap on a directory that holds a node does nothing.
  if (identity?.kind === "member") {
    done({ ok: true, node: new AssembledNode(options, identity, []) });
    return () => {};
  }
  return new Entry(options, identity?.nonce, done).begin();
}

function refuseNow(done: (result: AssembleResult) => void, refusal: string): () => void {
  done({ ok: false, refusal });
  return () => {};
}

/** A bootstrapping node listens this long for a cluster of its name before it makes one (R30), ms. */
const probeMs = 1_000;
/** A joiner says that it still waits this often, ms. */
const askMs = 10_000;

/** The way in for an empty directory. */
class Entry {
  readonly #options: AssembleOptions;
  readonly #nonce: string;
  readonly #isNew: boolean;
  readonly #joins: JoinExchange;
  #cancel: Cancel = () => {};
  readonly #done: (result: AssembleResult) => void;

  constructor(options: AssembleOptions, nonce: string | undefined, done: (result: AssembleResult) => void) {
    const { logger, cluster, wire, random } = options;
    this.#options = options;
    this.#nonce = nonce ?? random.hex(16);
    this.#isNew = nonce === undefined;
    this.#joins = new JoinExchange({ clusterName: cluster, self: `x${random.hex(8)}`, wire, logger });
    this.#done = done;
  }

  begin(): () => void {
    if (this.#options.bootstrap === undefined) this.#join();
    else this.#bootstrap(this.#options.bootstrap);
    return () => this.#close();
  }

  #close(): void {
    this.#cancel();
    this.#joins.close();
  }

  #refuse(refusal: string): void {
    this.#close();
    this.#done({ ok: false, refusal });
  }

  #bootstrap(wish: Wish): void {
    const { cluster, name, random, clock } = this.#options;
    this.#cancel = probeCluster({ joins: this.#joins, clock }, probeMs, (clusterId) => {
      if (clusterId !== undefined) {
        return this.#refuse(
          `cluster ${cluster} exists already (${clusterId}): start this node without --bootstrap to join it`,
        );
      }
      const id = { cluster, name, nonce: this.#nonce, clusterId: random.hex(16), nodeId: 1 };
      this.#become({ kind: "member", ...id, wish }, []);
    });
  }

  #join(): void {
    const { engine, name, cluster } = this.#options;
    if (!this.#isNew) return this.#ask();
    // Durable before it is said: a node that crashes while joining must ask as the same one again.
    writeIdentity(engine, { kind: "joining", cluster, name, nonce: this.#nonce }, (error) => {
      if (error !== undefined) this.#refuse(`the data directory cannot be written: ${error.message}`);
      else this.#ask();
    });
  }

  #ask(): void {
    const { name, cluster, http, labels, version, clock, logger } = this.#options;
    const request = { nonce: this.#nonce, name, http, labels, version };
    this.#cancel = askToJoin({ joins: this.#joins, clock }, request, askMs, (outcome) => {
      if (outcome.kind === "refused") return this.#refuse(outcome.detail);
      if (outcome.kind === "joined") {
        const { clusterId, nodeId, members } = outcome;
        return this.#become(
          { kind: "member", cluster, name, nonce: this.#nonce, clusterId, nodeId },
          members,
        );
      }
      const why = outcome.heard ? "its placement has no leader" : "nobody of it answers";
      logger.info({ cluster, why }, "still waiting to be let into the cluster");
      this.#ask();
    });
  }

  #become(identity: Member, members: readonly NodeId[]): void {
    writeIdentity(this.#options.engine, identity, (error) => {
      if (error !== undefined) return this.#refuse(`the data directory cannot be written: ${error.message}`);
      this.#close();
      this.#done({ ok: true, node: new AssembledNode(this.#options, identity, members) });
    });
  }
}

/** How long a stopping node waits for others to take its leaderships over, ms. */
const handOverMs = 4_000;
const handOverPollMs = 20;

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
    this.router = new Router({ clock, random, logger, rpc: this.rpc, cache: this.routes, self: this.nodeId });
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
    const { clock, random, logger, limits, seams } = this.#options;
    return new Host({
      nodeId: this.nodeId,
      boot: this.boot,
      engine: this.engine,
      transport: this.mesh,
      clock,
      random,
      logger,
      timing,
      limits: { ...defaultLimits, ...limits },
      factory: {
        make: (group, replica) => {
          const machine =
            group === placementGroup ? this.placement.make() : this.shards.make(group, replica);
          return machine === undefined ? undefined : (seams?.wrapMachine?.(machine, group) ?? machine);
        },
      },
      onFatal: (error) => this.#fatal(error),
      onLeadershipChange: (view) => this.placement.leadershipChanged(view),
      ...(seams?.makeCore === undefined ? {} : { makeCore: seams.makeCore }),
    });
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
      },
      orders: { initialRows: (shard) => initialRows(shard) },
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

  #setDraining(draining: boolean): void {
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
    if (this.#seeds().length === 0) this.#findMembers();
    if (identity.wish !== undefined) this.#createPlacement(identity, identity.wish);
  }

  /** A node that starts again without a replica of placement knows nobody: it asks, as a newcomer does. */
  #findMembers(): void {
    const parts = { joins: this.#joins, clock: this.#options.clock };
    this.#cancelSearch = askAsRouter(parts, Number.POSITIVE_INFINITY, (welcome) => {
      if (welcome === undefined) return;
      if (welcome.clusterId !== this.clusterId) this.#metForeign("that lets routers in", welcome.clusterId);
      else this.#members = welcome.members;
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

export interface AssembleRouterOptions {
  readonly cluster: string;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly transportLimits?: Partial<TransportLimits>;
}

/** A stateless router: the same routing, no data. `done` runs once it has been let in. */
export function assembleRouter(
  options: AssembleRouterOptions,
  done: (router: AssembledRouter) => void,
): () => void {
  const { cluster, wire, clock, random, logger } = options;
  const self = `x${random.hex(8)}`;
  const joins = new JoinExchange({ clusterName: cluster, self, wire, logger });
  const cancel = askAsRouter({ joins, clock }, Number.POSITIVE_INFINITY, (welcome) => {
    joins.close();
    if (welcome !== undefined) {
      done(new AssembledRouter(options, self, welcome.clusterId, welcome.members));
    }
  });
  return () => {
    cancel();
    joins.close();
  };
}

export class AssembledRouter {
  readonly mesh: Mesh;
  readonly rpc: Rpc;
  readonly routes: RouteCache;
  readonly router: Router;
  readonly #registration: Registration;
  #settings: Settings = defaultSettings;
  #stopped = false;

  constructor(
    options: AssembleRouterOptions,
    self: Address,
    clusterId: ClusterId,
    members: readonly NodeId[],
  ) {
    const { cluster, wire, clock, random, logger, transportLimits: limits } = options;
    const boot = random.hex(6);
    this.mesh = new Mesh({
      clusterName: cluster,
      clusterId,
      self,
      boot,
      wire,
      clock,
      logger,
      ...(limits === undefined ? {} : { limits }),
    });
    this.rpc = new Rpc({ transport: this.mesh, boot, clock, logger });
    const seeds = (): readonly Address[] =>
      [...members, ...this.routes.nodes.map((node) => node.id)].map(addressOf);
    this.routes = new RouteCache({ clock, random, rpc: this.rpc, logger, self, seeds });
    this.router = new Router({ clock, random, logger, rpc: this.rpc, cache: this.routes });
    this.#registration = new Registration({
      clock,
      random,
      logger,
      rpc: this.rpc,
      cache: this.routes,
      onSettings: ({ values }) => this.#configure(values),
    });
    this.mesh.handle("event", (from, body) => this.routes.onEvent(from, body));
    this.routes.start();
    this.#registration.start();
  }

  #configure(settings: Settings): void {
    this.#settings = settings;
    this.router.setLimits({ ...this.router.limits, bytes: settings.max_inflight_bytes });
  }

  ready(): boolean {
    return this.waitsFor().length === 0;
  }

  waitsFor(): readonly string[] {
    return this.#stopped ? ["the router has stopped"] : routesWaitFor(this.routes);
  }

  get settings(): Settings {
    return this.#settings;
  }

  kill(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#registration.close();
    this.routes.close();
    this.router.close();
    this.rpc.close();
    void this.mesh.close();
  }
}

function routesWaitFor(routes: RouteCache): string[] {
  if (!routes.loaded) return ["the routes are not loaded"];
  return routes.keyspace("default") === undefined ? ["the default keyspace is not there yet"] : [];
}
