/** What happened in a run: the last notable events as text, and a hash over everything. */
export class Trace {
  readonly #lines: string[] = [];
  readonly #linesMax: number;
  /** Whether a digest is asked for: else making lines for it is a waste. */
  readonly hashing: boolean;
  #next = 0;
  #a = 0x811c9dc5;
  #b = 0x9747b28c;

  /** @param hashing - off, `digest` is undefined and `feed` costs nothing */
  constructor(hashing: boolean, linesMax = 400) {
    this.hashing = hashing;
    this.#linesMax = linesMax;
  }

  /** Keeps a line for people; part of the hash too. */
  note(nowMs: number, text: string): void {
    const line = `${nowMs.toFixed(3).padStart(10)} ${text}`;
    this.#lines[this.#next % this.#linesMax] = line;
    this.#next += 1;
    if (this.hashing) this.#mixText(line);
  }

  /** A line for the hash alone. */
  mark(nowMs: number, text: string): void {
    if (this.hashing) this.#mixText(`${nowMs.toFixed(3)} ${text}`);
  }

  /** Adds to the hash alone: a delivered packet, say. */
  feed(nowMs: number, what: string, data: Uint8Array): void {
    if (!this.hashing) return;
    this.#mixText(`${nowMs.toFixed(3)} ${what}`);
    for (let i = 0; i < data.length; i++) this.#mix(data[i] ?? 0);
    this.#mix(data.length);
  }

  #mixText(text: string): void {
    for (let i = 0; i < text.length; i++) this.#mix(text.charCodeAt(i));
    this.#mix(text.length);
  }

  /** FNV-1a in one lane, a multiply and shift in the other. */
  #mix(value: number): void {
    this.#a = Math.imul(this.#a ^ value, 0x01000193);
    this.#b = Math.imul(this.#b + value + 1, 0x85ebca6b) ^ (this.#b >>> 15);
  }

  /** The last lines, oldest first. */
  timeline(): readonly string[] {
    if (this.#next <= this.#linesMax) return this.#lines.slice(0, this.#next);
    const start = this.#next % this.#linesMax;
    return [...this.#lines.slice(start), ...this.#lines.slice(0, start)];
  }

  /** 16 hex digits; the trace goes on afterwards. */
  digest(): string | undefined {
    return this.hashing ? hex(this.#a) + hex(this.#b) : undefined;
  }
}

function hex(lane: number): string {
  return (lane >>> 0).toString(16).padStart(8, "0");
}
