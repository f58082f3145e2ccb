import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Engine, type Family, families, type Range } from "./engine.ts";
import { StorageError } from "./errors.ts";
import { OverlayBatch } from "./overlay.ts";

/** An engine under test, with the ways to open its store again. */
export interface Subject {
  readonly engine: Engine;
  /** Opens a second engine on the store that is open. */
  openSecond(): Promise<Engine>;
  /** Closes the engine, and opens its store anew. */
  reopen(): Promise<Engine>;
  /** Removes what the store left behind. */
  remove(): void;
}

/** The cases every engine must pass; `open` gives an empty store each time. */
export function engineConformance(name: string, open: () => Promise<Subject>): void {
  describe(`${name} keeps the engine's contract`, () => {
    let subject: Subject;
    let engine: Engine;
    beforeEach(async () => {
      subject = await open();
      engine = subject.engine;
    });
    afterEach(async () => {
      await engine.close();
      subject.remove();
    });

    it("keeps the bytes of keys and values, empty ones too, in whatever kind of array they come", () => {
      put(engine, "data", bytes(0, 255, 7), bytes());
      put(engine, "data", bytes(), Buffer.from("value of the empty key"));
      put(engine, "data", new Uint8Array([9, 1, 2, 9]).subarray(1, 3), new Uint8Array([5, 6]).subarray(1));
      expect(plain(engine.get("data", Buffer.from([0, 255, 7])))).toEqual([]);
      expect(text(engine.get("data", bytes()))).toBe("value of the empty key");
      expect(plain(engine.get("data", bytes(1, 2)))).toEqual([6]);
      expect(engine.get("data", bytes(1))).toBeUndefined();
    });

    it("keeps the families apart", () => {
      for (const family of families) put(engine, family, key("k"), key(family));
      for (const family of families) expect(text(engine.get(family, key("k")))).toBe(family);
      write(engine, (batch) => batch.delete("history", key("k")));
      expect(families.map((family) => text(engine.get(family, key("k"))))).toEqual([
        "raft",
        "data",
        undefined,
        "meta",
      ]);
    });

    it("answers getMany in the order asked, with gaps and repeats", () => {
      put(engine, "meta", key("a"), key("1"));
      put(engine, "meta", key("b"), key("2"));
      const found = engine.getMany("meta", [key("b"), key("none"), key("a"), key("b")]);
      expect(found.map(text)).toEqual(["2", undefined, "1", "2"]);
      expect(engine.getMany("meta", [])).toEqual([]);
    });

    it("lets the last change of a key in a batch count", () => {
      write(engine, (batch) => {
        batch.put("data", key("a"), key("1"));
        batch.delete("data", key("a"));
        batch.put("data", key("b"), key("1"));
        batch.put("data", key("b"), key("2"));
        expect(batch.size).toBe(4);
        expect(batch.bytes).toBe(7);
      });
      expect(dump(engine, all("data"))).toEqual(["b=2"]);
    });

    it("shows nothing of a batch before it is written and all of it on return, unsynced too", () => {
      const batch = engine.batch();
      for (const family of families) batch.put(family, key("k"), key("v"));
      expect(engine.get("data", key("k"))).toBeUndefined();
      engine.write(batch, { sync: false }, () => {});
      for (const family of families) expect(text(engine.get(family, key("k")))).toBe("v");
    });

    it("orders keys by unsigned bytes, shorter first", () => {
      const keys = [[], [0], [0, 0], [0, 1], [1], [127], [128], [128, 0], [255], [255, 255]].map((k) =>
        bytes(...k),
      );
      write(engine, (batch) => {
        for (const k of keys.toReversed()) batch.put("data", k, k);
      });
      const { rows, finished } = engine.scan(all("data"), { limit: 100 });
      expect(finished).toBe(true);
      expect(rows.filter((_, at) => at % 2 === 0).map(plain)).toEqual(keys.map(plain));
    });

    describe("scanning a..e", () => {
      beforeEach(() => {
        write(engine, (batch) => {
          for (const k of "abcde") batch.put("data", key(k), key(k.repeat(9)));
        });
      });

      const range = (start: string, end?: string): Range =>
        end === undefined
          ? { family: "data", start: key(start) }
          : { family: "data", start: key(start), end: key(end) };

      it.each([
        {
          name: "a half-open range",
          range: range("b", "d"),
          options: { limit: 9 },
          want: "bc",
          finished: true,
        },
        { name: "an open end", range: range("c"), options: { limit: 9 }, want: "cde", finished: true },
        {
          name: "bounds between keys",
          range: range("aa", "cc"),
          options: { limit: 9 },
          want: "bc",
          finished: true,
        },
        {
          name: "an empty end holds nothing",
          range: range("", ""),
          options: { limit: 9 },
          want: "",
          finished: true,
        },
        {
          name: "a range turned round",
          range: range("d", "b"),
          options: { limit: 9 },
          want: "",
          finished: true,
        },
        {
          name: "nothing behind the last",
          range: range("f"),
          options: { limit: 9 },
          want: "",
          finished: true,
        },
        { name: "a limit", range: range("b"), options: { limit: 2 }, want: "bc", finished: false },
        {
          name: "a limit at the very end",
          range: range("d"),
          options: { limit: 2 },
          want: "de",
          finished: false,
        },
        { name: "no rows wanted", range: range("a"), options: { limit: 0 }, want: "", finished: false },
        {
          name: "bytes: up to the row that reaches them",
          range: range("a"),
          options: { limit: 9, maxBytes: 11 },
          want: "ab",
          finished: false,
        },
        {
          name: "bytes reached exactly",
          range: range("a"),
          options: { limit: 9, maxBytes: 10 },
          want: "a",
          finished: false,
        },
        {
          name: "bytes enough",
          range: range("a"),
          options: { limit: 9, maxBytes: 51 },
          want: "abcde",
          finished: true,
        },
        {
          name: "backwards",
          range: range("b", "e"),
          options: { limit: 9, reverse: true },
          want: "dcb",
          finished: true,
        },
        {
          name: "backwards from an open end",
          range: range(""),
          options: { limit: 2, reverse: true },
          want: "ed",
          finished: false,
        },
        {
          name: "backwards by bytes",
          range: range("", "d"),
          options: { limit: 9, maxBytes: 11, reverse: true },
          want: "cb",
          finished: false,
        },
      ])("$name", ({ range: asked, options, want, finished }) => {
        const page = engine.scan(asked, options);
        expect(
          page.rows
            .filter((_, at) => at % 2 === 0)
            .map(text)
            .join(""),
        ).toBe(want);
        expect(
          page.rows
            .filter((_, at) => at % 2 === 1)
            .map(text)
            .join(""),
        ).toBe([...want].map((k) => k.repeat(9)).join(""));
        expect(page.finished).toBe(finished);
      });
    });

    describe("a cursor", () => {
      it("sees all families as of its opening, whatever is written later (R4)", () => {
        write(engine, (batch) => {
          for (let i = 0; i < 700; i++) batch.put("data", key(`k${String(i).padStart(4, "0")}`), key("old"));
          batch.put("meta", key("applied"), key("old"));
          batch.put("history", key("h"), key("old"));
        });
        const cursor = engine.cursor([all("data"), all("raft"), all("meta"), all("history")]);
        write(engine, (batch) => {
          for (let i = 0; i < 700; i += 2) batch.delete("data", key(`k${String(i).padStart(4, "0")}`));
          for (let i = 1; i < 700; i += 2)
            batch.put("data", key(`k${String(i).padStart(4, "0")}`), key("new"));
          batch.put("data", key("k0000a"), key("new"));
          batch.put("meta", key("applied"), key("new"));
          batch.delete("history", key("h"));
          batch.put("raft", key("r"), key("new"));
        });
        const seen = drain(cursor, 64, 1 << 20);
        expect(seen.length).toBe(702);
        expect(seen.every((row) => row.endsWith("=old"))).toBe(true);
        expect(seen.slice(-2)).toEqual(["meta/applied=old", "history/h=old"]);
        expect(seen[699]).toBe("data/k0699=old");
        cursor.close();
      });

      it("gives pages of its limits, never empty, never of two ranges", () => {
        write(engine, (batch) => {
          for (const k of "abcde") batch.put("data", key(k), key("123456789"));
          batch.put("meta", key("m"), key("1"));
        });
        const ranges = [
          all("data"),
          { family: "data", start: key("x"), end: key("a") } as const,
          all("raft"),
          all("meta"),
        ];
        const cursor = engine.cursor(ranges);
        const page = (limit: number, maxBytes: number) =>
          cursor
            .next(limit, maxBytes)
            ?.rows.filter((_, at) => at % 2 === 0)
            .map(text)
            .join("");
        expect(page(2, 1000)).toBe("ab");
        expect(page(9, 1)).toBe("c");
        expect(page(9, 1000)).toBe("de");
        expect(page(9, 1000)).toBe("m");
        expect(page(9, 1000)).toBeUndefined();
        expect(page(9, 1000)).toBeUndefined();
        cursor.close();
      });

      it("stays what it was while others are open and closed", () => {
        put(engine, "data", key("a"), key("1"));
        const first = engine.cursor([all("data")]);
        put(engine, "data", key("a"), key("2"));
        const second = engine.cursor([all("data")]);
        put(engine, "data", key("a"), key("3"));
        expect(drain(second, 9, 99)).toEqual(["data/a=2"]);
        second.close();
        expect(drain(first, 9, 99)).toEqual(["data/a=1"]);
        first.close();
      });

      it("throws once closed, so that a broken-off walk is not taken for a whole one", async () => {
        put(engine, "data", key("a"), key("1"));
        const closed = engine.cursor([all("data")]);
        closed.close();
        expect(codeOf(() => closed.next(1, 1))).toBe("closed");
        const left = engine.cursor([all("data")]);
        engine = await subject.reopen();
        expect(codeOf(() => left.next(1, 1))).toBe("closed");
      });
    });

    it("calls back in the order of the writes, synced and unsynced, and counts the syncs", async () => {
      const order: number[] = [];
      for (let i = 0; i < 6; i++) {
        const batch = engine.batch();
        batch.put("raft", key(`${i}`), key("v"));
        engine.write(batch, { sync: i % 2 === 0 }, (error) => {
          expect(error).toBeUndefined();
          order.push(i);
        });
      }
      await expect.poll(() => order.length).toBe(6);
      expect(order).toEqual([0, 1, 2, 3, 4, 5]);
      expect(engine.syncs).toBe(3);
    });

    it("finds everything again after closing and opening", async () => {
      put(engine, "data", key("synced"), key("1"));
      write(engine, (batch) => batch.put("meta", key("unsynced"), key("2")), false);
      write(engine, (batch) => batch.delete("data", key("synced")), false);
      engine = await subject.reopen();
      expect(dump(engine, all("data"))).toEqual([]);
      expect(dump(engine, all("meta"))).toEqual(["unsynced=2"]);
      expect(engine.syncs).toBe(0);
    });

    it("refuses a second engine on the same store", async () => {
      const error = await subject.openSecond().catch((caught: unknown) => caught);
      expect(StorageError.is(error, "locked")).toBe(true);
    });

    it("refuses everything once closed, and closes twice without harm", async () => {
      const batch = engine.batch();
      await engine.close();
      await engine.close();
      expect(codeOf(() => engine.get("data", key("a")))).toBe("closed");
      expect(codeOf(() => engine.scan(all("data"), { limit: 1 }))).toBe("closed");
      expect(codeOf(() => engine.cursor([all("data")]))).toBe("closed");
      expect(codeOf(() => engine.write(batch, { sync: true }, () => {}))).toBe("closed");
    });

    it("refuses to write a batch twice", () => {
      const batch = engine.batch();
      engine.write(batch, { sync: false }, () => {});
      expect(() => engine.write(batch, { sync: false }, () => {})).toThrow("once");
    });

    it("tells the size of a small range exactly, of a large one within a third, over a reopening too", async () => {
      const rowBytes = 6 + 200;
      for (let from = 0; from < 20_000; from += 1000) {
        write(
          engine,
          (batch) => {
            for (let i = from; i < from + 1000; i++) batch.put("data", number(i), Buffer.alloc(200));
          },
          false,
        );
      }
      write(
        engine,
        (batch) => {
          for (let i = 0; i < 20_000; i += 2) batch.put("data", number(i), Buffer.alloc(200, 1)); // overwrites
          for (let i = 10_000; i < 20_000; i++) batch.delete("data", number(i));
        },
        false,
      );
      for (const round of ["before", "after"]) {
        const small = engine.approximateSize({ family: "data", start: number(5), end: number(15) });
        expect(small, round).toEqual({ keys: 10, bytes: 10 * rowBytes });
        const large = engine.approximateSize(all("data"));
        expect(Math.abs(large.keys - 10_000) / 10_000, round).toBeLessThan(1 / 3);
        expect(Math.abs(large.bytes - 10_000 * rowBytes) / (10_000 * rowBytes), round).toBeLessThan(1 / 3);
        expect(engine.approximateSize({ family: "data", start: number(10_000) }), round).toEqual({
          keys: 0,
          bytes: 0,
        });
        engine = await subject.reopen();
      }
    });

    it("knows what large rows weigh, however few they are and whatever becomes of them", async () => {
      const rowBytes = 8 + 50_000;
      const number = (i: number): Uint8Array => Buffer.from(`${i}`.padStart(8, "0"));
      write(
        engine,
        (batch) => {
          for (let i = 0; i < 200; i++) batch.put("data", number(i), Buffer.alloc(50_000));
        },
        false,
      );
      write(
        engine,
        (batch) => {
          for (let i = 0; i < 20; i++) batch.put("data", number(i), Buffer.alloc(10)); // small ones now
          for (let i = 20; i < 40; i++) batch.delete("data", number(i));
          for (let i = 40; i < 60; i++) batch.put("data", number(i), Buffer.alloc(50_000, 1));
        },
        false,
      );
      for (const round of ["before", "after"]) {
        const some = engine.approximateSize({ family: "data", start: number(100), end: number(150) });
        expect(some, round).toEqual({ keys: 50, bytes: 50 * rowBytes });
        const small = engine.approximateSize({ family: "data", start: number(0), end: number(40) });
        expect(small, round).toEqual({ keys: 20, bytes: 20 * 18 });
        const { bytes } = engine.approximateSize(all("data"));
        expect(Math.abs(bytes - 160 * rowBytes) / (160 * rowBytes), round).toBeLessThan(0.01);
        engine = await subject.reopen();
      }
    });

    it("tells the disk's space", () => {
      const { freeBytes, totalBytes } = engine.diskSpace();
      expect(freeBytes).toBeGreaterThan(0);
      expect(totalBytes).toBeGreaterThanOrEqual(freeBytes);
    });

    it("equals a sorted list under any changes, scans and cursors; the overlay does before writing too", () => {
      fc.assert(
        fc.property(
          fc.array(fc.array(change, { maxLength: 8 }), { maxLength: 12 }),
          query,
          (batches, asked) => {
            const model = new Map<string, string>();
            write(
              engine,
              (batch) => {
                for (const row of dump(engine, all("data")))
                  batch.delete("data", key(row.slice(0, row.indexOf("="))));
              },
              false,
            );
            for (const [turn, changes] of batches.entries()) {
              const overlay = new OverlayBatch(engine);
              const before = engine.cursor([all("data")]);
              const old = expected(model, {});
              for (const { k, v } of changes) {
                if (v === undefined) overlay.delete("data", key(k));
                else overlay.put("data", key(k), key(v));
                if (v === undefined) model.delete(k);
                else model.set(k, v);
                expect(text(overlay.get("data", key(k)))).toBe(v);
              }
              expect(dumpWith(overlay, asked)).toEqual(expected(model, asked));
              engine.write(overlay.batch, { sync: turn % 4 === 0 }, () => {});
              expect(dumpWith(engine, asked)).toEqual(expected(model, asked));
              expect(drain(before, 2, 1 << 20)).toEqual(old.map((row) => `data/${row}`));
              before.close();
            }
          },
        ),
        { numRuns: 60 },
      );
    });
  });
}

