import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesOfHex, hexOf } from "./bytes.ts";
import { decode, encode, FieldReader, ProtocolError } from "./codec.ts";
import { announcesOnlyWhatItHolds } from "./token-walk.ts";

/** One value of each type that MessagePack knows, and some borders. */
const values: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  7,
  1.5,
  Number.MAX_SAFE_INTEGER,
  2 ** 60,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  "",
  "text",
  Uint8Array.of(),
  Uint8Array.of(1),
  [],
  [1],
  {},
  { a: 1 },
];

describe("a FieldReader takes the type it is asked for, and no other", () => {
  it.each<{ name: string; read: (f: FieldReader) => unknown; takes: (v: unknown) => boolean }>([
    {
      name: "integer",
      read: (f) => f.integer(),
      takes: (v) => Number.isSafeInteger(v) && (v as number) >= 0,
    },
    {
      name: "integer from 5",
      read: (f) => f.integer(5),
      takes: (v) => Number.isSafeInteger(v) && (v as number) >= 5,
    },
    { name: "number", read: (f) => f.number(), takes: (v) => Number.isFinite(v) },
    { name: "bytes", read: (f) => f.bytes(), takes: (v) => v instanceof Uint8Array },
    { name: "text", read: (f) => f.text(), takes: (v) => typeof v === "string" },
    { name: "boolean", read: (f) => f.boolean(), takes: (v) => typeof v === "boolean" },
    { name: "choice", read: (f) => f.choice(["text", 7] as const), takes: (v) => v === "text" || v === 7 },
    { name: "list", read: (f) => f.list((e) => e), takes: Array.isArray },
    {
      name: "record",
      read: (f) => f.record(),
      takes: (v) => typeof v === "object" && v !== null && !Array.isArray(v) && !(v instanceof Uint8Array),
    },
  ])("$name", ({ read, takes }) => {
    for (const value of [...values, undefined]) {
      const there = (): unknown => read(new FieldReader(value === undefined ? [] : [value], "test"));
      if (takes(value)) expect(there()).toEqual(value);
      else expect(there).toThrow(ProtocolError);
    }
  });

  it("an optional field may be null or missing, not wrong", () => {
    const read = (fields: unknown[]) => new FieldReader(fields, "test").optional((f) => f.text());
    expect([read([]), read([null]), read(["a"])]).toEqual([undefined, undefined, "a"]);
    expect(() => read([5])).toThrow(ProtocolError);
  });

  it("a newer sender's further fields are left alone", () => {
    const f = FieldReader.of(encode([1, "new"]), "test");
    expect(f.integer()).toBe(1);
  });

  it("the error names message, field and what was expected", () => {
    const f = new FieldReader([1, 2], "read request");
    f.integer();
    expect(() => f.text()).toThrow("read request: field 1 is not text");
  });

  it.each([5, "x", null, {}, Uint8Array.of(1)])("%s is no array of fields", (value) => {
    expect(() => new FieldReader(value, "test")).toThrow(ProtocolError);
  });
});

describe("MessagePack", () => {
  it("gives back integers, text, bytes and lists as they were", () => {
    const leaf = fc.oneof(fc.maxSafeInteger(), fc.string(), fc.uint8Array(), fc.boolean(), fc.constant(null));
    fc.assert(
      fc.property(fc.array(fc.oneof(leaf, fc.array(leaf))), (v) => {
        expect(decode(encode(v))).toEqual(v);
      }),
    );
  });

  it("random bytes are a value or a ProtocolError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("values of every size and kind are believed", () => {
    const numbers = [
      0,
      127,
      128,
      255,
      256,
      65_535,
      65_536,
      2 ** 32,
      -1,
      -32,
      -33,
      -129,
      -32_769,
      -(2 ** 40),
      0.5,
    ];
    const lengths = [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536];
    const sized = lengths.flatMap((n) => [
      "x".repeat(n),
      new Uint8Array(n),
      new Array(n).fill(1),
      Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, i])),
    ]);
    const all = [...numbers, ...sized, null, true, false, new Date(0), new Date(1.5e12 + 1), new Date(1e14)];
    for (const value of all) expect(decode(encode(value))).toEqual(value);
    expect(decode(encode(all))).toEqual(all);
  });

  it("random values are believed", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(announcesOnlyWhatItHolds(encode(value))).toBe(true);
      }),
    );
  });

  it.each([
    { name: "an array of four billion", head: [0xdd, 0xff, 0xff, 0xff, 0xff] },
    { name: "a map of four billion", head: [0xdf, 0xff, 0xff, 0xff, 0xff] },
    { name: "an array of 65,535", head: [0xdc, 0xff, 0xff] },
    { name: "a short array", head: [0x9f] },
    { name: "a short map", head: [0x8f] },
  ])("headers that lie take no memory, a thousand nested in each other: $name (R12)", ({ head }) => {
    const nested = Buffer.concat(Array.from({ length: 1000 }, () => Buffer.from(head)));
    expect(announcesOnlyWhatItHolds(nested)).toBe(false);
    expect(() => decode(nested)).toThrow(ProtocolError);
    expect(() => decode(Buffer.from(head))).toThrow(ProtocolError);
  });

  it("works on after an error in the middle", () => {
    expect(() => decode(encode([1, [2, 3]]).subarray(0, 3))).toThrow(ProtocolError);
    expect(decode(encode([1]))).toEqual([1]);
  });

  it("what was encoded stays when more is", () => {
    const first = encode("first");
    encode("other");
    expect(decode(first)).toBe("first");
  });
});

describe("hex", () => {
  it("goes there and back", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(bytesOfHex(hexOf(bytes))).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it.each(["0", "0g", "00 ", "0x00"])("'%s' is none", (text) => {
    expect(bytesOfHex(text)).toBeUndefined();
  });
});
