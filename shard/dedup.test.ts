import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Attempt } from "#proto";
import { type Engine, MemoryDisk, OverlayBatch, openMemory } from "#storage";
import { DedupTable, keepMicros } from "./dedup.ts";
import { decodeDedupRow, dedupKey, encodeDedupValue } from "./dedup-row.ts";
import type { Effect } from "./operations.ts";
import { rigDescriptor } from "./rig.ts";
import { dedupRange } from "./state-rows.ts";

const sessions = ["00000000000000a1", "00000000000000b2"] as const;
const effect: Effect = { kind: "put", revision: 1 };
const attempts = fc
  .uniqueArray(
    fc.record({
      session: fc.constantFrom(...sessions),
      sequence: fc.nat({ max: 60 }),
      deadline: fc.nat({ max: 2 }),
    }),
    { selector: (a) => `${a.session}${a.sequence}`, maxLength: 100, size: "max" },
  )
  .map((all) =>
    all.map(
      ({ session, sequence, deadline }): Attempt => ({
        session,
        sequence,
        lowestUnanswered: 0,
        deadlineMicros: 100 + deadline,
      }),
    ),
  );

function rowsOf(engine: Engine): string[] {
  const { rows } = engine.scan(dedupRange(rigDescriptor), { limit: 1000 });
  return rows.filter((_, i) => i % 2 === 0).map((row) => Buffer.from(row).toString("hex"));
}

/** Records in this order, or loaded from rows; then trimmed and expired for a while. */
function trimmed(recorded: readonly Attempt[], loads: boolean): string[][] {
  const engine = openMemory(new MemoryDisk());
  let table = new DedupTable();
  const change = (run: (tx: OverlayBatch) => void): void => {
    const tx = new OverlayBatch(engine);
    run(tx);
    engine.write(tx.batch, { sync: false }, () => {});
  };
  change((tx) => {
    for (const a of recorded) table.record(a, keyOf(a), effect, tx);
  });
  if (loads) {
    table = new DedupTable();
    table.load(engine, dedupRange(rigDescriptor));
  }
  const history: string[][] = [];
  for (const lowestUnanswered of [10, 20, 20, 40]) {
    change((tx) => {
      for (const session of sessions)
        table.trim({ session, sequence: 99, lowestUnanswered, deadlineMicros: 0 }, 102, tx);
    });
    history.push(rowsOf(engine));
  }
  for (let i = 0; i < 4; i++) {
    change((tx) => table.expire(keepMicros + 102, tx));
    history.push(rowsOf(engine));
  }
  return history;
}

const keyOf = (a: Attempt): Uint8Array =>
  dedupKey(1, Buffer.from(`k${a.sequence % 7}`), a.session, a.sequence);

describe("what the dedup table lets go", () => {
  it("follows from the rows, not from how the index came to be (R23, R38)", () => {
    fc.assert(
      fc.property(attempts, (all) => {
        const expected = trimmed(all, false);
        expect(trimmed(all.toReversed(), false)).toEqual(expected);
        expect(trimmed(all, true)).toEqual(expected);
      }),
    );
  });

  it("is everything past deadline and keep, nothing else", () => {
    const all = Array.from({ length: 60 }, (_, sequence): Attempt => {
      return { session: sessions[0], sequence, lowestUnanswered: 0, deadlineMicros: 100 + (sequence % 3) };
    });
    expect(trimmed(all, false).at(-1)).toHaveLength(20);
  });
});

describe("a dedup row", () => {
  it.each<Effect>([
    { kind: "put", revision: Number.MAX_SAFE_INTEGER },
    { kind: "deleted", deleted: true, revision: 5 },
    { kind: "deleted", deleted: false, revision: 5 },
    { kind: "precondition_failed", revision: 0 },
  ])("keeps $kind", (kept) => {
    const key = dedupKey(9, Buffer.from([0, 1, 0xff, 0]), sessions[1], 2 ** 48 - 1);
    expect(decodeDedupRow(key, encodeDedupValue(kept, 2 ** 52 + 1))).toEqual({
      session: sessions[1],
      sequence: 2 ** 48 - 1,
      deadlineMicros: 2 ** 52 + 1,
      effect: kept,
      key,
    });
  });
});
