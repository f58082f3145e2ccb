import {
  type ConfContext,
  encodeConfContext,
  firstLogIndex,
  firstLogTerm,
  type GroupId,
  inRange,
  isNewerEpoch,
  kvMethods,
  type NodeId,
  type ReplicaId,
  type ShardDescriptor,
} from "#proto";
import type { ConfChange, MemberChange } from "#raft/core";
import { defaultLimits, defaultTiming, Host, type HostLimits, type StateMachine } from "#raft/host";
import { type Logger, type Random, seededRandom, silentLogger, VirtualClock } from "#runtime";
import { type CrashOptions, type Engine, MemoryDisk, openMemory } from "#storage";
import { Mesh, SimNetwork } from "#transport";
import type { ShardStateMachine } from "../machine.ts";
import { ShardService } from "../service.ts";
import { initialRows } from "../state-rows.ts";

/**
 * Nodes with hosts and shard services under a virtual clock, for this room's own tests: no placement, no
 * routers; a test gives orders and calls the services itself.
 * @module
 */

type Handler = (
  from: { readonly address: string; readonly boot: string },
  body: Uint8Array,
  reply: (body: Uint8Array) => void,
) => void;

export interface TestNode {
  readonly id: NodeId;
  readonly host: Host;
  readonly engine: Engine;
  readonly service: ShardService;
  readonly mesh: Mesh;
  readonly handlers: ReadonlyMap<number | string, Handler>;
}

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly limits?: Partial<HostLimits>;
  readonly syncDelayMs?: (random: Random) => number;
  /** Stands around each machine, to put a bug in. */
  readonly wrap?: (machine: StateMachine) => StateMachine;
}

export const testKeyspace = 1;

