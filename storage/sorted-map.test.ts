import fc from "fast-check";
import { expect, it } from "vitest";
import { SortedMap, type SortedView } from "./sorted-map.ts";

function entries(
  view: Pick<SortedView<number>, "walk">,
  start = "",
  end?: string,
  reverse = false,
): [string, number][] {
  const found: [string, number][] = [];
  view.walk(start, end, reverse, (key, value) => found.push([key, value]) > 0);
  return found;
}

const key = fc.integer({ min: 0, max: 999 }).map((n) => String(n).padStart(3, "0"));

it("equals a sorted list through splits, removals and snapshots", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(key, fc.integer({ min: -1, max: 9 })), { minLength: 300, maxLength: 1500 }),
      fc.tuple(key, key),
      (changes, [start, end]) => {
        const map = new SortedMap<number>((_key, value) => value);
        const model = new Map<string, number>();
        const snapshots: { view: SortedView<number>; want: [string, number][] }[] = [];
        for (const [at, [name, value]] of changes.entries()) {
          const old = model.get(name);
          if (value < 0) {
            expect(map.delete(name)).toBe(old);
            model.delete(name);
          } else {
            expect(map.set(name, value)).toBe(old);
            model.set(name, value);
          }
          if (at % 200 === 0) snapshots.push({ view: map.snapshot(), want: sorted(model) });
        }
        const want = sorted(model);
        expect(entries(map)).toEqual(want);
        for (const { view, want: wanted } of snapshots) expect(entries(view)).toEqual(wanted);
        const inside = want.filter(([name]) => name >= start && name < end);
        expect(entries(map, start, end)).toEqual(inside);
        expect(entries(map, start, end, true)).toEqual(inside.toReversed());
        expect(map.measure(start, end)).toEqual({ count: inside.length, weight: sum(inside) });
        expect(map.measure("", undefined)).toEqual({ count: map.size, weight: map.weight });
        expect(map.size).toBe(want.length);
        expect(map.weight).toBe(sum(want));
      },
    ),
    { numRuns: 60 },
  );
});

function sorted(model: ReadonlyMap<string, number>): [string, number][] {
  return [...model].sort(([a], [b]) => (a < b ? -1 : 1));
}

function sum(rows: readonly [string, number][]): number {
  return rows.reduce((total, [, value]) => total + value, 0);
}
