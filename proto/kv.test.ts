import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decode, encode, ProtocolError } from "./codec.ts";
import {
  type Condition,
  decodeCommand,
  decodeReadRequest,
  decodeReadResponse,
  decodeShardCommand,
  decodeWriteRequest,
  decodeWriteResponse,
  encodeCommand,
  encodeFloor,
  encodeReadRequest,
  encodeReadResponse,
  encodeWriteRequest,
  encodeWriteResponse,
  type KvCommand,
  type ReadRequest,
  type ReadResult,
  type WriteResult,
} from "./kv.ts";
import type { ShardDescriptor } from "./shards.ts";

const natural = fc.maxSafeNat();
const positive = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const bytes = fc.uint8Array({ maxLength: 40 });
const text = fc.string({ maxLength: 20 });
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
/** Without the keys that are undefined, as `exactOptionalPropertyTypes` wants them. */
const compact = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;

const side = optional(fc.oneof(fc.constant("any" as const), fc.array(natural, { maxLength: 4 })));
const condition = fc.record({ match: side, noneMatch: side }).map((c) => compact(c) as Condition);
const operation = fc.oneof(
  fc
    .record({
      kind: fc.constant("put" as const),
      value: bytes,
      contentType: text,
      condition: optional(condition),
    })
    .map(compact),
  fc.record({ kind: fc.constant("delete" as const), condition: optional(condition) }).map(compact),
);
const attempt = fc
  .tuple(
    fc.nat({ max: 2 ** 31 }),
    fc.nat({ max: 2 ** 31 }),
    natural,
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  )
  .map(([a, b, deadlineMicros, session]) => ({
    session: session.toString(16).padStart(16, "0"),
    sequence: Math.max(a, b),
    lowestUnanswered: Math.min(a, b),
    deadlineMicros,
  }));
const command: fc.Arbitrary<KvCommand> = fc.record({
  attempt,
  version: natural,
  keyspace: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  key: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  operation: operation as fc.Arbitrary<KvCommand["operation"]>,
});

const descriptor: fc.Arbitrary<ShardDescriptor> = fc.record({
  id: natural,
  keyspace: natural,
  start: bytes,
  end: bytes,
  epoch: fc.record({ version: natural, confVersion: natural }),
  replicas: fc.array(
    fc.record({
      replicaId: positive,
      nodeId: positive,
      role: fc.constantFrom("voter", "learner", "incoming", "outgoing"),
    }),
    { maxLength: 3 },
  ),
});
const kindOnly = <K extends string>(...kinds: K[]) => fc.constantFrom(...kinds).map((kind) => ({ kind }));
const mismatch = fc.record({
  kind: fc.constant("epoch_mismatch" as const),
  current: fc.array(descriptor, { maxLength: 2 }),
});
const notLeader = fc
  .record({ kind: fc.constant("not_leader" as const), leader: optional(positive) })
  .map(compact);
const writeResult = fc.oneof(
  fc.record({ kind: fc.constantFrom("put", "precondition_failed"), revision: natural }),
  fc.record({ kind: fc.constant("deleted"), deleted: fc.boolean(), revision: natural }),
  fc.record({ kind: fc.constantFrom("too_busy", "not_now", "bad_command"), detail: text }),
  kindOnly("deadline", "no_replica", "storage_full", "dropped", "unknown"),
  mismatch,
  notLeader,
) as fc.Arbitrary<WriteResult>;
const stored = fc
  .record({ revision: positive, contentType: text, expiresMs: optional(natural), value: bytes })
  .map(compact);
const staleness = optional(fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }));
const readResult = fc.oneof(
  fc.record({ kind: fc.constant("found"), stored, stalenessMs: staleness }).map(compact),
  fc.record({ kind: fc.constant("absent"), stalenessMs: staleness }).map(compact),
  fc.record({ kind: fc.constant("too_busy"), detail: text }),
  kindOnly("too_stale", "no_replica", "timeout"),
  mismatch,
  notLeader,
) as fc.Arbitrary<ReadResult>;
const readRequest = fc
  .record({
    shard: positive,
    version: natural,
    keyspace: positive,
    key: bytes,
    consistency: fc.constantFrom("linearizable", "leader", "stale"),
    timeoutMs: fc.double({ min: 1, max: 60_000, noNaN: true }),
    maxStalenessMs: staleness,
    minRevision: optional(natural),
  })
  .map(compact) as fc.Arbitrary<ReadRequest>;

