import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encode, ProtocolError } from "#proto";
import type { Message } from "#raft/core";
import { decodeBeat, encodeBeat } from "./liveness.ts";
import { readApplied, readEntry, readHardState, readReplica, readTruncated, replicaValue } from "./rows.ts";
import { type BulkMessage, decodeBlock, decodeBulk, encodeBlock, encodeBulk } from "./snapshot-wire.ts";
import { decodeMessages, encodeMessages, messageFields } from "./wire.ts";

const id = fc.integer({ min: 1, max: 2 ** 40 });
const count = fc.nat({ max: 2 ** 40 });
const bytes = fc.uint8Array({ maxLength: 40 });
const confState = fc.constantFrom(
  { voters: [1, 2, 3], outgoing: [], learners: [4], learnersNext: [], autoLeave: false },
  { voters: [1, 2, 4], outgoing: [1, 2, 3], learners: [], learnersNext: [3], autoLeave: true },
);

const entries = fc
  .tuple(
    count,
    fc.array(fc.record({ term: id, kind: fc.constantFrom("normal", "conf"), data: bytes }), { maxLength: 4 }),
  )
  .map(([index, list]) => list.map((entry, i) => ({ index: index + i, ...entry })));

const message = fc.record(
  {
    kind: fc.constantFrom("append", "appendResponse", "heartbeat", "vote", "preVoteResponse", "readIndex"),
    from: id,
    to: id,
    term: count,
    logTerm: count,
    index: count,
    entries,
    commit: count,
    reject: fc.constant(true),
    rejectHint: count,
    context: fc.string(),
    transfer: fc.constant(true),
    sentAtMs: fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }),
  },
  { requiredKeys: ["kind", "from", "to", "term"] },
) as fc.Arbitrary<Message>;

const sleep = fc.constantFrom("none", "ask", "differs");

/** Runs a decoder on what may be anything: it gives a value or a ProtocolError, never another error. */
function isTotal(decode: (bytes: Uint8Array) => unknown, input: Uint8Array): void {
  try {
    decode(input);
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
  }
}

describe("raft messages", () => {
  it("come out as they went in", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(count, message, sleep), { maxLength: 5 }), (list) => {
        const body = encodeMessages(list.map(([group, m, mark]) => messageFields(group, m, mark)));
        const plain = list.map(([group, m, mark]) => ({ group, message: withoutEmpty(m), sleep: mark }));
        expect(decodeMessages(body).map((got) => ({ ...got, message: withoutEmpty(got.message) }))).toEqual(
          plain,
        );
      }),
    );
  });

  it.each(["snapshot", "propose", "forgetLeader"] as const)(
    "of kind %s do not come this way (R4, R24)",
    (kind) => {
      const body = encodeMessages([messageFields(1, { kind, from: 1, to: 2, term: 3 }, "none")]);
      expect(() => decodeMessages(body)).toThrow(ProtocolError);
    },
  );

  it("of a term no log row can hold are refused", () => {
    const body = encodeMessages([messageFields(1, { kind: "vote", from: 1, to: 2, term: 2 ** 48 }, "none")]);
    expect(() => decodeMessages(body)).toThrow(ProtocolError);
  });
});

/** An entry's index is implied by its place, so of none nothing is left. */
function withoutEmpty(m: Message): unknown {
  const data = m.entries?.map((e) => ({ ...e, data: Buffer.from(e.data).toString("hex") }));
  return { ...m, entries: data };
}

describe("bulk messages", () => {
  const range = fc.record({ family: fc.constantFrom("data", "meta"), start: bytes, end: bytes });
  const end = fc
    .tuple(count, fc.nat(), id, id, confState, fc.array(range, { maxLength: 3 }))
    .map(([chunks, checksum, term, index, conf, ranges]) => ({
      chunks,
      checksum,
      term,
      meta: { index, term, conf },
      ranges,
    }));
  const head = {
    kind: fc.constant("chunk"),
    id: fc.string(),
    group: count,
    from: id,
    to: id,
    sequence: count,
  };
  const bulk = fc.oneof(
    fc.record({ ...head, body: bytes }),
    fc.record({ ...head, end }),
    fc.record({ kind: fc.constant("ack"), id: fc.string(), sequence: count }),
    fc.record({ kind: fc.constant("done"), id: fc.string() }),
    fc.record({ kind: fc.constant("refused"), id: fc.string(), reason: fc.string() }),
  ) as fc.Arbitrary<BulkMessage>;

  it("come out as they went in", () => {
    fc.assert(
      fc.property(bulk, (m) => {
        // As JSON: of equal byte arrays some are views of a larger one.
        expect(JSON.stringify(decodeBulk(encodeBulk(m)))).toBe(JSON.stringify(m));
      }),
    );
  });

  it("with a configuration that cannot be are refused: it would be installed", () => {
    const meta = {
      index: 5,
      term: 1,
      conf: { voters: [2, 1], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
    };
    const m: BulkMessage = {
      kind: "chunk",
      id: "b:1",
      group: 1,
      from: 1,
      to: 2,
      sequence: 0,
      end: { chunks: 0, checksum: 0, term: 1, meta, ranges: [] },
    };
    expect(() => decodeBulk(encodeBulk(m))).toThrow(ProtocolError);
  });
});

describe("whatever bytes come", () => {
  const decoders = {
    decodeMessages,
    decodeBulk,
    decodeBlock,
    decodeBeat,
    readHardState,
    readApplied,
    readTruncated,
    readReplica,
  };
  const shaped = fc.anything({ maxDepth: 4, withNullPrototype: false }).map((value) => {
    try {
      return encode(value);
    } catch {
      return new Uint8Array(0);
    }
  });
  it.each(Object.entries(decoders))("%s gives a value or a ProtocolError", (_name, decode) => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), shaped), (input) => isTotal(decode, input)),
    );
  });

  it("a message damaged in one byte gives messages or a ProtocolError", () => {
    fc.assert(
      fc.property(message, fc.nat(), fc.nat(255), (m, at, byte) => {
        const body = Buffer.from(encodeMessages([messageFields(1, m, "none")]));
        body[at % body.length] = byte;
        isTotal(decodeMessages, body);
      }),
    );
  });
});

describe("rows and beats", () => {
  it("come out as they went in", () => {
    const beat = { wallMicros: 1_700_000_000_000_000, sinceSyncMs: 1.5, draining: true };
    expect(decodeBeat(encodeBeat(beat))).toEqual(beat);
    expect(readEntry(5, new Uint8Array([1, 0, 0, 0, 0, 1, 2, 9]))).toMatchObject({
      index: 5,
      term: 258,
      kind: "conf",
    });
    const ranges = [{ family: "data", start: new Uint8Array([1]) } as const];
    const record = { replica: 3, state: "tombstone", ranges } as const;
    expect(readReplica(replicaValue(record))).toEqual(record);
    const block = { family: "data", rows: [new Uint8Array([1]), new Uint8Array([2])] } as const;
    expect(decodeBlock(encodeBlock(block))).toEqual(block);
  });
});
