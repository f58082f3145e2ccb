import { type GroupId, groupRow, metaTags, type NodeId } from "#proto";
import { Core } from "#raft/core";
import type { StateMachine } from "#raft/host";
import { type Clock, invariant, type Random } from "#runtime";
import { type CrashOptions, type Engine, MemoryDisk, openMemory } from "#storage";
import type { Wire } from "#transport";
import type { NodeParts, NodeProcess, Seams } from "./assembly.ts";
import type { LeaseHolder } from "./checks/leader-lease.ts";
import type { Answer, Call } from "./history.ts";
import type { Place } from "./mutants/mutant.ts";
import { NodeClock } from "./node-clock.ts";
import { submitTo } from "./router-port.ts";
import { SimLogger } from "./sim-logger.ts";
import { tracedWire } from "./traced-wire.ts";
import { StampedMachine } from "./watch/stamped-machine.ts";
import { watchedCore } from "./watch/watched-core.ts";
import { WatchedEngine } from "./watch/watched-engine.ts";
import { hashOfRows } from "./watch/watched-machine.ts";
import type { Port } from "./workload.ts";
import { clusterName, type World } from "./world.ts";

/** What stopped parts may still take to notice: a poll, a wait under way. What repeats itself is seen all the same. */
export const stopGraceMs = 250;

/** One start of a node: everything that dies with its process. */
interface Boot {
  readonly clock: NodeClock;
  readonly wires: readonly Wire[];
  readonly engine: Engine;
  readonly machines: Map<GroupId, StateMachine>;
  readonly holders: LeaseHolder[];
  process: NodeProcess | undefined;
}

export interface SimNodeOptions {
  readonly world: World;
  readonly name: string;
  readonly bootstrap: boolean;
  /** It stopped itself (R8), or was refused at joining. */
  readonly onEnded: (why: string) => void;
}

/** A machine with a disk, and the node's process on it while it runs. */
export class SimNode implements Port {
  readonly name: string;
  readonly #options: SimNodeOptions;
  readonly #random: Random;
  #disk: MemoryDisk;
  #wipes = 0;
  #starts = 0;
  /** Of the machine, so that a restart of the process does not set it right. */
  #wallOffsetMicros: number;
  #boot: Boot | undefined;
  #nodeId: NodeId | undefined;
  disturbances = 0;
  /** Those with a call under way; their connection breaks with the process. */
  readonly #callers = new Set<(answer: undefined) => void>();
  /** On the disk of a healthy machine. */
  readonly #syncDelayMs: () => number;

  constructor(options: SimNodeOptions) {
    this.#options = options;
    this.name = options.name;
    const { plan, random } = options.world;
    this.#random = random.fork(`node ${options.name}`);
    const syncs = this.#random.fork("syncs");
    const micros = plan.syncMsMax * 1000;
    this.#syncDelayMs = () => (micros === 0 ? 0 : syncs.below(micros + 1) / 1000);
    this.#disk = this.#newDisk();
    const offsetMicros = 1000 * plan.wallOffsetMsMax;
    this.#wallOffsetMicros = this.#random.below(2 * offsetMicros + 1) - offsetMicros;
  }

  get disk(): MemoryDisk {
    return this.#disk;
  }

  /** Names this disk for ever: after a wipe it is another. */
  get diskName(): string {
    return this.#wipes === 0 ? this.name : `${this.name}/wiped${this.#wipes}`;
  }

  get clock(): NodeClock | undefined {
    return this.#boot?.clock;
  }

  get process(): NodeProcess | undefined {
    return this.#boot?.process;
  }

  /** As of its last start; undefined before the first. */
  get nodeId(): NodeId | undefined {
    return this.#nodeId;
  }

  get isUp(): boolean {
    return this.#boot !== undefined;
  }

  get alive(): boolean {
    return this.#boot?.process !== undefined;
  }

  get paused(): boolean {
    return this.#boot?.clock.paused ?? false;
  }

