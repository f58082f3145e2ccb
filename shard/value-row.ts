import type { StoredValue } from "#proto";
import { InvariantError } from "#runtime";

/**
 * A row of the `data` family, by hand since every put writes one and every get reads one:
 * `u8 format | f64 revision | [f64 expiresMs] | u8 length, content type | value`, big-endian.
 * A double holds every safe integer exactly. A row that does not read as one is no user's doing.
 */
const formatPlain = 1;
const formatExpiring = 2;
const revisionAt = 1;
const expiresAt = 9;

export function encodeValueRow(stored: StoredValue): Uint8Array {
  const { revision, contentType, expiresMs, value } = stored;
  const typeBytes = Buffer.byteLength(contentType);
  let at = expiresMs === undefined ? expiresAt : expiresAt + 8;
  const row = Buffer.allocUnsafe(at + 1 + typeBytes + value.length);
  row[0] = expiresMs === undefined ? formatPlain : formatExpiring;
  row.writeDoubleBE(revision, revisionAt);
  if (expiresMs !== undefined) row.writeDoubleBE(expiresMs, expiresAt);
  row[at++] = typeBytes;
  row.write(contentType, at, "utf8");
  row.set(value, at + typeBytes);
  return row;
}

/** @throws InvariantError; the value is a view into `bytes` */
export function decodeValueRow(bytes: Uint8Array): StoredValue {
  const row = bufferOf(bytes);
  const expiring = row[0] === formatExpiring;
  const typeAt = expiring ? expiresAt + 9 : expiresAt + 1;
  const typeBytes = row[typeAt - 1];
  if ((!expiring && row[0] !== formatPlain) || typeBytes === undefined || typeAt + typeBytes > row.length)
    throw new InvariantError("value row: unknown format or too short");
  return {
    revision: row.readDoubleBE(revisionAt),
    contentType: row.toString("utf8", typeAt, typeAt + typeBytes),
    ...(expiring ? { expiresMs: row.readDoubleBE(expiresAt) } : {}),
    value: row.subarray(typeAt + typeBytes),
  };
}

/** The revision alone; 0 for an absent row. @throws InvariantError */
export function revisionOfRow(bytes: Uint8Array | undefined): number {
  if (bytes === undefined) return 0;
  if (bytes.length <= expiresAt) throw new InvariantError("value row: too short");
  return bufferOf(bytes).readDoubleBE(revisionAt);
}

function bufferOf(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
