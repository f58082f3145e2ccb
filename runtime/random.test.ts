import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cryptoRandom, type Random, seededRandom } from "./random.ts";

const draws = (random: Random, count: number, bound = 1000): number[] =>
  Array.from({ length: count }, () => random.below(bound));

describe("a seeded random source", () => {
  it("gives these very draws, on every machine and version: seeds of old failures must stay repeatable (R37)", () => {
    expect(draws(seededRandom(1), 8)).toEqual([700, 180, 531, 725, 453, 294, 302, 44]);
    expect(draws(seededRandom("cluster/7"), 8)).toEqual([756, 601, 83, 925, 998, 645, 736, 373]);
    expect(draws(seededRandom(1), 3, 2 ** 48)).toEqual([185504709262148, 93319872520151, 134244764551219]);
    expect(seededRandom(1).hex(8)).toBe("b32e88b9744b4d0b");
    expect(draws(seededRandom(1).fork("disk"), 4)).toEqual([713, 324, 121, 457]);
  });

  it("repeats itself for the same seed, and differs for another", () => {
    fc.assert(
      fc.property(fc.string(), (seed) => {
        const first = draws(seededRandom(seed), 20);
        expect(draws(seededRandom(seed), 20)).toEqual(first);
        expect(draws(seededRandom(`${seed}!`), 20)).not.toEqual(first);
      }),
    );
  });

  it("takes a number as its digits", () => {
    expect(draws(seededRandom(42), 5)).toEqual(draws(seededRandom("42"), 5));
  });

  it("forks streams that no draw elsewhere moves, nor they the parent's", () => {
    fc.assert(
      fc.property(fc.nat(20), fc.nat(20), (before, within) => {
        const parent = seededRandom("s");
        draws(parent, before);
        const child = parent.fork("net");
        draws(child, within);
        expect(draws(parent.fork("net"), 10)).toEqual(draws(seededRandom("s").fork("net"), 10));
        expect(draws(parent.fork("disk"), 10)).not.toEqual(draws(parent.fork("net"), 10));
        const untouched = seededRandom("s");
        draws(untouched, before);
        expect(draws(parent, 10)).toEqual(draws(untouched, 10));
      }),
    );
  });

  it("stays in bounds and spreads over them", () => {
    const random = seededRandom("spread");
    for (const bound of [1, 2, 3, 10, 2 ** 32, 2 ** 32 + 1, 2 ** 48]) {
      for (const draw of draws(random, 200, bound)) {
        expect(Number.isInteger(draw) && draw >= 0 && draw < bound, `${draw} of ${bound}`).toBe(true);
      }
    }
    const counts = new Array<number>(10).fill(0);
    for (const draw of draws(random, 10_000, 10)) counts[draw] = (counts[draw] ?? 0) + 1;
    for (const count of counts) expect(count).toBeGreaterThan(850);
  });

  it("has chances from never to always", () => {
    const random = seededRandom("chance");
    const hits = (p: number) => Array.from({ length: 2000 }, () => random.chance(p)).filter(Boolean).length;
    expect([hits(0), hits(1)]).toEqual([0, 2000]);
    expect(Math.abs(hits(0.25) - 500)).toBeLessThan(100);
  });
});

describe("the system's random source", () => {
  it("stays in bounds and does not repeat itself", () => {
    const random = cryptoRandom();
    for (const draw of draws(random, 200, 7)) expect(draw >= 0 && draw < 7).toBe(true);
    expect(random.hex(16)).toMatch(/^[0-9a-f]{32}$/);
    expect(random.hex(16)).not.toBe(random.fork("x").hex(16));
  });
});
