import { type GroupId, placementGroup } from "#proto";
import type { StateMachine } from "#raft/host";
import { decodeEntry } from "#shard";
import { checkStamp } from "../checks/own-stamps.ts";
import type { Monitor } from "./monitor.ts";
import { WatchedMachine } from "./watched-machine.ts";

/** A watched machine whose stamps are compared with its node's own clock. */
export class StampedMachine extends WatchedMachine {
  readonly #group: GroupId;
  readonly #name: string;
  readonly #monitor: Monitor;
  readonly #wallMicros: () => number;

  constructor(inner: StateMachine, group: GroupId, name: string, monitor: Monitor, wallMicros: () => number) {
    super(inner, group, name, monitor);
    this.#group = group;
    this.#name = name;
    this.#monitor = monitor;
    this.#wallMicros = wallMicros;
  }

  override encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    const entry = super.encodeEntry(commands);
    if (this.#group === placementGroup) return entry;
    const { stampMicros } = decodeEntry(entry);
    this.#monitor.see(() => checkStamp(this.#group, this.#name, stampMicros, this.#wallMicros()));
    return entry;
  }
}
