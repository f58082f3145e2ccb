import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  asBuffer,
  type Fragment,
  HeaderReader,
  headerBytes,
  headerPrefix,
  readMessages,
  writeHeader,
  writeMessage,
} from "./packet.ts";
import { Reassembly } from "./reassembly.ts";
import type { Channel } from "./transport.ts";

const cluster = "c0ffee00c0ffee00c0ffee00c0ffee00";
const reader = new HeaderReader(cluster, "12");

const numbers = fc.record({
  flags: fc.constantFrom(0, 1, 4),
  epoch: fc.integer({ min: 0, max: 0xffffffff }),
  position: fc.maxSafeNat(),
  grantBytes: fc.integer({ min: 0, max: 0xffffffff }),
  acked: fc.maxSafeNat(),
});
const message = fc.tuple(
  fc.constantFrom<Channel>("raft", "request", "response", "bulk", "event"),
  fc.uint8Array({ maxLength: 40 }),
);

type Numbers = Parameters<typeof writeHeader>[2];

function packetOf(of: Numbers, messages: readonly [Channel, Uint8Array][], knownBoot = "b12"): Buffer {
  const prefix = headerPrefix(cluster, "12", "b7", knownBoot);
  const size = messages.reduce((sum, [, body]) => sum + 5 + body.length, headerBytes(prefix, false));
  const packet = Buffer.allocUnsafe(size);
  let at = writeHeader(packet, prefix, of);
  for (const [channel, body] of messages) at = writeMessage(packet, at, channel, body);
  return packet;
}

describe("a packet", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(numbers, fc.array(message), fc.constantFrom("", "b12"), (of, messages, knownBoot) => {
        const packet = packetOf(of, messages, knownBoot);
        const header = reader.read(packet);
        if ("fault" in header) throw new Error(header.fault);
        expect(header).toMatchObject({ ...of, boot: "b7", knownBoot });
        const read: [Channel | undefined, Uint8Array][] = [];
        expect(readMessages(packet, header.bodyStart, (channel, body) => read.push([channel, body]))).toBe(
          true,
        );
        expect(read).toEqual(messages);
      }),
    );
  });

  it("of random bytes never throws, and is never taken for one of ours", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(reader.read(asBuffer(bytes))).toHaveProperty("fault");
        readMessages(asBuffer(bytes), 0, () => {});
      }),
    );
  });

  it("with any byte changed, or cut anywhere, never throws", () => {
    fc.assert(
      fc.property(
        numbers,
        fc.array(message, { maxLength: 4 }),
        fc.nat(),
        fc.nat(255),
        (of, messages, at, to) => {
          const packet = packetOf(of, messages);
          packet[at % packet.length] = to;
          for (const bytes of [packet, packet.subarray(0, at % packet.length)]) {
            const header = reader.read(bytes);
            if (!("fault" in header)) readMessages(bytes, header.bodyStart, () => {});
          }
        },
      ),
    );
  });

  it.each([
    { name: "another cluster", prefix: headerPrefix("another", "12", "b", ""), want: "cluster" },
    { name: "a longer cluster id", prefix: headerPrefix(`${cluster}0`, "12", "b", ""), want: "cluster" },
    { name: "a shorter cluster id", prefix: headerPrefix(cluster.slice(1), "12", "b", ""), want: "cluster" },
    { name: "another node", prefix: headerPrefix(cluster, "13", "b", ""), want: "destination" },
    {
      name: "a node whose id begins alike",
      prefix: headerPrefix(cluster, "120", "b", ""),
      want: "destination",
    },
    { name: "nobody's boot", prefix: headerPrefix(cluster, "12", "", ""), want: "malformed" },
  ])("R1: for $name is refused as $want", ({ prefix, want }) => {
    const packet = Buffer.alloc(headerBytes(prefix, false));
    writeHeader(packet, prefix, { flags: 0, epoch: 1, position: 0, grantBytes: 0, acked: 0 });
    expect(reader.read(packet)).toMatchObject({ fault: want });
  });

  it.each([Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY])(
    "with the position %d is malformed",
    (position) => {
      const packet = packetOf({ flags: 0, epoch: 1, position, grantBytes: 0, acked: 0 }, []);
      expect(reader.read(packet)).toEqual({ fault: "malformed" });
    },
  );
});

describe("fragments", () => {
  const pieces = (of: Buffer, step: number, packet = 1): [Fragment, Buffer][] => {
    const count = Math.ceil(of.length / step);
    return Array.from({ length: count }, (_, index) => [
      { packet, index, count, step, total: of.length },
      of.subarray(index * step, (index + 1) * step),
    ]);
  };

  it("join in any order, some twice", () => {
    const whole = fc.uint8Array({ minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(
        whole,
        fc.integer({ min: 1, max: 50 }),
        fc.infiniteStream(fc.nat()),
        (bytes, step, draws) => {
          const reassembly = new Reassembly();
          const left = pieces(asBuffer(bytes), step);
          let joined: Buffer | undefined;
          while (left.length > 0) {
            const at = (draws.next().value ?? 0) % left.length;
            const [fragment, piece] = left[at] as [Fragment, Buffer];
            joined = reassembly.add(fragment, piece, 0, 1_000, () => {});
            const again =
              joined === undefined ? reassembly.add(fragment, piece, 0, 1_000, () => {}) : undefined;
            expect(again).toBeUndefined();
            left.splice(at, 1);
          }
          expect(joined?.equals(bytes)).toBe(true);
        },
      ),
    );
  });

  it("R28: are bounded: a new packet pushes the oldest unfinished out", () => {
    const reassembly = new Reassembly();
    let dropped = 0;
    const add = ([fragment, piece]: [Fragment, Buffer]): Buffer | undefined =>
      reassembly.add(fragment, piece, 0, 250, () => dropped++);
    const [first, second, third] = [1, 2, 3].map((n) => pieces(Buffer.alloc(100, n), 60, n));
    add(first![0]!);
    add(second![0]!);
    expect(dropped).toBe(0);
    add(third![0]!);
    expect(dropped).toBe(1);
    expect(add(second![1]!)).toEqual(Buffer.alloc(100, 2));
    expect(add(third![1]!)).toEqual(Buffer.alloc(100, 3));
    add(pieces(Buffer.alloc(251), 60, 4)[0]!);
    expect(dropped).toBe(2);
  });

  it("that do not fit their packet end it", () => {
    const reassembly = new Reassembly();
    let dropped = 0;
    const [first] = pieces(Buffer.alloc(100), 60);
    const [, other] = pieces(Buffer.alloc(110), 60);
    reassembly.add(first![0], first![1], 0, 1_000, () => dropped++);
    expect(reassembly.add(other![0], other![1], 0, 1_000, () => dropped++)).toBeUndefined();
    expect(dropped).toBe(1);
  });

  it("that wait too long are given up", () => {
    const reassembly = new Reassembly();
    let dropped = 0;
    const [first, second] = pieces(Buffer.alloc(100), 60);
    reassembly.add(first![0], first![1], 10, 1_000, () => dropped++);
    reassembly.expire(10, () => dropped++);
    expect(dropped).toBe(0);
    reassembly.expire(11, () => dropped++);
    expect(dropped).toBe(1);
    expect(reassembly.add(second![0], second![1], 12, 1_000, () => dropped++)).toBeUndefined();
  });
});
