import { describe, expect, it } from "vitest";
import { InvariantError, seededRandom } from "#runtime";
import { type ChaosReport, type Mutant, runChaos } from "./testing/chaos.ts";

const fixed = process.env["RAFT_SEED"];
const seeds = fixed === undefined ? Array.from({ length: 60 }, (_, at) => at + 1) : [Number(fixed)];
const events = 6000;

describe("a group under random faults", () => {
  const totals: Partial<Record<keyof ChaosReport, number>> = {};

  it.each(seeds)("keeps what must always hold, and heals: RAFT_SEED=%i", (seed) => {
    const report = runChaos({ random: seededRandom(seed), events });
    for (const [name, count] of Object.entries(report)) {
      totals[name as keyof ChaosReport] = (totals[name as keyof ChaosReport] ?? 0) + count;
    }
  });

  it.skipIf(fixed !== undefined)("has met every kind of event", () => {
    for (const [name, count] of Object.entries(totals)) expect(count, name).toBeGreaterThan(seeds.length / 2);
  });
});

describe("a deliberate bug is caught (R12)", () => {
  const mutants: readonly Mutant[] = ["voteForgotten", "ackBeforeSync", "clockStops", "readUnconfirmed"];

  it.each(mutants)("%s", (mutant) => {
    let caught = 0;
    for (let seed = 1; seed <= 1000 && caught === 0; seed++) {
      try {
        runChaos({ random: seededRandom(`${mutant}/${seed}`), events, mutant });
      } catch (error) {
        expect(error).toBeInstanceOf(InvariantError);
        caught = seed;
      }
    }
    expect(caught).toBeGreaterThan(0);
  });
});
