import {
  type Address,
  type ClusterId,
  encodeRouteDelta,
  type GroupId,
  type NodeId,
  type Route,
  type RouteNode,
  type RouteTable,
  type RouteVersion,
} from "#proto";
import type { Clock } from "#runtime";
import type { Transport } from "#transport";
import type { Model } from "./model.ts";

/** A push that is younger may still be on its way when a report says that the routes are old, ms. */
const pushPatienceMs = 300;
/** A stateless router that has not registered again is forgotten, ms. */
const routerKeepMs = 15_000;

interface Subscriber {
  /** What it has, as far as we know: reported, or pushed since. */
  version: RouteVersion;
  pushedAtMs: number;
  seenAtMs: number;
}

export interface PublisherOptions {
  readonly clusterId: ClusterId;
  readonly term: number;
  readonly self: NodeId;
  readonly clock: Clock;
  readonly transport: Pick<Transport, "send">;
  /** The own node's cache gets each new table whole. */
  readonly take: (table: RouteTable) => void;
}

/**
 * Makes the route table of one placement term and pushes its changes: a delta to whoever has the table
 * before it, the whole to whoever reports another version.
 */
export class RoutePublisher {
  readonly #options: PublisherOptions;
  readonly #subscribers = new Map<Address, Subscriber>();
  #table: RouteTable | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  get table(): RouteTable | undefined {
    return this.#table;
  }

  /** Takes the model's routes; what has changed is pushed. */
  update(model: Model): void {
    const { term, clusterId, self } = this.#options;
    const before = this.#table;
    const next: RouteTable = {
      clusterId,
      version: { term, sequence: (before?.version.sequence ?? 0) + 1 },
      placementMembers: model.state.own.replicas.map((r) => r.nodeId),
      placementLeader: self,
      nodes: routeNodes(model),
      keyspaces: [...model.state.keyspaces.values()],
      routes: routesOf(model),
    };
    const changed = changedRoutes(before, next);
    const kept = new Set(next.routes.map((route) => route.shard.id));
    const removed = (before?.routes ?? []).map((route) => route.shard.id).filter((id) => !kept.has(id));
    if (before !== undefined && changed.length === 0 && removed.length === 0 && sameFrame(before, next)) {
      return;
    }
    this.#table = next;
    this.#options.take(next);
    if (before !== undefined) this.#push(before.version, { ...next, routes: changed }, removed);
  }

  /**
   * A node or router told which table it has: it is sent the whole where that is an old one. An older delta
   * may still be under way to it, so not at once after a push.
   */
  heard(address: Address, version: RouteVersion): void {
    const nowMs = this.#options.clock.nowMs();
    const subscriber = this.#subscribers.get(address) ?? {
      version,
      pushedAtMs: Number.NEGATIVE_INFINITY,
      seenAtMs: nowMs,
    };
    this.#subscribers.set(address, subscriber);
    subscriber.seenAtMs = nowMs;
    if (this.#table === undefined) return;
    if (sameVersion(version, this.#table.version)) {
      subscriber.version = version;
      return;
    }
    if (nowMs - subscriber.pushedAtMs < pushPatienceMs) return;
    subscriber.version = version;
    this.#send(address, subscriber, version, this.#table, []);
  }

  #push(base: RouteVersion, table: RouteTable, removed: readonly GroupId[]): void {
    const nowMs = this.#options.clock.nowMs();
    for (const [address, subscriber] of this.#subscribers) {
      if (nowMs - subscriber.seenAtMs > routerKeepMs) this.#subscribers.delete(address);
      else if (sameVersion(subscriber.version, base)) this.#send(address, subscriber, base, table, removed);
    }
  }

  #send(
    address: Address,
    subscriber: Subscriber,
    base: RouteVersion,
    table: RouteTable,
    removedShards: readonly GroupId[],
  ): void {
    if (address === String(this.#options.self)) return;
    const body = encodeRouteDelta({ base, table, removedShards });
    if (this.#options.transport.send(address, "event", body) !== "queued") return;
    subscriber.version = table.version;
    subscriber.pushedAtMs = this.#options.clock.nowMs();
  }
}

function sameVersion(a: RouteVersion, b: RouteVersion): boolean {
  return a.term === b.term && a.sequence === b.sequence;
}

function routeNodes(model: Model): RouteNode[] {
  return [...model.nodes.values()].map(({ row, heard }) => ({
    id: row.id,
    name: row.name,
    http: heard?.info.http ?? row.http,
  }));
}

function routesOf(model: Model): Route[] {
  return [...model.shards.values()].map(({ descriptor, leader }) => ({
    shard: descriptor,
    ...(leader === undefined ? {} : { leader: leader.nodeId }),
  }));
}

function changedRoutes(before: RouteTable | undefined, next: RouteTable): Route[] {
  const held = new Map((before?.routes ?? []).map((route) => [route.shard.id, route]));
  return next.routes.filter((route) => {
    const old = held.get(route.shard.id);
    // A descriptor that changes is replaced, never edited.
    return old === undefined || old.shard !== route.shard || old.leader !== route.leader;
  });
}

/** Members, nodes and keyspaces. */
function sameFrame(a: RouteTable, b: RouteTable): boolean {
  return (
    a.placementLeader === b.placementLeader &&
    sameList(a.placementMembers, b.placementMembers, (x, y) => x === y) &&
    sameList(a.keyspaces, b.keyspaces, (x, y) => x === y) &&
    sameList(a.nodes, b.nodes, (x, y) => x.id === y.id && x.name === y.name && x.http === y.http)
  );
}

function sameList<T>(a: readonly T[], b: readonly T[], same: (x: T, y: T) => boolean): boolean {
  return a.length === b.length && a.every((x, i) => same(x, b[i] as T));
}
