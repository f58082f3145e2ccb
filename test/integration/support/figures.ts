/** A measured figure, for people: nothing is asserted about absolute times. */
export function tell(line: string): void {
  process.stdout.write(`    ${line}\n`);
}

/** @param q - 0.5 for the median; @returns NaN for no values */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

/** `median 12 ms, p99 40 ms, max 55 ms (n=300)` */
export function spread(values: readonly number[]): string {
  const at = (q: number): string => `${quantile(values, q).toFixed(1)} ms`;
  return `median ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} (n=${values.length})`;
}
