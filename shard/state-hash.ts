import type { Engine, Range } from "#storage";

const pageRows = 1024;
const pageBytes = 1 << 20;

/**
 * A hash over all rows of `ranges`, keys and values: equal on two replicas when their rows are (R38). Two
 * FNV-1a lanes; guards against mistakes, not against malice. @returns 16 hex digits
 */
export function hashRows(engine: Engine, ranges: readonly Range[]): string {
  const lanes = { a: 0x811c9dc5, b: 0x9747b28c };
  for (const range of ranges) {
    let rest: Range = range;
    for (;;) {
      const { rows, finished } = engine.scan(rest, { limit: pageRows, maxBytes: pageBytes });
      for (const bytes of rows) mixIn(lanes, bytes);
      const last = rows.at(-2);
      if (finished || last === undefined) break;
      rest = { ...rest, start: Buffer.concat([last, Buffer.of(0)]) };
    }
  }
  return hex(lanes.a) + hex(lanes.b);
}

function mixIn(lanes: { a: number; b: number }, bytes: Uint8Array): void {
  let { a, b } = lanes;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0;
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b + byte + 1, 0x85ebca6b) ^ (b >>> 15);
  }
  // The length keeps neighbouring fields apart.
  lanes.a = Math.imul(a ^ bytes.length, 0x01000193);
  lanes.b = Math.imul(b ^ bytes.length, 0xc2b2ae35);
}

function hex(lane: number): string {
  return (lane >>> 0).toString(16).padStart(8, "0");
}
