import {
  type AdminResponse,
  addressOf,
  adminMethod,
  type ClusterId,
  decode,
  decodeAdminResponse,
  decodeConfContext,
  decodeRouteDelta,
  descriptorFields,
  encode,
  encodeAdminRequest,
  type GroupId,
  groupRow,
  metaTags,
  type NodeId,
  placementGroup,
  type ReplicaDescriptor,
  type RouteTable,
  type RouteVersion,
  readDescriptor,
  replicasOfConf,
  type ShardDescriptor,
} from "#proto";
import type { ConfChange, ConfState, Entry } from "#raft/core";
import { defaultLimits, defaultTiming, type GroupView, Host, type StateMachine } from "#raft/host";
import { type Logger, seededRandom, silentLogger, VirtualClock } from "#runtime";
import { type Engine, MemoryDisk, type OverlayBatch, openMemory, type Range } from "#storage";
import { JoinExchange, Mesh, Rpc, SimNetwork } from "#transport";
import { jobView, operationView } from "./admin/views.ts";
import { askToJoin, type JoinOutcome } from "./join.ts";
import { bootstrapNodeId, bootstrapReplica } from "./machine.ts";
import type { PlacementParts } from "./parts.ts";
import { Placement } from "./placement.ts";
import type { KeyspaceWish } from "./state.ts";

/**
 * Several nodes with real hosts, transports and placement in one process under a virtual clock, for this
 * room's own tests. Shards are stand-ins that hold nothing but their descriptor.
 * @module
 */

const clusterName = "test";
const clusterId: ClusterId = "c".repeat(32);

class BareShard implements StateMachine {
  readonly #engine: Engine;
  readonly #row: Uint8Array;
  readonly #group: GroupId;
  descriptor: ShardDescriptor | undefined;

  constructor(engine: Engine, group: GroupId) {
    this.#engine = engine;
    this.#group = group;
    this.#row = groupRow(metaTags.shardState, group);
  }

  encodeEntry(): Uint8Array {
    return new Uint8Array(1);
  }

  apply(): readonly unknown[] {
    return [undefined];
  }