export class ShardCluster {
  readonly clock: VirtualClock = new VirtualClock();
  readonly network: SimNetwork;
  readonly nodes: Map<NodeId, TestNode> = new Map();
  readonly disks: Map<NodeId, MemoryDisk> = new Map();
  readonly random: Random;
  readonly fatal: Error[] = [];
  /** How often each line was logged: shows which paths were taken. */
  readonly logged: Map<string, number> = new Map();
  readonly #options: ClusterOptions;
  #boots = 0;
  #nextReplica = 100;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.random = seededRandom(`shards/${options.seed}`);
    this.network = new SimNetwork({ clock: this.clock, random: this.random.fork("network") });
    for (let id = 1; id <= options.nodes; id++) {
      const disk = new MemoryDisk(2 ** 40);
      const { syncDelayMs } = options;
      const draws = this.random.fork(`disk${id}`);
      if (syncDelayMs !== undefined) disk.faults.syncDelayMs = () => syncDelayMs(draws);
      this.disks.set(id, disk);
      this.boot(id);
    }
  }

  readonly #logger: Logger = {
    ...silentLogger,
    info: (_fields, text) => this.#count(text),
    warn: (_fields, text) => this.#count(text),
  };

  #count(text: string): void {
    this.logged.set(text, (this.logged.get(text) ?? 0) + 1);
  }

  boot(id: NodeId): void {
    const disk = this.disks.get(id);
    if (disk === undefined) throw new Error(`no node ${id}`);
    this.#boots += 1;
    const boot = `boot${this.#boots}`;
    const { clock } = this;
    const engine = openMemory(disk, { clock });
    const handlers = new Map<number | string, Handler>();
    const service = new ShardService({
      engine,
      clock,
      logger: silentLogger,
      rpc: { serve: (method, handler) => handlers.set(method, handler) },
      settings: { maxValueBytes: 2 ** 20, maxInflightBytes: 2 ** 26 },
    });
    const mesh = new Mesh({
      clusterName: "test",
      clusterId: "0".repeat(32),
      self: String(id),
      boot,
      wire: this.network.wire(`n${id}`),
      clock,
      logger: silentLogger,
    });
    const { wrap = (machine) => machine } = this.#options;
    const host = new Host({
      nodeId: id,
      boot,
      engine,
      transport: mesh,
      clock,
      random: this.random.fork(boot),
      logger: this.#logger,
      timing: defaultTiming,
      limits: { ...defaultLimits, ...this.#options.limits },
      factory: {
        make: (group, replica) => {
          const machine = service.make(group, replica);
          return machine && wrap(machine);
        },
      },
      onFatal: (error) => this.fatal.push(error),
    });
    this.nodes.set(id, { id, host, engine, service, mesh, handlers });
    host.start();
    service.start(host);
  }

  /** Power is cut. */
  crash(id: NodeId, keep: CrashOptions["keep"] = "random"): void {
    const node = this.node(id);
    node.host.kill();
    node.service.close();
    this.nodes.delete(id);
    void node.mesh.close();
    this.disks.get(id)?.crash(this.random, { keep });
  }

  node(id: NodeId): TestNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`node ${id} is down`);
    return node;
  }

  newReplica(): ReplicaId {
    this.#nextReplica += 1;
    return this.#nextReplica;
  }

  /** First replicas of a shard, as placement orders them. */
  create(id: GroupId, on: readonly NodeId[], start: Uint8Array, end: Uint8Array): ShardDescriptor {
    const replicas = on.map((nodeId) => ({ replicaId: this.newReplica(), nodeId, role: "voter" as const }));
    const epoch = { version: 1, confVersion: 1 };
    const shard: ShardDescriptor = { id, keyspace: testKeyspace, start, end, epoch, replicas };
    const voters = replicas.map((r) => r.replicaId);
    for (const { nodeId, replicaId } of replicas) {
      this.node(nodeId).host.create(
        {
          group: id,
          replica: replicaId,
          conf: { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false },
          index: firstLogIndex,
          term: firstLogTerm,
          rows: initialRows(shard),
        },
        () => {},
      );
    }
    return shard;
  }

  machine(id: NodeId, group: GroupId): ShardStateMachine | undefined {
    return this.nodes.get(id)?.service.machineOf(group);
  }

  leaderOf(group: GroupId): NodeId | undefined {
    const leaders = [...this.nodes.values()].filter(({ host }) => host.view(group)?.role === "leader");
    leaders.sort((a, b) => (b.host.view(group)?.term ?? 0) - (a.host.view(group)?.term ?? 0));
    return leaders[0]?.id;
  }

  /** The newest descriptors that any node has, by shard. */
  descriptors(): Map<GroupId, ShardDescriptor> {
    const newest = new Map<GroupId, ShardDescriptor>();
    for (const { host, service } of this.nodes.values()) {
      for (const group of host.groups()) {
        const shard = service.machineOf(group)?.descriptor;
        const known = newest.get(group);
        if (shard !== undefined && (known === undefined || isNewerEpoch(shard.epoch, known.epoch)))
          newest.set(group, shard);
      }
    }
    return newest;
  }

  write(id: NodeId, body: Uint8Array, reply: (body: Uint8Array) => void): void {
    this.nodes.get(id)?.handlers.get(kvMethods.write)?.({ address: "x", boot: "b" }, body, reply);
  }

  read(id: NodeId, body: Uint8Array, reply: (body: Uint8Array) => void): void {
    this.nodes.get(id)?.handlers.get(kvMethods.read)?.({ address: "x", boot: "b" }, body, reply);
  }

  run(ms: number): void {
    this.clock.advance(ms);
    const [error] = this.fatal;
    if (error !== undefined) throw error;
  }

  /** @throws Error past `limitMs` of virtual time */
  until(what: string, holds: () => boolean, limitMs = 20_000): void {
    const endMs = this.clock.nowMs() + limitMs;
    while (!holds()) {
      const [error] = this.fatal;
      if (error !== undefined) throw error;
      if (!this.clock.step(endMs)) throw new Error(`not within ${limitMs} virtual ms: ${what}`);
    }
  }
}

/** A membership change as placement orders it. */
export function confChange(
  changes: readonly MemberChange[],
  joint: boolean,
  context: ConfContext,
): ConfChange {
  return { transition: joint ? "explicit" : "auto", changes, context: encodeConfContext(context) };
}

/** Where keys are, as a router would believe: healed by what replicas answer. */
export class TestRoutes {
  readonly #shards: Map<GroupId, ShardDescriptor> = new Map();

  learn(shards: Iterable<ShardDescriptor>): void {
    for (const shard of shards) {
      const known = this.#shards.get(shard.id);
      if (known === undefined || isNewerEpoch(shard.epoch, known.epoch)) this.#shards.set(shard.id, shard);
    }
  }

  lookup(key: Uint8Array): ShardDescriptor | undefined {
    let best: ShardDescriptor | undefined;
    for (const shard of this.#shards.values()) {
      if (!inRange(key, shard.start, shard.end)) continue;
      if (best === undefined || shard.epoch.version > best.epoch.version) best = shard;
    }
    return best;
  }
}
