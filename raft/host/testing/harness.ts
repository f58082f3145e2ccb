import type { GroupId, NodeId, ReplicaId } from "#proto";
import type { ConfState } from "#raft/core";
import { type Random, seededRandom, silentLogger, VirtualClock } from "#runtime";
import { type CrashOptions, type Engine, MemoryDisk, openMemory } from "#storage";
import { Mesh, SimNetwork, type Transport } from "#transport";
import { defaultLimits, defaultTiming, type HostLimits, type HostTiming } from "../config.ts";
import { Host } from "../host.ts";
import type { HostOptions } from "../options.ts";
import { ListMachine } from "./list-machine.ts";

/**
 * Several hosts in one process under a virtual clock, for this room's own tests: a toy state machine that
 * keeps the list of commands it applied, replica i of every group on node i.
 * @module
 */

export interface HarnessOptions {
  readonly seed?: number;
  readonly nodes?: number;
  readonly groups?: number;
  readonly limits?: Partial<HostLimits>;
  /** How long each sync of any disk takes, drawn anew each time, ms. */
  readonly syncDelayMs?: (random: Random) => number;
  readonly makeCore?: HostOptions["makeCore"];
  /** Sees each machine as it is made. */
  readonly onMachine?: (node: NodeId, group: GroupId, machine: ListMachine) => void;
  /** Stands between a host and its transport. */
  readonly tap?: (node: NodeId, transport: Transport) => Transport;
  readonly timing?: Partial<HostTiming>;
}

export class HostHarness {
  readonly clock: VirtualClock = new VirtualClock();
  readonly network: SimNetwork;
  readonly disks: Map<NodeId, MemoryDisk> = new Map();
  readonly hosts: Map<NodeId, Host> = new Map();
  readonly engines: Map<NodeId, Engine> = new Map();
  readonly machines: Map<string, ListMachine> = new Map();
  readonly fatal: Map<NodeId, Error> = new Map();
  readonly #meshes: Map<NodeId, Mesh> = new Map();
  readonly #options: HarnessOptions;
  readonly random: Random;
  #boots = 0;

  constructor(options: HarnessOptions = {}) {
    this.#options = options;
    this.random = seededRandom(options.seed ?? 1);
    this.network = new SimNetwork({ clock: this.clock, random: this.random.fork("network") });
    for (let node = 1; node <= (options.nodes ?? 3); node++) {
      const disk = new MemoryDisk();
      const { syncDelayMs } = options;
      const draws = this.random.fork(`disk${node}`);
      if (syncDelayMs !== undefined) disk.faults.syncDelayMs = () => syncDelayMs(draws);
      this.disks.set(node, disk);
      this.boot(node);
    }
  }

  boot(node: NodeId): void {
    const disk = this.disks.get(node);
    if (disk === undefined) throw new Error(`no disk for node ${node}`);
    this.#boots += 1;
    const boot = `boot${this.#boots}`;
    const engine = openMemory(disk, { clock: this.clock });
    const mesh = new Mesh({
      clusterName: "test",
      clusterId: "0".repeat(32),
      self: String(node),
      boot,
      wire: this.network.wire(`n${node}`),
      clock: this.clock,
      logger: silentLogger,
    });
    const host = new Host({
      nodeId: node,
      boot,
      engine,
      transport: this.#options.tap?.(node, mesh) ?? mesh,
      clock: this.clock,
      random: this.random.fork(boot),
      logger: silentLogger,
      timing: { ...defaultTiming, ...this.#options.timing },
      limits: { ...defaultLimits, ...this.#options.limits },
      factory: {
        make: (group) => {
          const machine = new ListMachine(engine, group);
          this.machines.set(`${node}/${group}`, machine);
          this.#options.onMachine?.(node, group, machine);
          return machine;
        },
      },
      onFatal: (error) => this.fatal.set(node, error),
      ...(this.#options.makeCore === undefined ? {} : { makeCore: this.#options.makeCore }),
    });
    this.engines.set(node, engine);
    this.#meshes.set(node, mesh);
    this.hosts.set(node, host);
    host.start();
  }

  /** Power is cut: what was not synced may be gone. */
  crash(node: NodeId, keep: CrashOptions["keep"] = "random"): void {
    this.host(node).kill();
    this.hosts.delete(node);
    void this.#meshes.get(node)?.close();
    this.disks.get(node)?.crash(this.random, { keep });
  }

  host(node: NodeId): Host {
    const host = this.hosts.get(node);
    if (host === undefined) throw new Error(`node ${node} is down`);
    return host;
  }

  transport(node: NodeId): Mesh {
    const mesh = this.#meshes.get(node);
    if (mesh === undefined) throw new Error(`node ${node} is down`);
    return mesh;
  }

  disk(node: NodeId): MemoryDisk {
    const disk = this.disks.get(node);
    if (disk === undefined) throw new Error(`no disk for node ${node}`);
    return disk;
  }

  machine(node: NodeId, group: GroupId): ListMachine {
    const machine = this.machines.get(`${node}/${group}`);
    if (machine === undefined) throw new Error(`no machine ${node}/${group}`);
    return machine;
  }

  /** First replicas of a group on the nodes `voters`, replica ids equal to node ids. */
  create(group: GroupId, voters: readonly NodeId[]): void {
    for (const node of voters) this.createOne(group, node, node, voters);
  }

  createOne(
    group: GroupId,
    node: NodeId,
    replica: ReplicaId,
    voters: readonly ReplicaId[],
    done: (result: string) => void = () => {},
  ): void {
    const conf: ConfState = { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    this.host(node).create({ group, replica, conf, index: 10, term: 5, rows: () => {} }, done);
  }

  leaderOf(group: GroupId): NodeId | undefined {
    const leaders = [...this.hosts].filter(([, host]) => host.view(group)?.role === "leader");
    leaders.sort(([, a], [, b]) => (b.view(group)?.term ?? 0) - (a.view(group)?.term ?? 0));
    return leaders[0]?.[0];
  }

  /** Runs until `holds`; the virtual clock makes a limit harmless. @throws Error past `limitMs` */
  until(what: string, holds: () => boolean, limitMs = 20_000): void {
    const endMs = this.clock.nowMs() + limitMs;
    while (!holds()) {
      if (this.fatal.size > 0) throw [...this.fatal.values()][0];
      if (!this.clock.step(endMs)) throw new Error(`not within ${limitMs} virtual ms: ${what}`);
    }
  }

  run(ms: number): void {
    this.clock.advance(ms);
    const error = [...this.fatal.values()][0];
    if (error !== undefined) throw error;
  }

  /** Proposes at the leader and waits for its end; retried while refused. */
  put(group: GroupId, text: string): string {
    let outcome: string | undefined;
    this.until(`put ${text}`, () => {
      const leader = this.leaderOf(group);
      return leader !== undefined && this.hosts.has(leader);
    });
    const leader = this.leaderOf(group) ?? 0;
    this.host(leader).propose(group, Buffer.from(text), (result) => {
      outcome = result.kind;
    });
    this.until(`outcome of ${text}`, () => outcome !== undefined);
    return outcome ?? "";
  }

  read(node: NodeId, group: GroupId): { outcome: string; commands: string[] } {
    let outcome: string | undefined;
    let commands: string[] = [];
    this.host(node).read(group, { lease: false, timeoutMs: 5_000 }, (result) => {
      outcome = result.kind;
      commands = this.machine(node, group).commands();
    });
    this.until("read", () => outcome !== undefined);
    return { outcome: outcome ?? "", commands };
  }
}
