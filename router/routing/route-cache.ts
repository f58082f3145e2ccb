import {
  type Address,
  addressOf,
  compareBytes,
  decodeRouteDelta,
  decodeRouteTable,
  encodeRouteTable,
  type GroupId,
  type NodeId,
  ProtocolError,
  type RouteDelta,
  type RouteNode,
  type RouteTable,
  type RouteVersion,
  routesMethod,
  type ShardDescriptor,
} from "#proto";
import type { Cancel, Clock, Logger, Random } from "#runtime";
import type { Rpc, RpcResult, Sender } from "#transport";
import { hasReplicaOn, type KeyspaceRoutes, type RouteEntry, RouteMap } from "./route-map.ts";

/** How long one node has to answer a fetch, ms. */
const fetchTimeoutMs = 1_000;
/** Between a failed fetch and the next, doubled each time, ms. */
const fetchBackoffMinMs = 50;
const fetchBackoffMaxMs = 1_000;
/** Deltas are sent once and may be lost, the last one before a quiet time too, ms. */
const refreshEveryMs = 30_000;

export interface RouteCacheOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly rpc: Pick<Rpc, "call" | "serve">;
  readonly logger: Logger;
  /** Whom to ask while nothing is known yet: members met at joining. Asked again each time. */
  readonly seeds: () => readonly Address[];
  /** Never asked: the own address. */
  readonly self: Address;
}

export interface RouteStats {
  fetches: number;
  fetchFailures: number;
  tablesApplied: number;
  deltasApplied: number;
  /** Deltas that did not follow on what is known. */
  gaps: number;
  malformed: number;
  /** Descriptors taken from a replica's refusal. */
  healed: number;
}

const noVersion: RouteVersion = { term: 0, sequence: 0 };

/**
 * Where everything is, as far as this process knows: placement's table, its deltas, and what replicas said
 * since in refusing. It may be behind; replicas refuse what is meant for another epoch, and that heals it.
 */
export class RouteCache {
  readonly stats: RouteStats = {
    fetches: 0,
    fetchFailures: 0,
    tablesApplied: 0,
    deltasApplied: 0,
    gaps: 0,
    malformed: 0,
    healed: 0,
  };
  readonly #options: RouteCacheOptions;
  readonly #map = new RouteMap();
  readonly #nodes = new Map<NodeId, RouteNode>();
  #clusterId = "";
  #version: RouteVersion = noVersion;
  #members: readonly NodeId[] = [];
  #placementLeader: NodeId | undefined;
  #fetching = false;
  /** Something asked for a fetch while one was under way. */
  #again = false;
  #failures = 0;
  #rotation = 0;
  #lastFetchedMs = Number.NEGATIVE_INFINITY;
  /** The highest version heard of: a table below it does not fill the gap. */
  #heardOf: RouteVersion = noVersion;
  #closed = false;
  #cancelFetch: Cancel = () => {};
  #cancelRefresh: Cancel = () => {};
  readonly #waiting: (() => void)[] = [];
  readonly #changeListeners: (() => void)[] = [];
  readonly #leaderListeners: ((shard: GroupId) => void)[] = [];

  constructor(options: RouteCacheOptions) {
    this.#options = options;
  }

  /** Fetches the table, until there is one, and again now and then. */
  start(): void {
    this.refresh();
    this.#refreshLater();
  }

  close(): void {
    this.#closed = true;
    this.#cancelFetch();
    this.#cancelRefresh();
    this.#releaseWaiting();
  }

  /** Answers other nodes' fetches from here. */
  serve(): void {
    this.#options.rpc.serve(routesMethod, (_from, _body, reply) => reply(encodeRouteTable(this.table())));
  }

  /** True once a whole table came in. */
  get loaded(): boolean {
    return this.#version.sequence > 0 || this.#version.term > 0;
  }

  get version(): RouteVersion {
    return this.#version;
  }

  get clusterId(): string {
    return this.#clusterId;
  }

  get placementMembers(): readonly NodeId[] {
    return this.#members;
  }

  get placementLeader(): NodeId | undefined {
    return this.#placementLeader;
  }