  applyConfChange(_entry: Entry, change: ConfChange, conf: ConfState, tx: OverlayBatch): boolean {
    if (this.descriptor === undefined) return false;
    const { epoch } = this.descriptor;
    const context = change.context.length === 0 ? undefined : decodeConfContext(change.context);
    if (context !== undefined && context.expectedConfVersion !== epoch.confVersion) return false;
    const replicas = replicasOfConf(conf, this.descriptor.replicas, context?.replicas ?? []);
    if (replicas === undefined) return false;
    const next = { ...this.descriptor, replicas, epoch: { ...epoch, confVersion: epoch.confVersion + 1 } };
    this.descriptor = next;
    tx.put("meta", this.#row, encode(descriptorFields(next)));
    return true;
  }

  snapshotRanges(): readonly Range[] {
    return [{ family: "meta", start: this.#row, end: groupRow(metaTags.shardState, this.#group + 1) }];
  }

  load(): void {
    const row = this.#engine.get("meta", this.#row);
    this.descriptor = row === undefined ? undefined : readDescriptor(decode(row));
  }

  nodeOf(replica: number): NodeId | undefined {
    return this.descriptor?.replicas.find((r: ReplicaDescriptor) => r.replicaId === replica)?.nodeId;
  }

  leadershipChanged(_view: GroupView): void {}

  closed(): void {}
}

/** What a router's cache does with deltas, in small. */
class Routes {
  table: RouteTable | undefined;
  whole = 0;
  deltas = 0;

  version(): RouteVersion {
    return this.table?.version ?? { term: 0, sequence: 0 };
  }

  take(table: RouteTable): void {
    this.table = table;
    this.whole += 1;
  }

  onDelta(body: Uint8Array): void {
    const { base, table, removedShards } = decodeRouteDelta(body);
    const { term, sequence } = this.version();
    if (base.term !== term || base.sequence !== sequence) return;
    const changed = new Set([...removedShards, ...table.routes.map((route) => route.shard.id)]);
    const kept = (this.table?.routes ?? []).filter((route) => !changed.has(route.shard.id));
    this.table = { ...table, routes: [...kept, ...table.routes].sort((a, b) => a.shard.id - b.shard.id) };
    this.deltas += 1;
  }
}

export interface OperationBody {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly reason: string;
  readonly detail?: string;
  readonly blocked_by?: string;
  readonly progress: number;
  readonly eta_ms: number;
  readonly steps_done: number;
  readonly steps_total: number;
  readonly steps?: readonly { shard: number; action: string; from: string; to: string; state: string }[];
}

export interface TestNode {
  readonly name: string;
  readonly nodeId: NodeId;
  readonly host: Host;
  readonly rpc: Rpc;
  readonly mesh: Mesh;
  readonly engine: Engine;
  readonly placement: Placement;
  readonly routes: Routes;
  readonly shards: Map<GroupId, BareShard>;
  removed?: string;
}

type OwnParts = Pick<PlacementParts, "info" | "capacity" | "shards" | "orders" | "routes">;

/** What a node hands in about itself. */
function partsOf(name: string, shards: ReadonlyMap<GroupId, BareShard>, routes: Routes): OwnParts {
  return {
    info: {
      name,
      http: `${name}:7401`,
      labels: {},
      pid: 1,
      version: "0.1.0",
      startedAtMs: 1_700_000_000_000,
    },
    capacity: () => ({ diskFreeBytes: 1e9, diskTotalBytes: 2e9, bytes: 100, fsyncP99Ms: 1 }),
    shards: {
      descriptorOf: (group) => shards.get(group)?.descriptor,
      statsOf: (group) => {
        const descriptor = shards.get(group)?.descriptor;
        if (descriptor === undefined) return undefined;
        return { descriptor, bytes: 1_000, keys: 10, writesPerSecond: 1, readsPerSecond: 2 };
      },
      frozenOf: () => undefined,
      suggestSplit: () => ({ kind: "blocked", reason: "there is nothing in it" }),
    },
    orders: {
      initialRows: (shard) => (tx) =>
        tx.put("meta", groupRow(metaTags.shardState, shard.id), encode(descriptorFields(shard))),
      split: () => {},
      merge: () => {},
    },
    routes: {
      version: () => routes.version(),
      placementLeader: () => routes.table?.placementLeader,
      take: (table) => routes.take(table),
      table: () => routes.table,
    },
  };
}

export class PlacementHarness {
  readonly clock: VirtualClock = new VirtualClock();
  readonly network: SimNetwork;
  readonly nodes: Map<string, TestNode> = new Map();
  readonly disks: Map<string, MemoryDisk> = new Map();
  readonly ids: Map<string, NodeId> = new Map();
  readonly wallSkewMicros: Map<string, number> = new Map();
  readonly fatal: Error[] = [];
  readonly #random: ReturnType<typeof seededRandom>;
  readonly #logger: Logger;
  readonly #wish: KeyspaceWish;
  #boots = 0;

  constructor(options: { seed?: number; wish?: Partial<KeyspaceWish>; logger?: Logger } = {}) {
    this.#random = seededRandom(options.seed ?? 1);
    this.#wish = { shards: 16, replicas: 3, partition: "hash", ...options.wish };
    this.#logger = options.logger ?? silentLogger;
    this.network = new SimNetwork({ clock: this.clock, random: this.#random.fork("network") });
  }

  /** The first node of the cluster. */
  bootstrap(name: string): TestNode {
    this.disks.set(name, new MemoryDisk());
    this.ids.set(name, bootstrapNodeId);
    const node = this.start(name);
    const init = bootstrapReplica({
      clusterId,
      clusterName,
      wish: this.#wish,
      node: { name, http: `${name}:7401`, labels: {}, version: "0.1.0", nonce: `nonce-${name}` },
      wallMicros: this.clock.wallMicros(),
    });
    node.host.create(init, () => {});
    return node;
  }

  /** Asks to be let in; `outcome` is called with what came of it, after the node runs where it was let in. */
  join(name: string, nonce: string = `nonce-${name}`, outcome: (o: JoinOutcome) => void = () => {}): void {
    const wire = this.network.wire(`joiner-${name}-${this.#boots++}`);
    const self = `x${this.#random.hex(8)}`;
    const joins = new JoinExchange({ clusterName, self, wire, logger: silentLogger });
    const request = { nonce, name, http: `${name}:7401`, labels: {}, version: "0.1.0" };
    askToJoin({ joins, clock: this.clock }, request, 20_000, (result) => {
      joins.close();
      void wire.close();
      if (result.kind === "joined" && !this.nodes.has(name)) {
        this.disks.set(name, new MemoryDisk());
        this.ids.set(name, result.nodeId);
        this.start(name);
      }
      outcome(result);
    });
  }

  /** Starts, or starts again, a node that has an id. */
  start(name: string): TestNode {
    const nodeId = this.ids.get(name);
    const disk = this.disks.get(name);
    if (nodeId === undefined || disk === undefined) throw new Error(`${name} has no id`);
    this.#boots += 1;
    const boot = `boot${this.#boots}`;
    const clock = this.#clockOf(name);
    const engine = openMemory(disk, { clock });
    const wire = this.network.wire(name);
    const self = addressOf(nodeId);
    const logger = this.#logger.child({ node: name });
    const mesh = new Mesh({ clusterName, clusterId, self, boot, wire, clock, logger: silentLogger });
    const rpc = new Rpc({ transport: mesh, boot, clock, logger: silentLogger });
    const joins = new JoinExchange({ clusterName, self, wire, logger: silentLogger });
    const shards = new Map<GroupId, BareShard>();
    const routes = new Routes();
    mesh.handle("event", (_from, body) => routes.onDelta(body));
    const ref: { node?: TestNode } = {};
    const network = { transport: mesh, rpc, joins };
    const base = { clusterId, nodeId, boot, engine, clock, logger, ...network };
    const placement: Placement = new Placement({
      ...base,
      ...partsOf(name, shards, routes),
      host: () => host,
      seeds: () => [...this.ids.values()].map(addressOf),
      events: {
        onSettings: () => {},
        onStanding: ({ membership, clockBad }) => {
          if (clockBad || membership === "draining") host.drain();
          else host.undrain();
        },
        onRemoved: (detail) => {
          if (ref.node !== undefined) ref.node.removed = detail;
        },
      },
    });
    const host: Host = new Host({
      ...base,
      random: this.#random.fork(boot),
      logger: silentLogger,
      timing: defaultTiming,
      limits: defaultLimits,
      factory: {
        make: (group) => {
          if (group === placementGroup) return placement.make();
          const shard = new BareShard(engine, group);
          shards.set(group, shard);
          return shard;
        },
      },
      onFatal: (error) => this.fatal.push(error),
      onLeadershipChange: (view) => placement.leadershipChanged(view),
    });
    host.start();
    placement.start();
    ref.node = { name, nodeId, host, rpc, mesh, engine, placement, routes, shards };
    this.nodes.set(name, ref.node);
    return ref.node;
  }

  #clockOf(name: string): VirtualClock {
    const clock = this.clock;
    const skew = (): number => this.wallSkewMicros.get(name) ?? 0;
    return new Proxy(clock, {
      get: (target, key) => {
        if (key === "wallMicros") return () => target.wallMicros() + skew();
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  /** Power is cut. */
  crash(name: string): void {
    const node = this.node(name);
    node.placement.stop();
    node.host.kill();
    node.rpc.close();
    void node.mesh.close();
    this.disks.get(name)?.crash(this.#random);
    this.nodes.delete(name);
  }

  node(name: string): TestNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`${name} does not run`);
    return node;
  }

  leader(): TestNode | undefined {
    return [...this.nodes.values()].find((node) => node.placement.leads);
  }

  until(what: string, holds: () => boolean, limitMs = 20_000): void {
    const endMs = this.clock.nowMs() + limitMs;
    while (!holds()) {
      if (this.fatal.length > 0) throw this.fatal[0];
      if (!this.clock.step(endMs)) throw new Error(`not within ${limitMs} virtual ms: ${what}`);
    }
  }

  /** As `until`, but looks only now and then: for conditions that cost something to look at. */
  poll(what: string, holds: () => boolean, limitMs = 60_000): void {
    const endMs = this.clock.nowMs() + limitMs;
    while (!holds()) {
      if (this.clock.nowMs() >= endMs) throw new Error(`not within ${limitMs} virtual ms: ${what}`);
      this.run(50);
    }
  }

  run(ms: number): void {
    this.clock.advance(ms);
    if (this.fatal.length > 0) throw this.fatal[0];
  }

  /** Three nodes, the default keyspace made and healthy, placement with three voters. */
  cluster(names: readonly string[] = ["n1", "n2", "n3"]): void {
    const [first = "n1", ...others] = names;
    this.bootstrap(first);
    for (const name of others) this.join(name);
    this.until("a healthy cluster", () => {
      const model = this.leader()?.placement.model;
      if (model === undefined || model.shards.size === 0) return false;
      const voters = Math.min(3, names.length);
      const settled = model.placement.descriptor.replicas.filter((r) => r.role === "voter").length >= voters;
      return (
        settled && [...model.shards.values()].every((shard) => shard.health === "healthy" && !shard.birth)
      );
    });
  }

  admin(operation: string, parameters: Record<string, unknown> = {}, at?: string): AdminResponse {
    const asker = at === undefined ? this.leader() : this.node(at);
    if (asker === undefined) throw new Error("no placement leader");
    let answer: AdminResponse | undefined;
    const body = encodeAdminRequest({ operation, parameters });
    asker.rpc.call(asker.mesh.self, adminMethod, body, 10_000, (result) => {
      if (result.ok) answer = decodeAdminResponse(result.body);
      else throw new Error(`admin: ${result.reason}`);
    });
    this.until(`answer to ${operation}`, () => answer !== undefined);
    return answer as AdminResponse;
  }

  /** Asks without waiting for the answer, whatever it is. */
  tell(operation: string, parameters: Record<string, unknown>): void {
    const asker = this.leader();
    const body = encodeAdminRequest({ operation, parameters });
    asker?.rpc.call(asker.mesh.self, adminMethod, body, 5_000, () => {});
  }

  /** An operation that is begun now, when it is over. */
  operation(operation: string, parameters: Record<string, unknown> = {}, limitMs = 60_000): OperationBody {
    const { operation: id } = this.ask<{ operation: string }>(operation, parameters);
    let body: OperationBody | undefined;
    this.poll(
      `the end of ${operation}`,
      () => {
        body = this.look(id);
        return body !== undefined && body.state !== "running";
      },
      limitMs,
    );
    return body as OperationBody;
  }

  /** An operation or job as placement's leader has it, without asking over the network. */
  look(id: string): OperationBody | undefined {
    const model = this.leader()?.placement.model;
    if (model === undefined) return undefined;
    const operation = model.state.operations.get(Number(id));
    if (operation !== undefined) return operationView(model, operation) as unknown as OperationBody;
    const job = model.state.jobs.get(Number(id));
    return job === undefined ? undefined : (jobView(model, job, { steps: true }) as unknown as OperationBody);
  }

  /** Whether nothing is under way and every group has all its voters, and nothing more, on live nodes. */
  get whole(): boolean {
    const model = this.leader()?.placement.model;
    if (model === undefined) return false;
    const { operations, jobs } = model.state;
    if ([...operations.values(), ...jobs.values()].some((row) => row.state === "running")) return false;
    return [model.placement, ...model.shards.values()].every(
      (group) =>
        group.health === "healthy" &&
        group.birth === undefined &&
        group.descriptor.replicas.every((r) => r.role === "voter"),
    );
  }

  /** Replicas that live on hosts of running nodes, but in no membership. */
  get strays(): string[] {
    const model = this.leader()?.placement.model;
    return [...this.nodes.values()].flatMap((node) =>
      node.host.groups().flatMap((group) => {
        const descriptor = group === placementGroup ? model?.state.own : model?.shards.get(group)?.descriptor;
        const replica = node.host.view(group)?.replica;
        const belongs = descriptor?.replicas.some((r) => r.replicaId === replica && r.nodeId === node.nodeId);
        return belongs === true ? [] : [`${node.name}: replica ${replica} of ${group}`];
      }),
    );
  }

  /** Nodes' names of a group's replicas. */
  on(group: GroupId): string[] {
    const model = this.leader()?.placement.model;
    const descriptor = group === placementGroup ? model?.state.own : model?.shards.get(group)?.descriptor;
    const names = new Map([...this.ids].map(([name, id]) => [id, name]));
    return (descriptor?.replicas ?? []).map((r) => names.get(r.nodeId) ?? String(r.nodeId)).sort();
  }

  /** The body of an answer that must be ok. */
  ask<T = Record<string, unknown>>(operation: string, parameters: Record<string, unknown> = {}): T {
    const answer = this.admin(operation, parameters);
    if (answer.kind !== "ok") throw new Error(`${operation}: ${JSON.stringify(answer)}`);
    return answer.body as T;
  }
}
