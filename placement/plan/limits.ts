import type { NodeId } from "#proto";
import type { Model } from "../model.ts";
import type { MoveInfo } from "../state.ts";

/**
 * Counts moves under way by node, and says whether another may begin: `max_concurrent_moves` binds each node
 * as source and as target. A node that is down is no source: its replicas come from others.
 */
export class MoveRoom {
  readonly #model: Model;
  readonly #counts = new Map<NodeId, number>();

  constructor(model: Model) {
    this.#model = model;
    for (const row of model.state.operations.values()) {
      if (row.state !== "running" || row.move === undefined) continue;
      if (row.steps[row.at]?.kind !== "turn") this.take(row.move);
    }
  }

  /** The nodes of this move that have as many under way as they may. */
  full(move: MoveInfo): NodeId[] {
    const max = this.#model.settings.max_concurrent_moves;
    return this.#nodesOf(move).filter((node) => (this.#counts.get(node) ?? 0) >= max);
  }

  has(move: MoveInfo): boolean {
    return this.full(move).length === 0;
  }

  /** Counts one more. */
  take(move: MoveInfo): void {
    for (const node of this.#nodesOf(move)) this.#counts.set(node, (this.#counts.get(node) ?? 0) + 1);
  }

  #nodesOf({ from, to }: MoveInfo): NodeId[] {
    const source = from !== undefined && this.#model.nodes.get(from)?.liveness === "up" ? [from] : [];
    return to === undefined ? source : [...source, to];
  }
}