  get nodes(): readonly RouteNode[] {
    return [...this.#nodes.values()];
  }

  /** Time since a whole table last came in, ms. */
  get ageMs(): number {
    return this.#options.clock.nowMs() - this.#lastFetchedMs;
  }

  node(id: NodeId): RouteNode | undefined {
    return this.#nodes.get(id);
  }

  nodeNamed(name: string): RouteNode | undefined {
    return this.nodes.find((node) => node.name === name);
  }

  keyspace(name: string): KeyspaceRoutes | undefined {
    return this.#map.keyspace(name);
  }

  keyspaces(): KeyspaceRoutes[] {
    return [...this.#map.keyspaces];
  }

  shard(id: GroupId): RouteEntry | undefined {
    return this.#map.shard(id);
  }

  /** The shard of an encoded key; undefined where none is known: then `refresh`. */
  lookup(keyspace: KeyspaceRoutes, key: Uint8Array): RouteEntry | undefined {
    return this.#map.lookup(keyspace, key);
  }

  /** All that is known, in a fixed order. */
  table(): RouteTable {
    const keyspaces = this.keyspaces().sort((a, b) => a.descriptor.id - b.descriptor.id);
    return {
      clusterId: this.#clusterId,
      version: this.#version,
      placementMembers: this.#members,
      ...(this.#placementLeader === undefined ? {} : { placementLeader: this.#placementLeader }),
      nodes: this.nodes,
      keyspaces: keyspaces.map((keyspace) => keyspace.descriptor),
      routes: keyspaces.flatMap((keyspace) =>
        keyspace.sorted.map(({ shard, leader }) => (leader === undefined ? { shard } : { shard, leader })),
      ),
    };
  }

  onChange(listener: () => void): void {
    this.#changeListeners.push(listener);
  }

  onLeaderChange(listener: (shard: GroupId) => void): void {
    this.#leaderListeners.push(listener);
  }

  /** A message of the transport's `event` channel: an encoded RouteDelta. */
  onEvent(from: Sender, body: Uint8Array): void {
    try {
      this.applyDelta(decodeRouteDelta(body));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.stats.malformed++;
      this.#options.logger.warn({ from: from.address, err: error }, "dropped a malformed route delta");
    }
  }

  applyDelta(delta: RouteDelta): void {
    if (!this.#isOurs(delta.table)) return;
    if (compareVersions(delta.table.version, this.#version) <= 0) return;
    if (compareVersions(delta.table.version, this.#heardOf) > 0) this.#heardOf = delta.table.version;
    if (compareVersions(delta.base, this.#version) !== 0) {
      this.stats.gaps++;
      this.refresh();
      return;
    }
    this.stats.deltasApplied++;
    this.#take(delta.table);
    for (const shard of delta.removedShards) this.#map.forget(shard);
    this.#changed(this.#map.learnRoutes(delta.table.routes));
  }

  /** Takes a whole table unless it is older than what is known. @returns whether it was taken */
  applyTable(table: RouteTable): boolean {
    const order = compareVersions(table.version, this.#version);
    if (!this.#isOurs(table) || order < 0 || compareVersions(table.version, noVersion) === 0) return false;
    this.#lastFetchedMs = this.#options.clock.nowMs();
    this.stats.tablesApplied++;
    this.#take(table);
    this.#changed(this.#map.learnRoutes(table.routes));
    return true;
  }

  /** What a replica said in refusing a command of another epoch. @returns true when it was news */
  heal(shards: readonly ShardDescriptor[]): boolean {
    const news = this.#map.learn(shards);
    if (news) {
      this.stats.healed += shards.length;
      this.#changed([]);
    }
    return news;
  }

  /**
   * A replica's word, or this node's own knowledge, of who leads. A node without a replica is not believed.
   * @returns true when it was news
   */
  setLeader(shard: GroupId, leader: NodeId): boolean {
    const entry = this.#map.shard(shard);
    if (entry === undefined || entry.leader === leader || !hasReplicaOn(entry.shard, leader)) return false;
    entry.leader = leader;
    this.#leaderChanged(shard);
    return true;
  }

  /** `node` says it does not lead, or cannot be reached: if it was believed to, nobody is now. */
  clearLeader(shard: GroupId, node: NodeId): void {
    const entry = this.#map.shard(shard);
    if (entry?.leader === node) entry.leader = undefined;
  }

  setPlacementLeader(node: NodeId): void {
    this.#placementLeader = node;
  }

  clearPlacementLeader(node: NodeId): void {
    if (this.#placementLeader === node) this.#placementLeader = undefined;
  }

  /** Fetches the whole table soon; calls meanwhile share it. */
  refresh(): void {
    if (this.#fetching) {
      this.#again = true;
      return;
    }
    if (this.#closed) return;
    this.#fetching = true;
    this.#failures = 0;
    this.#fetch();
  }

  /** Calls back after the next fetch, whether it brought anything or not. */
  afterRefresh(done: () => void): void {
    this.#waiting.push(done);
    this.refresh();
  }

  #refreshLater(): void {
    const { clock, random } = this.#options;
    this.#cancelRefresh = clock.after(refreshEveryMs + random.below(refreshEveryMs / 4), () => {
      this.refresh();
      this.#refreshLater();
    });
  }

  #fetch(): void {
    const candidates = this.#candidates();
    const to = candidates[this.#rotation % Math.max(1, candidates.length)];
    if (to === undefined) {
      // Alone, with what placement here has told; or nobody is known yet.
      if (this.loaded) this.#fetched();
      else this.#fetchAgain();
      return;
    }
    this.stats.fetches++;
    this.#options.rpc.call(to, routesMethod, new Uint8Array(0), fetchTimeoutMs, (result) => {
      if (this.#closed) return;
      if (this.#takeFetched(to, result)) {
        this.#rotation = 0;
        this.#fetched();
        return;
      }
      this.stats.fetchFailures++;
      this.#rotation += 1;
      this.#fetchAgain();
    });
  }

  #fetchAgain(): void {
    this.#releaseWaiting();
    const stepMs = Math.min(fetchBackoffMaxMs, fetchBackoffMinMs * 2 ** Math.min(this.#failures, 6));
    this.#failures += 1;
    this.#fetchLater(stepMs);
  }

  #fetchLater(stepMs: number): void {
    const { clock, random } = this.#options;
    this.#cancelFetch = clock.after(stepMs / 2 + random.below(stepMs), () => this.#fetch());
  }

  #takeFetched(from: Address, result: RpcResult): boolean {
    if (!result.ok) return false;
    try {
      const table = decodeRouteTable(result.body);
      // One that is newer, but not new enough, is a step; the fetching goes on.
      return this.applyTable(table) && compareVersions(table.version, this.#heardOf) >= 0;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.stats.malformed++;
      this.#options.logger.warn({ from, err: error }, "dropped a malformed route table");
      return false;
    }
  }

  #fetched(): void {
    this.#fetching = this.#again && !this.#closed;
    this.#again = false;
    this.#failures = 0;
    this.#releaseWaiting();
    // What was missing may be missing still: not in a tight loop.
    if (this.#fetching) this.#fetchLater(fetchBackoffMinMs);
  }

  #releaseWaiting(): void {
    for (const done of this.#waiting.splice(0)) done();
  }

  /** Placement's leader knows best, its members next; any node has a table. */
  #candidates(): Address[] {
    const nodes = [...this.#members, ...this.#nodes.keys()].map(addressOf);
    const leader = this.#placementLeader === undefined ? [] : [addressOf(this.#placementLeader)];
    const all = new Set([...leader, ...nodes, ...this.#options.seeds()]);
    all.delete(this.#options.self);
    return [...all];
  }

  #isOurs(table: RouteTable): boolean {
    if (table.clusterId === "") return false;
    if (this.#clusterId === "" || table.clusterId === this.#clusterId) return true;
    this.#options.logger.warn({ clusterId: table.clusterId }, "dropped routes of another cluster");
    return false;
  }

  #take(table: RouteTable): void {
    this.#clusterId = table.clusterId;
    this.#version = table.version;
    this.#members = table.placementMembers;
    this.#placementLeader = table.placementLeader ?? this.#placementLeader;
    this.#nodes.clear();
    for (const node of table.nodes) this.#nodes.set(node.id, node);
    this.#map.setKeyspaces(table.keyspaces);
  }

  #changed(leaderChanged: readonly GroupId[]): void {
    for (const shard of leaderChanged) this.#leaderChanged(shard);
    for (const listener of this.#changeListeners) listener();
  }

  #leaderChanged(shard: GroupId): void {
    for (const listener of this.#leaderListeners) listener(shard);
  }
}

export function compareVersions(a: RouteVersion, b: RouteVersion): number {
  return a.term - b.term || a.sequence - b.sequence;
}

/** Do the routes of a keyspace, as known, tile it? For readiness. */
export function isWhole(keyspace: KeyspaceRoutes): boolean {
  let expected: Uint8Array = new Uint8Array(0);
  for (const [i, { shard }] of keyspace.sorted.entries()) {
    if (compareBytes(shard.start, expected) !== 0) return false;
    if (shard.end.length === 0) return i === keyspace.sorted.length - 1;
    expected = shard.end;
  }
  return false;
}
