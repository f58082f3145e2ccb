/**
 * The bytes of a percent-encoded text. Node hands URLs over one byte a character, so what stands unescaped is
 * taken as it is.
 * @param plusIsSpace - in queries
 * @returns undefined where a `%` is not followed by two hex digits
 */
export function decodeBytes(text: string, plusIsSpace = false): Buffer | undefined {
  if (!text.includes("%") && !(plusIsSpace && text.includes("+"))) return Buffer.from(text, "latin1");
  const bytes = Buffer.allocUnsafe(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    let byte = text.charCodeAt(i);
    if (byte === percent) {
      const high = hexValue(text.charCodeAt(i + 1));
      const low = hexValue(text.charCodeAt(i + 2));
      if (high < 0 || low < 0) return undefined;
      byte = high * 16 + low;
      i += 2;
    } else if (byte === plus && plusIsSpace) byte = space;
    bytes[length++] = byte;
  }
  return bytes.subarray(0, length);
}

/** `decodeBytes` as text; undefined where the bytes are not UTF-8. */
export function decodeText(text: string, plusIsSpace = false): string | undefined {
  const bytes = decodeBytes(text, plusIsSpace);
  if (bytes === undefined) return undefined;
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

const percent = 0x25;
const plus = 0x2b;
const space = 0x20;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Of a character code; -1 when it is none. NaN, behind the end, is none either. */
function hexValue(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
