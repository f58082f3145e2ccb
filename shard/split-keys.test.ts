import { describe, expect, it } from "vitest";
import { compareBytes, dataKey, inRange, type ShardDescriptor, slotBoundary } from "#proto";
import { VirtualClock } from "#runtime";
import { type Engine, MemoryDisk, openMemory } from "#storage";
import { LoadSample } from "./load-sample.ts";
import { rigDescriptor } from "./rig.ts";
import { roundToSlot, type SplitSuggestion, splitByLoad, splitBySize } from "./split-keys.ts";

const none = new Uint8Array(0);
const whole: ShardDescriptor = { ...rigDescriptor, start: none, end: none };
const range = (ways: number) => ({ ways, partition: "range", slots: 0 }) as const;
const hash = (ways: number, slots = 256) => ({ ways, partition: "hash", slots }) as const;
const text = (suggested: SplitSuggestion): string[] =>
  suggested.kind === "at"
    ? suggested.boundaries.map((key) => Buffer.from(key).toString())
    : [suggested.reason];

function filled(keys: readonly Uint8Array[], valueBytes = 10): Engine {
  const engine = openMemory(new MemoryDisk(2 ** 40), { clock: new VirtualClock() });
  const batch = engine.batch();
  for (const key of keys) batch.put("data", dataKey(whole.keyspace, key), Buffer.alloc(valueBytes));
  engine.write(batch, { sync: false }, () => {});
  return engine;
}

const slotKey = (slot: number, rest: string): Uint8Array =>
  Uint8Array.from(Buffer.concat([slotBoundary(slot), Buffer.from(rest)]));
const letters = Array.from("abcdefghijkl", (letter) => Buffer.from(letter));

describe("splits by size", () => {
  it("fall where the bytes are halved, or quartered", () => {
    const engine = filled(letters);
    expect(text(splitBySize(engine, whole, range(2)))).toEqual(["g"]);
    expect(text(splitBySize(engine, whole, range(4)))).toEqual(["d", "g", "j"]);
  });

  it("stay inside the shard and name fewer parts where keys are few", () => {
    const shard = { ...whole, start: Buffer.from("a"), end: Buffer.from("d") };
    const suggested = splitBySize(filled(letters), shard, range(8));
    expect(text(suggested)).toEqual(["b", "c"]);
    expect(text(splitBySize(filled([Buffer.from("a")]), shard, range(2)))).toEqual([
      "the shard has too few keys to part",
    ]);
  });

  it("of many keys go by the engine's estimate, within a few percent", () => {
    const keys = Array.from({ length: 20_000 }, (_, i) =>
      Buffer.from(`user/${i.toString().padStart(6, "0")}`),
    );
    const [middle] = text(splitBySize(filled(keys), whole, range(2)));
    const at = Number(middle?.slice(5));
    expect(at).toBeGreaterThan(8_500);
    expect(at).toBeLessThan(11_500);
  });

  it("of a hash keyspace fall between slots; an empty shard is halved by slots", () => {
    expect(splitBySize(filled([]), whole, hash(4))).toEqual({
      kind: "at",
      boundaries: [64, 128, 192].map((slot) => slotBoundary(slot)),
    });
    const keys = Array.from({ length: 40 }, (_, i) => slotKey(10 + Math.floor(i / 10), `k${i}`));
    expect(splitBySize(filled(keys), whole, hash(2))).toEqual({ kind: "at", boundaries: [slotBoundary(12)] });
  });

  it("are blocked where one slot is all there is", () => {
    const shard = { ...whole, start: slotBoundary(7), end: slotBoundary(8) };
    expect(splitBySize(filled([]), shard, hash(2))).toEqual({
      kind: "blocked",
      reason: "the shard is one slot already",
    });
    const last = { ...whole, start: slotBoundary(255) };
    expect(splitBySize(filled([]), last, hash(2)).kind).toBe("blocked");
  });
});

describe("splits by load", () => {
  it("halve the requests, not the keys", () => {
    const asked = [...Array<Uint8Array>(5).fill(Buffer.from("b")), ...letters.slice(6)];
    expect(text(splitByLoad(asked, whole, range(2)))).toEqual(["g"]);
  });

  it("are blocked where one key has the load, or there is none", () => {
    const shard = { ...whole, start: Buffer.from("b") };
    const hot = Array<Uint8Array>(9).fill(Buffer.from("b"));
    expect(text(splitByLoad(hot, shard, range(2)))).toEqual(["the load is on one key, or there is none"]);
    expect(splitByLoad([], shard, range(2)).kind).toBe("blocked");
    expect(splitByLoad([], whole, hash(2)).kind).toBe("blocked");
  });

  it("part hot slots of a hash keyspace", () => {
    const asked = [3, 3, 3, 9, 9, 9, 9].map((slot, i) => slotKey(slot, `k${i}`));
    expect(splitByLoad(asked, whole, hash(2))).toEqual({ kind: "at", boundaries: [slotBoundary(9)] });
  });
});

it("any suggestion can be carried out: ascending, inside, between slots", () => {
  for (let first = 0; first < 12; first++) {
    const shard = { ...whole, start: slotBoundary(first), end: slotBoundary(first + 5) };
    const keys = Array.from({ length: 30 }, (_, i) => slotKey(first + ((i * i) % 5), `k${i}`));
    for (const suggested of [splitBySize(filled(keys), shard, hash(4)), splitByLoad(keys, shard, hash(4))]) {
      if (suggested.kind === "blocked") throw new Error(suggested.reason);
      let before = shard.start;
      for (const boundary of suggested.boundaries) {
        expect(boundary).toHaveLength(2);
        expect(compareBytes(boundary, before)).toBeGreaterThan(0);
        expect(inRange(boundary, shard.start, shard.end)).toBe(true);
        before = boundary;
      }
    }
  }
});

it("a user's key is rounded to a slot inside the shard", () => {
  const shard = { ...whole, start: slotBoundary(4), end: slotBoundary(8) };
  expect(roundToSlot(slotKey(6, "x"), shard, 256)).toEqual(slotBoundary(6));
  expect(roundToSlot(slotKey(4, "x"), shard, 256)).toEqual(slotBoundary(5));
  expect(roundToSlot(slotKey(9, "x"), shard, 256)).toEqual(slotBoundary(7));
  expect(roundToSlot(slotKey(4, "x"), { ...shard, end: slotBoundary(5) }, 256)).toBeUndefined();
});

it("a sample holds the latest keys, and no more than a fixed number", () => {
  const sample = new LoadSample();
  for (let i = 0; i < 10_000; i++) sample.note(Buffer.from(`k${i}`));
  expect(sample.keys).toHaveLength(256);
  expect(sample.keys.every((key) => Number(Buffer.from(key).toString().slice(1)) > 7_900)).toBe(true);
});
