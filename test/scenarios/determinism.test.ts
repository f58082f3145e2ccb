import { describe, expect, it } from "vitest";
import { planRun, productAssembly, runSeed } from "#sim";

/** A seed with many kinds of fault, for the most to go differently. */
function busySeed(): number {
  for (let seed = 1; ; seed++) {
    const { faultKinds, nodes } = planRun(seed);
    if (faultKinds.length >= 10 && nodes <= 4) return seed;
  }
}

describe("a run is a function of its seed", () => {
  it("has the same trace hash each time, and another with another seed", () => {
    const traceOf = (seed: number): string | undefined =>
      runSeed(seed, { assembly: productAssembly, hashing: true }).trace;
    const seed = busySeed();
    const first = traceOf(seed);
    expect(first).toMatch(/^[0-9a-f]{16}$/);
    expect(traceOf(seed)).toBe(first);
    expect(traceOf(seed + 1)).not.toBe(first);
  });

  it("goes the same way whether a hash is made or not", () => {
    const seed = busySeed();
    const plain = runSeed(seed, { assembly: productAssembly });
    const hashed = runSeed(seed, { assembly: productAssembly, hashing: true });
    expect(hashed.events).toBe(plain.events);
    expect(hashed.operations).toBe(plain.operations);
  });
});
