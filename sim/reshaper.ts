import { equalBytes, type GroupId, type ShardDescriptor } from "#proto";
import type { PlacementView } from "./assembly.ts";
import type { Reshape } from "./plan-faults.ts";
import type { SimNode } from "./sim-node.ts";
import type { World } from "./world.ts";

/** What is reshaped. */
export interface Shape {
  readonly nodes: () => readonly SimNode[];
  /** A shard by its place in order, from 0. */
  readonly shardAt: (number: number) => GroupId;
}

const adminTimeoutMs = 3000;
/** Nodes are made active again by asking this often, ms: what was asked for may come late, behind what takes it back. */
const activateEveryMs = 500;

/** Asks placement, through any node, for what operators ask for. Refusals are answers too. */
export class Reshaper {
  readonly counts: Record<string, number> = {};
  readonly #world: World;
  readonly #shape: Shape;
  #activatedAtMs = Number.NEGATIVE_INFINITY;
  #asked = 0;

  constructor(world: World, shape: Shape) {
    this.#world = world;
    this.#shape = shape;
  }

  /** @returns what takes it back; undefined when there is nobody to ask */
  begin(reshape: Reshape): (() => void) | undefined {
    const node = (number: number): string | undefined => this.#shape.nodes()[number]?.name;
    switch (reshape.kind) {
      case "split": {
        const id = this.#shape.shardAt(reshape.shard);
        return this.#ask("shards.split", { id, ways: reshape.ways }) ? () => {} : undefined;
      }
      case "merge":
        return this.#merge(this.#shape.shardAt(reshape.shard));
      case "move":
        return this.#move(this.#shape.shardAt(reshape.shard), node(reshape.to));
      case "drain":
        return this.#membership(node(reshape.node), "nodes.drain", "nodes.undrain");
      case "decommission":
        return this.#membership(node(reshape.node), "nodes.decommission", "nodes.recommission");
      default:
        return this.#ask("rebalance", {}) ? () => {} : undefined;
    }
  }

  /** From whichever replica there is to a node that has none. */
  #move(id: GroupId, to: string | undefined): (() => void) | undefined {
    const from = this.#shape
      .nodes()
      .find(({ name, process }) => name !== to && process?.host.view(id) !== undefined);
    if (from === undefined || to === undefined) return undefined;
    return this.#ask("shards.move", { id, from: from.name, to }) ? () => {} : undefined;
  }

  #merge(id: GroupId): (() => void) | undefined {
    const shards = this.#placement()?.shards ?? [];
    const shard = shards.find((other) => other.id === id);
    const isNext = (a: ShardDescriptor, b: ShardDescriptor): boolean =>
      a.keyspace === b.keyspace && a.end.length > 0 && equalBytes(a.end, b.start);
    const other =
      shard === undefined
        ? undefined
        : (shards.find((s) => isNext(shard, s)) ?? shards.find((s) => isNext(s, shard)));
    if (other === undefined) return undefined;
    return this.#ask("shards.merge", { id, with: other.id }) ? () => {} : undefined;
  }

  #placement(): PlacementView | undefined {
    return this.#shape
      .nodes()
      .map(({ process }) => process?.placement())
      .find((seen) => seen !== undefined);
  }

  #membership(name: string | undefined, operation: string, opposite: string): (() => void) | undefined {
    if (name === undefined || !this.#ask(operation, { name })) return undefined;
    return () => void this.#ask(opposite, { name });
  }

  /** Live settings; asked again until it is taken. */
  configure(settings: Readonly<Record<string, unknown>>, done: () => void): void {
    const ask = (): void => {
      if (!this.#ask("config.set", { changes: settings }, (ok) => (ok ? done() : again()))) again();
    };
    const again = (): void => void this.#world.clock.after(100, ask);
    ask();
  }

  /** Every node active again, with all that was begun ended; true once it is so. */
  settle(): boolean {
    this.activate();
    const model = this.#placement();
    return model?.running === 0 && model.nodes.every(({ membership }) => membership === "active");
  }

  /** Asks for every node that is not active to be so again. */
  activate(): void {
    const nowMs = this.#world.clock.nowMs();
    const model = this.#placement();
    if (model === undefined || nowMs - this.#activatedAtMs < activateEveryMs) return;
    this.#activatedAtMs = nowMs;
    for (const { name, membership } of model.nodes) {
      if (membership === "draining") this.#ask("nodes.undrain", { name });
      else if (membership !== "active") this.#ask("nodes.recommission", { name });
    }
  }

  #ask(
    operation: string,
    parameters: Readonly<Record<string, unknown>>,
    done: (ok: boolean) => void = () => {},
  ): boolean {
    const { clock, trace } = this.#world;
    const doors = this.#shape.nodes().filter((node) => node.alive && !node.paused);
    this.#asked += 1;
    const door = doors[this.#asked % Math.max(1, doors.length)]?.process;
    if (door === undefined) return false;
    const asked = `${operation} ${JSON.stringify(parameters)}`;
    trace.note(clock.nowMs(), `OPERATOR ${asked}`);
    door.router.admin({ operation, parameters }, adminTimeoutMs, (outcome) => {
      const ok = outcome.kind === "ok";
      const kind = ok ? operation : `${operation} refused`;
      this.counts[kind] = (this.counts[kind] ?? 0) + 1;
      trace.note(clock.nowMs(), `${asked}: ${ok ? "taken" : JSON.stringify(outcome).slice(0, 160)}`);
      done(ok);
    });
    return true;
  }
}
