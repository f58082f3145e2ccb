import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareBytes, concatBytes, prefixEnd } from "./bytes.ts";
import {
  dataKey,
  decodeKey,
  defaultSlots,
  encodedKeyOf,
  encodeKey,
  escapeKey,
  evenBoundaries,
  inRange,
  rangesOverlap,
  slotBoundary,
  slotOf,
  unescapeKey,
} from "./keys.ts";

/** Short, and mostly of the bytes that matter to escaping and prefixes. */
const byte = fc.oneof(fc.constantFrom(0, 1, 0xfe, 0xff), fc.nat({ max: 255 }));
const key = fc.array(byte, { minLength: 1, maxLength: 6 }).map((bytes) => Uint8Array.from(bytes));
const anyKey = fc.array(byte, { maxLength: 6 }).map((bytes) => Uint8Array.from(bytes));
const sign = (a: Uint8Array, b: Uint8Array): number => Math.sign(compareBytes(a, b));

describe("encoded keys", () => {
  it("of a range keyspace sort as the keys do, also as rows", () => {
    fc.assert(
      fc.property(key, key, (a, b) => {
        const rows = [a, b].map((k) => dataKey(7, encodeKey(k, "range", 0))) as [Uint8Array, Uint8Array];
        expect(sign(...rows)).toBe(sign(a, b));
      }),
    );
  });

  it("of a hash keyspace sort by slot, then key, and lie between their slot's boundaries", () => {
    fc.assert(
      fc.property(key, key, (a, b) => {
        const encoded = [a, b].map((k) => encodeKey(k, "hash", 256)) as [Uint8Array, Uint8Array];
        const bySlot = Math.sign(slotOf(a, 256) - slotOf(b, 256));
        expect(sign(...encoded)).toBe(bySlot === 0 ? sign(a, b) : bySlot);
        expect(inRange(encoded[0], slotBoundary(slotOf(a, 256)), slotBoundary(slotOf(a, 256) + 1))).toBe(
          true,
        );
      }),
    );
  });

  it.each(["hash", "range"] as const)("of a %s keyspace give the key back, from the row too", (partition) => {
    fc.assert(
      fc.property(key, (k) => {
        const encoded = encodeKey(k, partition, 1024);
        expect(compareBytes(decodeKey(encoded, partition), k)).toBe(0);
        expect(compareBytes(encodedKeyOf(dataKey(2 ** 32 - 1, encoded)), encoded)).toBe(0);
      }),
    );
  });

  it("of different keyspaces never mix", () => {
    fc.assert(
      fc.property(key, key, (a, b) => {
        expect(sign(dataKey(1, a), dataKey(256, b))).toBe(-1);
      }),
    );
  });
});

describe("escaped keys", () => {
  const pair = [anyKey, anyKey, anyKey, anyKey] as const;

  it("sort as the keys do, whatever follows them (R23)", () => {
    fc.assert(
      fc.property(...pair, (a, b, afterA, afterB) => {
        if (compareBytes(a, b) === 0) return;
        expect(sign(concatBytes(escapeKey(a), afterA), concatBytes(escapeKey(b), afterB))).toBe(sign(a, b));
      }),
      { numRuns: 1000 },
    );
  });

  it("are never the beginning of one another", () => {
    fc.assert(
      fc.property(anyKey, anyKey, (a, b) => {
        if (compareBytes(a, b) === 0) return;
        const [short, long] = [escapeKey(a), escapeKey(b)].sort((x, y) => x.length - y.length);
        expect(compareBytes(long!.subarray(0, short!.length), short!)).not.toBe(0);
      }),
    );
  });

  it("give the key back, and where it ended", () => {
    fc.assert(
      fc.property(anyKey, anyKey, (k, after) => {
        const escaped = escapeKey(k);
        const back = unescapeKey(concatBytes(escaped, after));
        expect(back?.length).toBe(escaped.length);
        expect(compareBytes(back!.key, k)).toBe(0);
      }),
    );
  });

  it.each([
    { name: "nothing", bytes: [] },
    { name: "no end", bytes: [1, 2] },
    { name: "half an end", bytes: [1, 0] },
    { name: "a zero that is neither", bytes: [1, 0, 2] },
  ])("that are none: $name", ({ bytes }) => {
    expect(unescapeKey(Uint8Array.from(bytes))).toBeUndefined();
  });
});

