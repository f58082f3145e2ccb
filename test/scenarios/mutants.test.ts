import { describe, expect, it } from "vitest";
import { hunt, mutants, productAssembly } from "#sim";

/** Those that a seed or two show; `npm run sim -- --mutants` hunts all of them. */
const quick = [
  "vote-forgotten-on-restart",
  "append-acknowledged-before-sync",
  "duplicate-apply-after-restart",
  "old-term-committed-by-counting",
  "vote-for-a-shorter-log",
  "dedup-not-in-the-snapshot",
  "vote-right-after-a-start",
  "child-created-twice",
  "epoch-check-skipped",
  "merge-waits-for-nobody",
  "merge-loses-dedup",
];

describe("deliberate bugs are caught", () => {
  it("there are at least twelve, each with a name of its own and the reason it is wrong", () => {
    expect(mutants.length).toBeGreaterThanOrEqual(12);
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
    for (const { about } of mutants) expect(about.length).toBeGreaterThan(20);
  });

  it.each(quick)("%s", (name) => {
    const mutant = mutants.find((candidate) => candidate.name === name)!;
    expect(hunt(mutant, { from: 1, seedsMax: 30, assembly: productAssembly })).toBeDefined();
  });
});
