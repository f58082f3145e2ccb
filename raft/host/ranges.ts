import { compareBytes } from "#proto";
import type { Range } from "#storage";

/**
 * Arithmetic of half-open row ranges: what a clean-up may take without touching rows of another replica, and
 * whether a snapshot would (R5, R34).
 * @module
 */

function isBefore(key: Uint8Array, end: Uint8Array | undefined): boolean {
  return end === undefined || compareBytes(key, end) < 0;
}

export function overlap(a: Range, b: Range): boolean {
  return a.family === b.family && isBefore(a.start, b.end) && isBefore(b.start, a.end);
}

export function anyOverlap(some: readonly Range[], others: readonly Range[]): boolean {
  return some.some((a) => others.some((b) => overlap(a, b)));
}

/** What is left of `range` outside of `others`, in order. */
export function subtract(range: Range, others: readonly Range[]): Range[] {
  let left: Range[] = [range];
  for (const other of others) {
    if (!overlap(range, other)) continue;
    left = left.flatMap((part) => (overlap(part, other) ? around(part, other) : [part]));
  }
  return left;
}

/** The parts of `range` before and behind `hole`, which overlaps it. */
function around({ family, start, end }: Range, hole: Range): Range[] {
  const parts: Range[] = [];
  if (compareBytes(start, hole.start) < 0) parts.push({ family, start, end: hole.start });
  if (hole.end !== undefined && isBefore(hole.end, end)) {
    parts.push({ family, start: hole.end, ...(end === undefined ? {} : { end }) });
  }
  return parts;
}

/** The range that holds one row alone. */
export function rowRange(family: Range["family"], row: Uint8Array): Range {
  return { family, start: row, end: Buffer.concat([row, Buffer.of(0)]) };
}