  submit(key: string, call: Call, timeoutMs: number, done: (answer: Answer | undefined) => void): void {
    const boot = this.#boot;
    invariant(boot?.process !== undefined, "calls go to nodes that are up");
    this.#callers.add(done);
    const { router } = boot.process;
    // The call comes over a socket, which nobody reads while the process sleeps.
    boot.clock.soon(() => {
      submitTo(router, key, call, timeoutMs, (answer) => {
        // What a process says while it is being killed, nobody hears.
        if (this.#boot !== boot) return;
        this.#callers.delete(done);
        done(answer);
      });
    });
  }

  // ---- life

  start(): void {
    if (this.#boot !== undefined) return;
    const { world, bootstrap } = this.#options;
    this.#starts += 1;
    const { plan, network, trace, assembly, monitor, mutant } = world;
    const random = this.#random.fork(`start ${this.#starts}`);
    const place: Place = { node: this.name, start: this.#starts, random };
    const clock = new NodeClock(world.clock, random.fork("clock"), {
      driftPpm: random.below(2 * plan.driftPpmMax + 1) - plan.driftPpmMax,
      wallOffsetMicros: this.#wallOffsetMicros,
      pollMicrosMax: plan.pollMicrosMax,
    });
    const nowMs = (): number => world.clock.nowMs();
    const newWire = (): Wire => {
      const wire = tracedWire(network.wire(this.name), this.name, trace, nowMs);
      return mutant?.wire?.(wire, place) ?? wire;
    };
    const wires = [newWire(), newWire()] as const;
    const watched = new WatchedEngine(openMemory(this.#disk, { clock }), this.diskName, monitor);
    const engine = mutant?.engine?.(watched, place) ?? watched;
    const boot: Boot = {
      clock,
      wires,
      engine: watched,
      machines: new Map(),
      holders: [],
      process: undefined,
    };
    this.#boot = boot;
    const seen: Clock = mutant?.clock?.(clock, place) ?? clock;
    const parts: NodeParts = {
      name: this.name,
      cluster: clusterName,
      wire: wires[0],
      bulkWire: wires[1],
      clock: seen,
      random,
      logger: new SimLogger({
        name: this.name,
        trace,
        nowMs,
        onBug: (violation) => monitor.report(violation),
      }),
      // A machine without its disk must not found the cluster anew, and nobody who knows it asks it to.
      ...(bootstrap && this.#wipes === 0
        ? { bootstrap: { shards: plan.shards, replicas: plan.replicas, partition: plan.partition } }
        : {}),
      engine,
      timing: plan.timing,
      limits: plan.limits,
      seams: this.#seams(boot, place, seen),
      onFatal: (error) => this.#ended(boot, error.message),
    };
    trace.note(nowMs(), `${this.name} starts${this.#starts > 1 ? ` again (${this.#starts})` : ""}`);
    assembly.node(parts, (result) => {
      if (this.#boot !== boot) return;
      if (!result.ok) {
        this.#ended(boot, result.refusal);
        return;
      }
      boot.process = result.made;
      this.#nodeId = result.made.nodeId;
      trace.note(nowMs(), `${this.name} runs as node ${result.made.nodeId}`);
    });
  }

  #ended(boot: Boot, why: string): void {
    if (this.#boot !== boot) return;
    const { world, onEnded } = this.#options;
    world.trace.note(world.clock.nowMs(), `${this.name} ends: ${why}`);
    // Not from within its own call.
    world.clock.after(0, () => {
      if (this.#boot !== boot) return;
      this.kill({ keep: "all" });
      onEnded(why);
    });
  }

  #seams(boot: Boot, place: Place, seen: Clock): Seams {
    const { monitor, mutant } = this.#options.world;
    const { diskName } = this;
    return {
      makeCore: (config, group) => {
        const Base = mutant?.core?.(Core, group, place) ?? Core;
        const Watched = watchedCore(Base, group, diskName, monitor);
        const core = new Watched(config);
        const holder = leaseHolder(core, group, seen);
        boot.holders.push(holder);
        monitor.leases.opened(holder);
        return core;
      },
      wrapMachine: (machine, group) => {
        boot.machines.set(group, machine);
        const bent = mutant?.machine?.(machine, group, place) ?? machine;
        return new StampedMachine(bent, group, this.name, monitor, () => boot.clock.wallMicros());
      },
    };
  }

  /** The process is gone; `keep` says what of the unsynced the disk still has. */
  kill(options: CrashOptions): void {
    const boot = this.#boot;
    if (boot === undefined) return;
    this.#boot = undefined;
    this.disturbances += 1;
    for (const holder of boot.holders) this.#options.world.monitor.leases.closed(holder);
    boot.process?.kill();
    boot.clock.kill();
    for (const wire of boot.wires) void wire.close();
    // The pause was the process's, not the machine's.
    this.#options.world.network.resume(this.name);
    this.#disk.crash(this.#random.fork(`crash ${this.disturbances}`), options);
    const callers = [...this.#callers];
    this.#callers.clear();
    for (const lost of callers) lost(undefined);
  }

  /** Like SIGSTOP. */
  pause(): void {
    const boot = this.#boot;
    if (boot === undefined) return;
    this.disturbances += 1;
    this.#options.world.network.pause(this.name);
    boot.clock.pause();
  }

  resume(): void {
    const boot = this.#boot;
    if (boot === undefined || !boot.clock.paused) return;
    this.disturbances += 1;
    boot.clock.resume();
    // Timers come before sockets in Node's loop (R15); what waited in the socket is read right after.
    this.#options.world.clock.after(0, () => this.#options.world.network.resume(this.name));
  }

  jumpWall(micros: number): void {
    this.#wallOffsetMicros += micros;
    this.#boot?.clock.jumpWall(micros);
  }

  wipe(): void {
    invariant(this.#boot === undefined, "only a dead machine's disk is taken");
    const old = this.#disk;
    this.#wipes += 1;
    this.#disk = this.#newDisk();
    if (this.#options.world.mutant?.keepsIdentityWhenWiped === true) copyIdentity(old, this.#disk);
    this.healDisk();
  }

  /** Ends the process in order. `done` hears how many callbacks it left behind: none, or it leaks. */
  stop(done: (left: number) => void): void {
    const boot = this.#boot;
    if (boot?.process === undefined) {
      this.kill({ keep: "all" });
      done(0);
      return;
    }
    boot.process.stop(() => {
      // What waits for the next poll only is no leak.
      this.#options.world.clock.after(stopGraceMs, () => {
        const left = boot.clock.pending;
        this.kill({ keep: "all" });
        done(left);
      });
    });
  }

  #newDisk(): MemoryDisk {
    const disk = new MemoryDisk();
    disk.faults.syncDelayMs = this.#syncDelayMs;
    return disk;
  }

  healDisk(): void {
    this.#disk.faults.syncDelayMs = this.#syncDelayMs;
    this.#disk.faults.failSyncs = false;
    this.#disk.faults.failWrites = false;
    this.#disk.faults.occupiedBytes = 0;
  }

  // ---- views

  /** Whether there is a state of the group on this disk, of a machine that is down too. */
  holds(group: GroupId): boolean {
    const engine = this.#boot?.engine ?? openMemory(this.#disk);
    const found = engine.get("meta", groupRow(metaTags.hostApplied, group)) !== undefined;
    if (this.#boot === undefined) void engine.close();
    return found;
  }

  /** The state of a group as it stands on this disk; undefined while a snapshot is being installed (R4). */
  stateOf(group: GroupId): { readonly applied: number; readonly hash: string } | undefined {
    const boot = this.#boot;
    const view = boot?.process?.host.view(group);
    const machine = boot?.machines.get(group);
    if (boot === undefined || view === undefined || machine === undefined) return undefined;
    if (boot.engine.get("meta", groupRow(metaTags.hostInstalling, group)) !== undefined) return undefined;
    return { applied: view.applied, hash: hashOfRows(boot.engine, machine.snapshotRanges()) };
  }
}

function leaseHolder(core: Core, group: GroupId, clock: Clock): LeaseHolder {
  return {
    group,
    replica: core.id,
    get term() {
      return core.term;
    },
    get isLeader() {
      return core.role === "leader";
    },
    holdsLease: () => core.leaseHeld(clock.nowMs()),
  };
}

/** Who the node is and which replicas it has, without their logs and data. */
function copyIdentity(from: MemoryDisk, to: MemoryDisk): void {
  const source = openMemory(from);
  const target = openMemory(to);
  const batch = target.batch();
  for (const tag of [metaTags.node, metaTags.hostReplica]) {
    const range = { family: "meta", start: Uint8Array.of(tag), end: Uint8Array.of(tag + 1) } as const;
    const { rows } = source.scan(range, { limit: Number.MAX_SAFE_INTEGER });
    for (let i = 0; i + 1 < rows.length; i += 2) batch.put("meta", rows[i] ?? none, rows[i + 1] ?? none);
  }
  to.faults.syncDelayMs = () => 0;
  target.write(batch, { sync: true }, () => {});
  void source.close();
  void target.close();
}

const none = new Uint8Array(0);
