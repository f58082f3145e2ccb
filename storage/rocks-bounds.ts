import type { Range } from "./engine.ts";

/** A range as the binding takes it. */
export interface Bounds {
  readonly gte?: Uint8Array;
  readonly lt?: Uint8Array;
}

/** Undefined for a range that is empty by its bounds, which the binding must not be asked for. */
export function boundsOf(range: Range): Bounds | undefined {
  const { start, end } = range;
  if (end !== undefined && Buffer.compare(start, end) >= 0) return undefined;
  return {
    ...(start.length > 0 && { gte: start }),
    ...(end !== undefined && { lt: end }),
  };
}
