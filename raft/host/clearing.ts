import type { Batch, Range } from "#storage";
import { subtract } from "./ranges.ts";
import type { Shared } from "./shared.ts";

/** Bytes read in one slice of clearing, at most. */
const sliceBytes = 1024 * 1024;

/**
 * Deletes one slice of the first of `ranges`, clipped to what no live replica here owns (R34, R13); takes the
 * range off the list once it is empty.
 */
export function clearSlice(shared: Shared, ranges: Range[], batch: Batch): void {
  const range = ranges.shift();
  if (range === undefined) return;
  const { engine, limits } = shared.options;
  const [first, ...rest] = subtract(range, shared.liveRanges(range.family));
  if (first === undefined) return;
  const { rows, finished } = engine.scan(first, { limit: limits.sliceRows, maxBytes: sliceBytes });
  for (let i = 0; i < rows.length; i += 2) batch.delete(first.family, rows[i] ?? new Uint8Array(0));
  ranges.unshift(...(finished ? rest : [range]));
}
