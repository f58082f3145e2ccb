import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { evenBoundaries } from "./keys.ts";
import { groupOfRow, groupRow, metaTags } from "./rows.ts";
import { type Epoch, isNewerEpoch, type ShardDescriptor, tiles } from "./shards.ts";

const epoch: fc.Arbitrary<Epoch> = fc.record({
  version: fc.nat({ max: 3 }),
  confVersion: fc.nat({ max: 3 }),
});

describe("epochs", () => {
  it("of two different ones exactly one is newer, by version first (R32)", () => {
    fc.assert(
      fc.property(epoch, epoch, (a, b) => {
        const same = a.version === b.version && a.confVersion === b.confVersion;
        expect(Number(isNewerEpoch(a, b)) + Number(isNewerEpoch(b, a))).toBe(same ? 0 : 1);
        if (a.version > b.version) expect(isNewerEpoch(a, b)).toBe(true);
      }),
    );
  });

  it("newer than newer is newer", () => {
    fc.assert(
      fc.property(epoch, epoch, epoch, (a, b, c) => {
        if (isNewerEpoch(a, b) && isNewerEpoch(b, c)) expect(isNewerEpoch(a, c)).toBe(true);
      }),
    );
  });
});

describe("the shards of a keyspace tile it", () => {
  const shardsOf = (parts: number): ShardDescriptor[] => {
    const bounds = evenBoundaries(256, parts);
    return bounds.slice(1).map((end, i) => ({
      id: i + 1,
      keyspace: 1,
      start: bounds[i]!,
      end,
      epoch: { version: 1, confVersion: 1 },
      replicas: [],
    }));
  };

  it("when made evenly", () => {
    for (const parts of [1, 2, 3, 16, 256]) expect(tiles(shardsOf(parts))).toBe(true);
  });

  it.each([
    { name: "there are none", change: (): ShardDescriptor[] => [] },
    { name: "the first is missing", change: (s: ShardDescriptor[]) => s.slice(1) },
    { name: "one in the middle is missing", change: (s: ShardDescriptor[]) => s.toSpliced(1, 1) },
    { name: "the last is missing", change: (s: ShardDescriptor[]) => s.slice(0, -1) },
    { name: "one is there twice", change: (s: ShardDescriptor[]) => s.toSpliced(1, 0, s[1]!) },
    { name: "two overlap", change: (s: ShardDescriptor[]) => s.with(1, { ...s[1]!, end: s[2]!.end }) },
  ])("not when $name", ({ change }) => {
    expect(tiles(change(shardsOf(4)))).toBe(false);
  });
});

describe("rows of meta", () => {
  it("name their group", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (group) => {
        expect(groupOfRow(groupRow(0x10, group))).toBe(group);
      }),
    );
  });

  it("have a tag for each owner", () => {
    const tags = Object.values(metaTags);
    expect(new Set(tags).size).toBe(tags.length);
  });
});
