import {
  compareBytes,
  type GroupId,
  inRange,
  isNewerEpoch,
  type KeyspaceDescriptor,
  type NodeId,
  type Route,
  rangesOverlap,
  type ShardDescriptor,
} from "#proto";

/** What is known of one shard. The same object stays for as long as the shard does. */
export interface RouteEntry {
  shard: ShardDescriptor;
  /** The best guess at the leader's node. */
  leader: NodeId | undefined;
  /** What placement last said; only a change of that overrules what replicas said since. */
  placementLeader: NodeId | undefined;
  /** The largest reading of the shard's clock that an answer carried, µs; 0 before the first (R23). */
  clockMicros: number;
}

/** One keyspace and its shards in key order. */
export interface KeyspaceRoutes {
  descriptor: KeyspaceDescriptor;
  sorted: RouteEntry[];
}

/**
 * Which shard holds which keys: a sorted list per keyspace. Knowledge only moves forward: of one shard the
 * newer epoch stays, and of shards that overlap the higher version, since at every key splits and merges
 * only raise it (as TiKV's region cache).
 */
export class RouteMap {
  readonly #shards = new Map<GroupId, RouteEntry>();
  readonly #byId = new Map<number, KeyspaceRoutes>();
  readonly #byName = new Map<string, KeyspaceRoutes>();

  get keyspaces(): IterableIterator<KeyspaceRoutes> {
    return this.#byId.values();
  }

  keyspace(name: string): KeyspaceRoutes | undefined {
    return this.#byName.get(name);
  }

  shard(id: GroupId): RouteEntry | undefined {
    return this.#shards.get(id);
  }

  /** The shard whose range holds `key` (encoded); undefined where none is known. */
  lookup(keyspace: KeyspaceRoutes, key: Uint8Array): RouteEntry | undefined {
    const { sorted } = keyspace;
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = sorted[middle];
      if (entry !== undefined && compareBytes(entry.shard.start, key) <= 0) low = middle + 1;
      else high = middle;
    }
    const entry = sorted[low - 1];
    return entry !== undefined && inRange(key, entry.shard.start, entry.shard.end) ? entry : undefined;
  }

  /** Takes the list of keyspaces as it is now; the shards of one that is gone go with it. */
  setKeyspaces(descriptors: readonly KeyspaceDescriptor[]): void {
    const kept = new Set(descriptors.map((k) => k.id));
    for (const [id, { sorted }] of this.#byId) {
      if (kept.has(id)) continue;
      for (const entry of sorted) this.#shards.delete(entry.shard.id);
      this.#byId.delete(id);
    }
    this.#byName.clear();
    for (const descriptor of descriptors) {
      const routes = this.#byId.get(descriptor.id) ?? { descriptor, sorted: [] };
      routes.descriptor = descriptor;
      this.#byId.set(descriptor.id, routes);
      this.#byName.set(descriptor.name, routes);
    }
  }

  /**
   * Takes what replicas or placement say of shards, where nothing newer is known.
   * @returns true when it changed anything
   */
  learn(shards: readonly ShardDescriptor[]): boolean {
    let changed = false;
    for (const keyspace of this.#byId.values()) {
      const told = shards.filter((shard) => shard.keyspace === keyspace.descriptor.id && this.#isNews(shard));
      if (told.length > 0 && this.#merge(keyspace, told)) changed = true;
    }
    return changed;
  }

  /**
   * Takes routes of placement's, their leaders too.
   * @returns shards whose leader changed
   */
  learnRoutes(routes: readonly Route[]): GroupId[] {
    this.learn(routes.map((route) => route.shard));
    return routes.filter((route) => this.#learnLeader(route)).map((route) => route.shard.id);
  }

  forget(shard: GroupId): void {
    const entry = this.#shards.get(shard);
    if (entry === undefined) return;
    this.#shards.delete(shard);
    const keyspace = this.#byId.get(entry.shard.keyspace);
    if (keyspace !== undefined) keyspace.sorted = keyspace.sorted.filter((other) => other !== entry);
  }

  #isNews(shard: ShardDescriptor): boolean {
    const present = this.#shards.get(shard.id);
    return present === undefined || isNewerEpoch(shard.epoch, present.shard.epoch);
  }

  #merge(keyspace: KeyspaceRoutes, told: readonly ShardDescriptor[]): boolean {
    const before = keyspace.sorted.map(({ shard, clockMicros }) => ({ shard, clockMicros }));
    const newest = new Map(before.map(({ shard }) => [shard.id, shard]));
    for (const shard of told) newest.set(shard.id, shard);
    const descriptors = withoutOverlaps([...newest.values()]);
    const stay = new Set(descriptors.map((shard) => shard.id));
    for (const { shard } of before) if (!stay.has(shard.id)) this.#shards.delete(shard.id);
    keyspace.sorted = descriptors.map((shard) => this.#entryOf(shard, before));
    return told.some((shard) => stay.has(shard.id));
  }

  #entryOf(shard: ShardDescriptor, before: readonly Pick<RouteEntry, "shard" | "clockMicros">[]): RouteEntry {
    let entry = this.#shards.get(shard.id);
    if (entry === undefined) {
      // A child's clock starts at its parent's, a merged shard's at the larger one.
      const clockMicros = before.reduce(
        (clock, old) => (overlap(old.shard, shard) ? Math.max(clock, old.clockMicros) : clock),
        0,
      );
      entry = { shard, leader: undefined, placementLeader: undefined, clockMicros };
      this.#shards.set(shard.id, entry);
    }
    entry.shard = shard;
    if (entry.leader !== undefined && !hasReplicaOn(shard, entry.leader)) entry.leader = undefined;
    return entry;
  }

  #learnLeader(route: Route): boolean {
    const entry = this.#shards.get(route.shard.id);
    if (entry === undefined || entry.placementLeader === route.leader) return false;
    entry.placementLeader = route.leader;
    if (route.leader === undefined || entry.leader === route.leader) return false;
    if (!hasReplicaOn(entry.shard, route.leader)) return false;
    entry.leader = route.leader;
    return true;
  }
}

/** In key order; where two overlap, the one of the lower version is dropped. */
function withoutOverlaps(shards: ShardDescriptor[]): ShardDescriptor[] {
  const kept: ShardDescriptor[] = [];
  shards.sort((a, b) => compareBytes(a.start, b.start));
  for (const shard of shards) {
    let wins = true;
    for (let last = kept.at(-1); last !== undefined && overlap(last, shard); last = kept.at(-1)) {
      if (last.epoch.version > shard.epoch.version) {
        wins = false;
        break;
      }
      kept.pop();
    }
    if (wins) kept.push(shard);
  }
  return kept;
}

function overlap(a: ShardDescriptor, b: ShardDescriptor): boolean {
  return rangesOverlap(a.start, a.end, b.start, b.end);
}

export function hasReplicaOn(shard: ShardDescriptor, node: NodeId): boolean {
  return shard.replicas.some((replica) => replica.nodeId === node);
}
