import { encode } from "#proto";
import type { Entry } from "#raft/core";
import { VirtualClock } from "#runtime";
import { type Engine, MemoryDisk, OverlayBatch, openMemory } from "#storage";
import { type Command, type CommandResult, encodeCommand } from "./commands.ts";
import { bootstrapReplica, PlacementMachine } from "./machine.ts";
import { placementRange } from "./rows.ts";
import type { KeyspaceWish } from "./state.ts";

const nothing = (): void => {};

/** One replica of placement's state machine over an engine in memory, for this room's own tests. */
export class ReplicaRig {
  readonly engine: Engine = openMemory(new MemoryDisk());
  readonly machine: PlacementMachine;
  /** Kinds of the events so far. */
  readonly events: string[] = [];
  #index = 10;

  constructor(wish: KeyspaceWish) {
    const init = bootstrapReplica({
      clusterId: "c".repeat(32),
      clusterName: "test",
      wish,
      node: { name: "n1", http: "h:1", labels: {}, version: "1", nonce: "a" },
      wallMicros: 1_000,
    });
    this.write((tx) => init.rows(tx));
    this.machine = new PlacementMachine({
      engine: this.engine,
      clock: new VirtualClock(),
      onApplied: nothing,
      onEvent: (event) => this.events.push(event.kind),
      onLeadership: nothing,
      onClosed: nothing,
    });
  }

  write<T>(change: (tx: OverlayBatch) => T): T {
    const tx = new OverlayBatch(this.engine);
    const result = change(tx);
    this.engine.write(tx.batch, { sync: true }, nothing);
    return result;
  }

  /** Applies one entry stamped `stampMicros`. */
  entry(commands: readonly Command[], stampMicros = 2_000): readonly CommandResult[] {
    return this.raw(encode([1, stampMicros, commands.map(encodeCommand)]));
  }

  raw(data: Uint8Array): readonly CommandResult[] {
    this.#index += 1;
    const entry: Entry = { index: this.#index, term: 6, kind: "normal", data };
    return this.write((tx) => this.machine.apply(entry, tx));
  }

  one(command: Command, stampMicros?: number): CommandResult {
    return this.entry([command], stampMicros)[0] as CommandResult;
  }

  rows(): string {
    const { rows } = this.engine.scan(placementRange, { limit: 10_000 });
    return rows.map((row) => Buffer.from(row).toString("hex")).join(" ");
  }
}
