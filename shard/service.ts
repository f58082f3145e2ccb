import {
  encodeFloor,
  type GroupId,
  kvMethods,
  type MergeStep,
  ProtocolError,
  placementGroup,
  type ReplicaId,
  type ShardDescriptor,
  type SplitCommand,
} from "#proto";
import type { GroupHost, StateMachine, StateMachineFactory } from "#raft/host";
import type { Clock, Logger } from "#runtime";
import type { Engine } from "#storage";
import type { Rpc, Sender } from "#transport";
import { DiskGuard } from "./disk-guard.ts";
import type { FloorResult, ShardStateMachine } from "./machine.ts";
import { type MergeOutcome, mergeOrder } from "./merge.ts";
import { carryOutOrder } from "./order-door.ts";
import { ReadDoor } from "./reads.ts";
import { LocalShards, type ShardReport } from "./shards.ts";
import { type SplitOutcome, splitOrder } from "./split.ts";
import { type SplitSuggestion, type SplitWish, splitByLoad, splitBySize } from "./split-keys.ts";
import { type ShardSettings, WriteDoor } from "./writes.ts";

export interface ShardServiceOptions {
  readonly engine: Engine;
  readonly rpc: Pick<Rpc, "serve">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: ShardSettings;
}

type Handle = (body: Uint8Array, reply: (body: Uint8Array) => void) => void;

/**
 * A node's side of the shards: makes their state machines for the host, and answers routers. Deadlines are
 * the routers' own; here nothing waits longer than the host makes it wait.
 */
export class ShardService implements StateMachineFactory {
  readonly #options: ShardServiceOptions;
  readonly #shards: LocalShards;
  readonly #disk: DiskGuard;
  #settings: ShardSettings;
  #host: GroupHost | undefined;
  #clockBad = false;
  #draining = false;
  #malformed = 0;

  constructor(options: ShardServiceOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.#shards = new LocalShards(options.engine, options.clock);
    this.#disk = new DiskGuard(options.engine, options.clock, options.logger);
  }

  /** Begins to answer. The host needs this factory and this service needs the host: hence two steps. */
  start(host: GroupHost): void {
    const { rpc, engine } = this.#options;
    this.#host = host;
    const writes = new WriteDoor(host, this.#shards, {
      settings: () => this.#settings,
      nearlyFull: () => this.#disk.nearlyFull,
      closedBecause: (shard) => this.#closedBecause(shard),
    });
    const reads = new ReadDoor(host, engine, this.#shards);
    this.#disk.start();
    rpc.serve(
      kvMethods.write,
      this.#guarded((body, reply) => writes.handle(body, reply)),
    );
    rpc.serve(
      kvMethods.read,
      this.#guarded((body, reply) => reads.handle(body, reply)),
    );
  }

  close(): void {
    this.#disk.close();
  }

  make(group: GroupId, replica: ReplicaId): StateMachine | undefined {
    return group === placementGroup ? undefined : this.#shards.make(group, replica);
  }

  /** New values of live settings. */
  configure(settings: Partial<ShardSettings>): void {
    this.#settings = { ...this.#settings, ...settings };
  }

  /** R25: while this node's clock is declared bad it proposes nothing. */
  setClockBad(bad: boolean): void {
    this.#clockBad = bad;
  }

  /** A draining node proposes nothing in shards that another voter could lead. */
  setDraining(draining: boolean): void {
    this.#draining = draining;
  }

  /** Requests dropped because they could not be read. */
  get malformedRequests(): number {
    return this.#malformed;
  }

  machineOf(group: GroupId): ShardStateMachine | undefined {
    return this.#shards.get(group)?.machine;
  }

  /** Shards led here, ascending. */
  ledShards(): readonly GroupId[] {
    return this.#shards.led();
  }

  /** Of any shard with a replica here; undefined before its first rows have come. */
  reportOf(group: GroupId): ShardReport | undefined {
    return this.#shards.reportOf(group);
  }

  /** Moves an idle shard's clock on (R24). `done` hears where it stands, undefined when it did not move. */
  floor(group: GroupId, done: (clockMicros: number | undefined) => void): void {
    const descriptor = this.#shards.get(group)?.descriptor;
    if (
      this.#host === undefined ||
      descriptor === undefined ||
      this.#closedBecause(descriptor) !== undefined
    ) {
      done(undefined);
      return;
    }
    this.#host.propose(group, encodeFloor(), (outcome) => {
      done(outcome.kind === "applied" ? (outcome.result as FloorResult).clockMicros : undefined);
    });
  }

  /**
   * Splits a shard led here, on placement's order. Asked again after `unknown` it does no harm: the epoch it
   * expects is gone once it was applied (R6).
   */
  split(group: GroupId, request: SplitCommand, done: (outcome: SplitOutcome) => void): void {
    carryOutOrder(this.#host, this.#shards, group, splitOrder(request), done);
  }

  /** One step of a merge in the log of a shard led here, on placement's order. Asked again it does no harm. */
  merge(group: GroupId, step: MergeStep, done: (outcome: MergeOutcome) => void): void {
    carryOutOrder(this.#host, this.#shards, group, mergeOrder(step), done);
  }

  /**
   * Where to split a shard with a replica here: into parts of about equal bytes, or of equal shares of the
   * requests lately served here.
   */
  suggestSplit(group: GroupId, wish: SplitWish & { readonly by: "size" | "load" }): SplitSuggestion {
    const shard = this.#shards.get(group);
    if (shard === undefined) return { kind: "blocked", reason: "there is no replica of it here" };
    const { descriptor, sample } = shard;
    return wish.by === "size"
      ? splitBySize(this.#options.engine, descriptor, wish)
      : splitByLoad(sample.keys, descriptor, wish);
  }

  #closedBecause(shard: ShardDescriptor): string | undefined {
    if (this.#clockBad) return "this node's clock is off";
    const isAlone = shard.replicas.filter((replica) => replica.role !== "learner").length <= 1;
    return this.#draining && !isAlone ? "this node is draining" : undefined;
  }

  /** A request that cannot be read is dropped and counted, its sender named; it never stops the reader. */
  #guarded(handle: Handle): (from: Sender, body: Uint8Array, reply: (body: Uint8Array) => void) => void {
    return (from, body, reply) => {
      try {
        handle(body, reply);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        this.#malformed += 1;
        this.#options.logger.warn(
          { from: from.address, why: error.message, count: this.#malformed },
          "dropped a request that cannot be read",
        );
      }
    };
  }
}
