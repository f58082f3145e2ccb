import type { Fragment } from "./packet.ts";

interface Partial {
  readonly count: number;
  readonly step: number;
  readonly startedMs: number;
  readonly bytes: Buffer;
  readonly seen: Set<number>;
}

/**
 * Joins the fragments of one source. Bounded (R28): what would go beyond the bound pushes the oldest
 * unfinished packets out, since over an ordered network these have lost a piece.
 */
export class Reassembly {
  readonly #partials = new Map<number, Partial>();
  #bytes = 0;

  /**
   * @param limitBytes - most bytes of unfinished packets kept
   * @param onDropped - called for each packet given up
   * @returns the packet's body once its last piece is here
   */
  add(
    fragment: Fragment,
    piece: Buffer,
    nowMs: number,
    limitBytes: number,
    onDropped: () => void,
  ): Buffer | undefined {
    const partial =
      this.#partials.get(fragment.packet) ?? this.#begin(fragment, nowMs, limitBytes, onDropped);
    if (partial === undefined) return undefined;
    const { bytes, count, step } = partial;
    if (fragment.count !== count || fragment.step !== step || fragment.total !== bytes.length) {
      this.#remove(fragment.packet);
      onDropped();
      return undefined;
    }
    if (partial.seen.has(fragment.index)) return undefined;
    partial.seen.add(fragment.index);
    bytes.set(piece, fragment.index * step);
    if (partial.seen.size < count) return undefined;
    this.#remove(fragment.packet);
    return bytes;
  }

  #begin(fragment: Fragment, nowMs: number, limitBytes: number, onDropped: () => void): Partial | undefined {
    const { total, count, step } = fragment;
    if (total > limitBytes) {
      onDropped();
      return undefined;
    }
    for (const oldest of this.#partials.keys()) {
      if (this.#bytes + total <= limitBytes) break;
      this.#remove(oldest);
      onDropped();
    }
    const bytes = Buffer.allocUnsafe(total);
    const partial: Partial = { count, step, startedMs: nowMs, bytes, seen: new Set() };
    this.#partials.set(fragment.packet, partial);
    this.#bytes += total;
    return partial;
  }

  /** Gives up what began before `beforeMs`. */
  expire(beforeMs: number, onDropped: () => void): void {
    for (const [packet, partial] of this.#partials) {
      if (partial.startedMs >= beforeMs) return;
      this.#remove(packet);
      onDropped();
    }
  }

  clear(): void {
    this.#partials.clear();
    this.#bytes = 0;
  }

  #remove(packet: number): void {
    const partial = this.#partials.get(packet);
    if (partial === undefined) return;
    this.#partials.delete(packet);
    this.#bytes -= partial.bytes.length;
  }
}
