import { type GroupId, groupOfRow, groupRow, metaTags } from "#proto";
import type { Batch, Range } from "#storage";
import { clearSlice } from "./clearing.ts";
import { leftoverRow, leftoverValue, readLeftover } from "./rows.ts";
import type { Shared } from "./shared.ts";
import { inSlices } from "./slices.ts";

const leftoverRows: Range = {
  family: "meta",
  start: groupRow(metaTags.hostLeftover, 0),
  end: groupRow(metaTags.hostLeftover + 1, 0),
};

/**
 * Rows of split children that this node is not to have: the parent gave them up, no replica here took them.
 * They are named in a row of their own, in the batch of the split, and go in slices (R13), over a crash too.
 * Until then no snapshot may come to lie among them (R5).
 */
export class Leftovers {
  readonly #shared: Shared;
  readonly #left: Map<GroupId, Range[]> = new Map();

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  /** Takes up what a crash has left undone. */
  resume(): void {
    const { rows } = this.#shared.options.engine.scan(leftoverRows, { limit: Number.MAX_SAFE_INTEGER });
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const group = groupOfRow(rows[i] ?? new Uint8Array(0));
      this.#begin(group, [...readLeftover(rows[i + 1] ?? new Uint8Array(0))]);
    }
  }

  /** `tx` is about to be written; the clearing begins after that. */
  add(tx: Pick<Batch, "put">, group: GroupId, ranges: readonly Range[]): void {
    tx.put("meta", leftoverRow(group), leftoverValue(ranges));
    this.#begin(group, [...ranges]);
  }

  rangesLeft(): Range[] {
    return [...this.#left.values()].flat();
  }

  #begin(group: GroupId, ranges: Range[]): void {
    this.#left.set(group, ranges);
    const clear = (): void => inSlices(this.#shared, () => this.#clear(group, ranges));
    this.#shared.options.clock.soon(() => this.#shared.guarded(clear));
  }

  /** One slice. @returns whether more is left */
  #clear(group: GroupId, ranges: Range[]): boolean {
    const batch = this.#shared.options.engine.batch();
    const done = ranges.length === 0;
    if (done) {
      batch.delete("meta", leftoverRow(group));
      this.#left.delete(group);
    } else clearSlice(this.#shared, ranges, batch);
    if (batch.size > 0) this.#shared.writeUnsynced(batch);
    return !done;
  }
}
