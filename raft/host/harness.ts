import { decode, encode, FieldReader, type GroupId, metaTags, type NodeId, type ReplicaId } from "#proto";
import type { ConfChange, ConfState, Entry } from "#raft/core";
import { seededRandom, silentLogger, VirtualClock } from "#runtime";
import { type Engine, MemoryDisk, type OverlayBatch, openMemory, type Range } from "#storage";
import { Mesh, SimNetwork } from "#transport";
import { defaultLimits, defaultTiming, type HostLimits, type HostTiming } from "./config.ts";
import { Host } from "./host.ts";
import type { GroupView, StateMachine } from "./types.ts";

/**
 * Several hosts in one process under a virtual clock, for this room's own tests: a toy state machine that
 * keeps the list of commands it applied, replica i of every group on node i.
 * @module
 */

/** Row [tag, group, index] → command; enough to see order, loss and duplication. */
export class ListMachine implements StateMachine {
  readonly #engine: Engine;
  readonly #group: GroupId;
  leaderships = 0;

  constructor(engine: Engine, group: GroupId) {
    this.#engine = engine;
    this.#group = group;
  }

  #row(index: number, part: number): Uint8Array {
    const row = Buffer.alloc(13);
    row[0] = metaTags.shardState;
    row.writeUInt32BE(this.#group, 1);
    row.writeUInt32BE(index, 5);
    row.writeUInt32BE(part, 9);
    return row;
  }

  encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    return encode(commands);
  }

  apply(entry: Entry, tx: OverlayBatch): readonly unknown[] {
    const commands = new FieldReader([decode(entry.data)], "entry").list((c) => c as Uint8Array);
    for (const [i, command] of commands.entries()) tx.put("data", this.#row(entry.index, i), command);
    return commands.map((_, i) => `${entry.index}.${i}`);
  }

  applyConfChange(_entry: Entry, _change: ConfChange, _conf: ConfState, _tx: OverlayBatch): boolean {
    return true;
  }

  snapshotRanges(): readonly Range[] {
    return [{ family: "data", start: this.#row(0, 0), end: this.#row(0xffffffff, 0xffffffff) }];
  }

  load(): void {}

  nodeOf(replica: ReplicaId): NodeId | undefined {
    return replica;
  }

  leadershipChanged(_view: GroupView): void {
    this.leaderships += 1;
  }

  closed(): void {}

  /** All commands applied, in order, as text. */
  commands(): string[] {
    const range = this.snapshotRanges()[0];
    if (range === undefined) return [];
    const { rows } = this.#engine.scan(range, { limit: 1_000_000 });
    return rows.filter((_, i) => i % 2 === 1).map((row) => Buffer.from(row).toString());
  }
}

export interface HarnessOptions {
  readonly seed?: number;
  readonly nodes?: number;
  readonly groups?: number;
  readonly limits?: Partial<HostLimits>;
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
  readonly random: ReturnType<typeof seededRandom>;
  #boots = 0;

  constructor(options: HarnessOptions = {}) {
    this.#options = options;
    this.random = seededRandom(options.seed ?? 1);
    this.network = new SimNetwork({ clock: this.clock, random: this.random.fork("network") });
    for (let node = 1; node <= (options.nodes ?? 3); node++) {
      this.disks.set(node, new MemoryDisk());
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
      transport: mesh,
      clock: this.clock,
      random: this.random.fork(boot),
      logger: silentLogger,
      timing: { ...defaultTiming, ...this.#options.timing },
      limits: { ...defaultLimits, ...this.#options.limits },
      factory: {
        make: (group) => {
          const machine = new ListMachine(engine, group);
          this.machines.set(`${node}/${group}`, machine);
          return machine;
        },
      },
      onFatal: (error) => this.fatal.set(node, error),
    });
    this.engines.set(node, engine);
    this.#meshes.set(node, mesh);
    this.hosts.set(node, host);
    host.start();
  }

  /** Power is cut: what was not synced may be gone. */
  crash(node: NodeId): void {
    this.host(node).kill();
    this.hosts.delete(node);
    void this.#meshes.get(node)?.close();
    this.disks.get(node)?.crash(this.random);
  }

  host(node: NodeId): Host {
    const host = this.hosts.get(node);
    if (host === undefined) throw new Error(`node ${node} is down`);
    return host;
  }

  machine(node: NodeId, group: GroupId): ListMachine {
    const machine = this.machines.get(`${node}/${group}`);
    if (machine === undefined) throw new Error(`no machine ${node}/${group}`);
    return machine;
  }

  /** First replicas of a group on the nodes `voters`, replica ids equal to node ids. */
  create(group: GroupId, voters: readonly NodeId[]): void {
    const conf: ConfState = { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    for (const node of voters) {
      this.host(node).create({ group, replica: node, conf, index: 10, term: 5, rows: () => {} }, () => {});
    }
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