interface Query {
  readonly start?: string;
  readonly end?: string | undefined;
  readonly limit?: number;
  readonly reverse?: boolean;
}

const keyChars: fc.Arbitrary<string> = fc.string({ unit: fc.constantFrom("a", "b", "~"), maxLength: 4 });
const change: fc.Arbitrary<{ k: string; v: string | undefined }> = fc.record({
  k: keyChars,
  v: fc.option(fc.constantFrom("1", "22", "333"), { nil: undefined }),
});
const query: fc.Arbitrary<Required<Query>> = fc.record({
  start: keyChars,
  end: fc.option(keyChars, { nil: undefined }),
  limit: fc.integer({ min: 1, max: 20 }),
  reverse: fc.boolean(),
}) as fc.Arbitrary<Required<Query>>;

function expected(model: ReadonlyMap<string, string>, asked: Query): string[] {
  const { start = "", end, limit = Number.POSITIVE_INFINITY, reverse = false } = asked;
  const inside = [...model.keys()].filter((k) => k >= start && (end === undefined || k < end)).sort();
  return (reverse ? inside.reverse() : inside).slice(0, limit).map((k) => `${k}=${model.get(k)}`);
}

function dumpWith(from: Pick<Engine, "scan">, asked: Required<Query>): string[] {
  const start = key(asked.start);
  const range: Range =
    asked.end === undefined ? { family: "data", start } : { family: "data", start, end: key(asked.end) };
  return pairs(from.scan(range, { limit: asked.limit, reverse: asked.reverse }).rows);
}