describe("what is encoded is decoded", () => {
  const roundTrip = <T>(value: fc.Arbitrary<T>, there: (v: T) => Uint8Array, back: (b: Uint8Array) => T) =>
    fc.assert(
      fc.property(value, (v) => {
        expect(back(there(v))).toEqual(v);
      }),
    );

  it("commands", () => roundTrip(command, encodeCommand, decodeCommand));
  it("write requests", () =>
    roundTrip(fc.record({ shard: positive, command: bytes }), encodeWriteRequest, decodeWriteRequest));
  it("write responses", () =>
    roundTrip(
      fc.record({ clockMicros: natural, result: writeResult }),
      encodeWriteResponse,
      decodeWriteResponse,
    ));
  it("read requests", () => roundTrip(readRequest, encodeReadRequest, decodeReadRequest));
  it("read responses", () =>
    roundTrip(
      fc.record({ clockMicros: natural, result: readResult }),
      encodeReadResponse,
      decodeReadResponse,
    ));
  it("the floor", () => expect(decodeShardCommand(encodeFloor())).toEqual({ kind: "floor" }));
});

const fine = (): unknown[] =>
  decode(
    encodeCommand({
      attempt: { session: "00000000000000a1", sequence: 2, lowestUnanswered: 1, deadlineMicros: 9 },
      version: 1,
      keyspace: 1,
      key: Buffer.from("k"),
      operation: { kind: "put", value: Buffer.from("v"), contentType: "", condition: { match: [1] } },
    }),
  ) as unknown[];

describe("a command that apply must not meet is not decoded (R12)", () => {
  const at = (index: number, value: unknown): Uint8Array => encode(fine().with(index, value));

  it("the one that the cases change is fine", () => {
    expect(decodeCommand(encode(fine())).operation.kind).toBe("put");
  });

  it.each([
    { name: "an unknown operation (R11)", bytes: at(0, 3) },
    { name: "the shard's own", bytes: encodeFloor() },
    { name: "a session in capitals", bytes: at(1, "00000000000000A1") },
    { name: "a short session", bytes: at(1, "a1") },
    { name: "a sequence of seven bytes", bytes: at(2, 2 ** 48) },
    { name: "a negative sequence", bytes: at(2, -1) },
    { name: "its own sequence counted as answered", bytes: at(3, 3) },
    { name: "a deadline that is no safe integer", bytes: at(4, 2 ** 60) },
    { name: "a deadline with a fraction", bytes: at(4, 1.5) },
    { name: "a keyspace of zero", bytes: at(6, 0) },
    { name: "a keyspace beyond four bytes", bytes: at(6, 2 ** 32) },
    { name: "an empty key", bytes: at(7, new Uint8Array()) },
    { name: "a key of 4099 bytes", bytes: at(7, new Uint8Array(4099)) },
    { name: "a key that is text", bytes: at(7, "k") },
    { name: "a value that is text", bytes: at(8, "v") },
    { name: "a content type of 129 bytes", bytes: at(9, "é".repeat(64).concat("x")) },
    { name: "a condition that is no list", bytes: at(10, 5) },
    { name: "a condition on a fraction", bytes: at(10, [[0.5], null]) },
    { name: "a condition of too many", bytes: at(10, [new Array(257).fill(1), null]) },
    { name: "a field too few", bytes: encode(fine().slice(0, 9)) },
    { name: "half of it", bytes: encode(fine()).subarray(0, 20) },
    { name: "more behind it", bytes: Buffer.concat([encode(fine()), Buffer.of(1)]) },
  ])("$name", ({ bytes: broken }) => {
    expect(() => decodeCommand(broken)).toThrow(ProtocolError);
  });
});

describe("bytes from anywhere", () => {
  const decoders = [
    decodeCommand,
    decodeShardCommand,
    decodeWriteRequest,
    decodeWriteResponse,
    decodeReadRequest,
    decodeReadResponse,
  ];
  const expectProtocolErrorAtMost = (data: Uint8Array): void => {
    for (const decoder of decoders) {
      try {
        decoder(data);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }
  };

  it("never cause anything but a ProtocolError", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), expectProtocolErrorAtMost), { numRuns: 1000 });
  });

  it("nor do any values in an array", () => {
    const value = fc.anything({ withBigInt: false, withNullPrototype: true, maxDepth: 3 });
    fc.assert(
      fc.property(fc.array(value, { maxLength: 12 }), (values) => {
        let data: Uint8Array;
        try {
          data = encode(values);
        } catch {
          return;
        }
        expectProtocolErrorAtMost(data);
      }),
    );
  });

  it("nor does a good message with a byte changed", () => {
    fc.assert(
      fc.property(command, natural, fc.nat({ max: 255 }), (c, position, byte) => {
        const data = encodeCommand(c);
        data[position % data.length] = byte;
        expectProtocolErrorAtMost(data);
      }),
      { numRuns: 1000 },
    );
  });
});
