/**
 * Whether `bytes` hold as many values as their MessagePack headers announce. A decoder sets aside room for an
 * announced array before it reads on, so a few nested headers that lie would take all memory (R12). Each
 * value takes a byte at least: no more are believed than bytes are left.
 */
export function announcesOnlyWhatItHolds(bytes: Uint8Array): boolean {
  let at = 0;
  for (let due = 1; due > 0; due--) {
    const head = bytes[at];
    if (head === undefined) return false;
    const children = childrenAt(bytes, at, head);
    at += 1 + bodyBytesAt(bytes, at, head);
    due += children;
    if (due - 1 > bytes.length - at) return false;
  }
  return true;
}

function childrenAt(bytes: Uint8Array, at: number, head: number): number {
  if (head < 0x80 || head >= 0xe0) return 0;
  if (head <= 0x8f) return 2 * (head & 0x0f);
  if (head <= 0x9f) return head & 0x0f;
  switch (head) {
    case 0xdc:
      return uintAt(bytes, at + 1, 2);
    case 0xdd:
      return uintAt(bytes, at + 1, 4);
    case 0xde:
      return 2 * uintAt(bytes, at + 1, 2);
    case 0xdf:
      return 2 * uintAt(bytes, at + 1, 4);
    default:
      return 0;
  }
}

/** Bytes behind the head that are not values of their own: lengths, numbers, texts, binary. */
function bodyBytesAt(bytes: Uint8Array, at: number, head: number): number {
  if (head < 0xa0 || head >= 0xe0) return 0;
  if (head <= 0xbf) return head & 0x1f;
  if (head >= 0xd4 && head <= 0xd8) return 1 + 2 ** (head - 0xd4);
  const [size = 0, announced = 0] = bodies[head - 0xc0] ?? [];
  return size + (announced === 0 ? 0 : uintAt(bytes, at + 1, announced));
}

/** For heads 0xc0 to 0xdf: fixed bytes behind them, and how many of these are a length of more. */
const bodies: readonly (readonly [number, number])[] = [
  ...([
    [0, 0],
    [0, 0],
    [0, 0],
    [0, 0],
  ] as const), // nil, unused, booleans
  ...([
    [1, 1],
    [2, 2],
    [4, 4],
  ] as const), // binary
  ...([
    [2, 1],
    [3, 2],
    [5, 4],
  ] as const), // extensions
  ...([
    [4, 0],
    [8, 0],
  ] as const), // floats
  ...([
    [1, 0],
    [2, 0],
    [4, 0],
    [8, 0],
  ] as const), // unsigned
  ...([
    [1, 0],
    [2, 0],
    [4, 0],
    [8, 0],
  ] as const), // signed
  ...([
    [0, 0],
    [0, 0],
    [0, 0],
    [0, 0],
    [0, 0],
  ] as const), // fixed extensions, see above
  ...([
    [1, 1],
    [2, 2],
    [4, 4],
  ] as const), // texts
  ...([
    [2, 0],
    [4, 0],
    [2, 0],
    [4, 0],
  ] as const), // arrays, maps
];

/** A number cut short reads as if zeros followed; the next head is then missing. */
function uintAt(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = 0; i < size; i++) value = value * 256 + (bytes[at + i] ?? 0);
  return value;
}