function dump(engine: Engine, range: Range): string[] {
  return pairs(engine.scan(range, { limit: 1_000_000 }).rows);
}

function drain(cursor: ReturnType<Engine["cursor"]>, limit: number, maxBytes: number): string[] {
  const seen: string[] = [];
  for (let page = cursor.next(limit, maxBytes); page !== undefined; page = cursor.next(limit, maxBytes)) {
    for (const row of pairs(page.rows)) seen.push(`${page.family}/${row}`);
  }
  return seen;
}

function pairs(rows: readonly Uint8Array[]): string[] {
  const found: string[] = [];
  for (let at = 0; at < rows.length; at += 2) found.push(`${text(rows[at])}=${text(rows[at + 1])}`);
  return found;
}

function write(engine: Engine, fill: (batch: ReturnType<Engine["batch"]>) => void, sync = true): void {
  const batch = engine.batch();
  fill(batch);
  engine.write(batch, { sync }, (error) => expect(error).toBeUndefined());
}

function put(engine: Engine, family: Family, at: Uint8Array, value: Uint8Array): void {
  write(engine, (batch) => batch.put(family, at, value));
}

function codeOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    return error instanceof StorageError ? error.code : String(error);
  }
  return undefined;
}

function all(family: Family): Range {
  return { family, start: bytes() };
}

function number(i: number): Buffer {
  return key(String(i).padStart(6, "0"));
}

function key(name: string): Buffer {
  return Buffer.from(name, "latin1");
}

function bytes(...values: number[]): Uint8Array {
  return new Uint8Array(values);
}

function plain(value: Uint8Array | undefined): number[] | undefined {
  return value && [...value];
}

function text(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString("latin1");
}
