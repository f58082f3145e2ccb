/** NaN of nothing; of an even number the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  const lower = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  return (lower + upper) / 2;
}

/**
 * Median of `ours[i] / theirs[i]`: both of a pair were measured within seconds of each other, so what the
 * machine does to both cancels out, which it would not between two medians.
 */
export function medianRatio(ours: readonly number[], theirs: readonly number[]): number {
  const pairs = Math.min(ours.length, theirs.length);
  return median(
    Array.from({ length: pairs }, (_, at) => (ours[at] ?? Number.NaN) / (theirs[at] ?? Number.NaN)),
  );
}
