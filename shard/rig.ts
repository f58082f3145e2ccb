/**
 * For the tests of this room: one replica's machine over an in-memory engine, fed entries by hand.
 * @module
 */
import {
  encodeCommand,
  type GroupId,
  type KvCommand,
  type ReplicaId,
  type ShardDescriptor,
  type WriteResponse,
} from "#proto";
import { type Clock, VirtualClock } from "#runtime";
import { type Engine, MemoryDisk, OverlayBatch, openMemory } from "#storage";
import { encodeEntry } from "./entry.ts";
import { type CommandResult, ShardStateMachine } from "./machine.ts";
import { initialRows } from "./state-rows.ts";

export const rigSession = "00000000000000a1";

export const rigDescriptor: ShardDescriptor = {
  id: 7,
  keyspace: 1,
  start: Uint8Array.of(0x61),
  end: Uint8Array.of(0x74),
  epoch: { version: 3, confVersion: 5 },
  replicas: [
    { replicaId: 11, nodeId: 1, role: "voter" },
    { replicaId: 12, nodeId: 2, role: "voter" },
    { replicaId: 13, nodeId: 3, role: "voter" },
  ],
};

/** A put of "v" under "k", first of its session, with a deadline far off; `part` differs from that. */
export function rigCommand(
  part: Partial<Omit<KvCommand, "attempt">> & { attempt?: Partial<KvCommand["attempt"]> } = {},
): KvCommand {
  const sequence = part.attempt?.sequence ?? 1;
  return {
    version: 3,
    keyspace: 1,
    key: Buffer.from("k"),
    operation: { kind: "put", value: Buffer.from("v"), contentType: "text/plain" },
    ...part,
    attempt: {
      session: rigSession,
      sequence,
      lowestUnanswered: Math.min(sequence, 1),
      deadlineMicros: 10 ** 12,
      ...part.attempt,
    },
  };
}

export class MachineRig {
  readonly engine: Engine;
  readonly clock: Clock = new VirtualClock();
  readonly group: GroupId;
  readonly replica: ReplicaId;
  machine: ShardStateMachine;
  #index = 10;

  constructor(descriptor: ShardDescriptor = rigDescriptor, engine: Engine = openMemory(new MemoryDisk())) {
    this.engine = engine;
    this.group = descriptor.id;
    this.replica = descriptor.replicas[0]?.replicaId ?? 1;
    const tx = new OverlayBatch(engine);
    initialRows(descriptor)(tx);
    this.#write(tx);
    this.machine = this.reload();
  }

  /** A machine that knows only what the rows say, as after a restart. */
  reload(): ShardStateMachine {
    this.machine = new ShardStateMachine({
      group: this.group,
      replica: this.replica,
      engine: this.engine,
      clock: this.clock,
    });
    this.machine.load();
    return this.machine;
  }

  /** One entry of these commands, stamped so. */
  apply(stampMicros: number, ...commands: readonly (KvCommand | Uint8Array)[]): readonly CommandResult[] {
    return this.applyData(
      encodeEntry({
        stampMicros,
        commands: commands.map((c) => (c instanceof Uint8Array ? c : encodeCommand(c))),
      }),
    );
  }

  applyData(data: Uint8Array): readonly CommandResult[] {
    this.#index += 1;
    const tx = new OverlayBatch(this.engine);
    const results = this.machine.apply({ index: this.#index, term: 1, kind: "normal", data }, tx);
    this.#write(tx);
    return results;
  }

  /** The result of one command in an entry of its own. */
  one(stampMicros: number, command: KvCommand): WriteResponse["result"] | undefined {
    return this.apply(stampMicros, command)[0]?.result;
  }

  #write(tx: OverlayBatch): void {
    this.engine.write(tx.batch, { sync: false }, (error) => {
      if (error !== undefined) throw error;
    });
  }
}