describe("slots", () => {
  it("spread like chance does, for short, numbered and long keys alike", () => {
    const families: ((i: number) => string)[] = [
      (i) => String(i),
      (i) => `user/${String(i).padStart(8, "0")}`,
      (i) => `${"x".repeat(40)}${i.toString(16)}`,
      (i) => `{t${i}}/rest`,
    ];
    for (const nameOf of families) {
      const counts = new Array<number>(256).fill(0);
      const total = 256 * 200;
      for (let i = 0; i < total; i++) {
        const slot = slotOf(Buffer.from(nameOf(i)), 256);
        counts[slot] = counts[slot]! + 1;
      }
      // About 200 each with a standard deviation of 14: six of those either way.
      expect(Math.min(...counts)).toBeGreaterThan(115);
      expect(Math.max(...counts)).toBeLessThan(285);
    }
  });

  it.each([
    { name: "the tag decides", a: "{user1}.name", b: "{user1}.mail", same: true },
    { name: "wherever it stands", a: "x{user1}", b: "{user1}y", same: true },
    { name: "it is as the key of that name", a: "{user1}y", b: "user1", same: true },
    { name: "only the first counts", a: "{user1}{2}", b: "{user1}{3}", same: true },
    { name: "an empty one is none", a: "{}a", b: "{}b", same: false },
    { name: "an open one is none", a: "{user1", b: "user1", same: false },
  ])("$name", ({ a, b, same }) => {
    expect(slotOf(Buffer.from(a), 65_536) === slotOf(Buffer.from(b), 65_536)).toBe(same);
  });

  it.each([
    { shards: 1, slots: 256 },
    { shards: 64, slots: 256 },
    { shards: 65, slots: 512 },
    { shards: 1000, slots: 4096 },
    { shards: 100_000, slots: 65_536 },
  ])("by default for $shards shards: $slots", ({ shards, slots }) => {
    expect(defaultSlots(shards)).toBe(slots);
  });

  it("boundaries tile them evenly", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), (parts) => {
        const bounds = evenBoundaries(256, parts);
        expect(bounds).toHaveLength(parts + 1);
        for (let slot = 0; slot < 256; slot++) {
          const encoded = concatBytes(slotBoundary(slot), Uint8Array.of(0x61));
          const owners = bounds.slice(1).filter((end, i) => inRange(encoded, bounds[i]!, end));
          expect(owners).toHaveLength(1);
        }
      }),
    );
  });
});

describe("ranges", () => {
  const bound = fc.nat({ max: 6 }).map((n) => (n === 0 ? new Uint8Array() : Uint8Array.of(n)));

  it("overlap exactly when they share a key", () => {
    fc.assert(
      fc.property(bound, bound, bound, bound, (aStart, aEnd, bStart, bEnd) => {
        const candidates = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => Uint8Array.of(n));
        const isEmpty = (start: Uint8Array, end: Uint8Array) =>
          end.length > 0 && compareBytes(start, end) >= 0;
        if (isEmpty(aStart, aEnd) || isEmpty(bStart, bEnd)) return;
        const shared = candidates.some((k) => inRange(k, aStart, aEnd) && inRange(k, bStart, bEnd));
        expect(rangesOverlap(aStart, aEnd, bStart, bEnd)).toBe(shared);
      }),
      { numRuns: 1000 },
    );
  });

  it("of a prefix end right behind its last key", () => {
    fc.assert(
      fc.property(key, anyKey, key, (prefix, rest, other) => {
        const end = prefixEnd(prefix) ?? new Uint8Array();
        expect(inRange(concatBytes(prefix, rest), prefix, end)).toBe(true);
        const begins = compareBytes(other.subarray(0, prefix.length), prefix) === 0;
        expect(inRange(other, prefix, end)).toBe(begins);
      }),
      { numRuns: 1000 },
    );
  });
});
