export type Progress = "more" | "whole" | "broken";

/** An answer beyond this is none that a benchmark asked for. */
const answerBytesMax = 4 * 2 ** 20;
const headEnd = Buffer.from("\r\n\r\n");

/**
 * Reads answers of HTTP/1.1 off a connection, one after the other, for as little CPU as can be: what the
 * load generator saves, the servers beside it have. It knows what is needed to find an answer's end
 * (Content-Length, chunks), and is no HTTP client: no pipelining, no HEAD.
 */
export class ResponseReader {
  #held: Buffer | undefined;
  #status = 0;
  #body: Uint8Array = new Uint8Array(0);

  get status(): number {
    return this.#status;
  }

  /** A view of what was fed last: valid until the next `feed`, and as long as the caller keeps its buffer. */
  get body(): Uint8Array {
    return this.#body;
  }

  /** @returns "whole" once status and body are an answer's; the next call begins the next answer */
  feed(chunk: Buffer): Progress {
    const bytes = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = undefined;
    const end = bytes.indexOf(headEnd);
    if (end < 0) return this.#wait(bytes);
    const head = bytes.toString("latin1", 0, end);
    this.#status = Number(head.slice(9, 12));
    if (!head.startsWith("HTTP/1.1 ") || !(this.#status >= 200)) return "broken";
    const bodyAt = end + headEnd.length;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length !== undefined) return this.#sized(bytes, bodyAt, Number(length));
    if (/\r\ntransfer-encoding: *chunked/i.test(head)) return this.#chunked(bytes, bodyAt);
    if (this.#status !== 204 && this.#status !== 304) return "broken";
    return this.#sized(bytes, bodyAt, 0);
  }

  #sized(bytes: Buffer, bodyAt: number, length: number): Progress {
    if (bytes.length < bodyAt + length) return this.#wait(bytes);
    if (bytes.length > bodyAt + length) return "broken";
    this.#body = bytes.subarray(bodyAt, bodyAt + length);
    return "whole";
  }

  #chunked(bytes: Buffer, bodyAt: number): Progress {
    const parts: Buffer[] = [];
    for (let at = bodyAt; ; ) {
      const lineEnd = bytes.indexOf("\r\n", at, "latin1");
      if (lineEnd < 0) return this.#wait(bytes);
      const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
      if (!(size >= 0)) return "broken";
      if (size === 0) return this.#chunksEnd(bytes, lineEnd, parts);
      at = lineEnd + 2 + size + 2;
      if (at > bytes.length) return this.#wait(bytes);
      parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    }
  }

  /** Trailers may stand between the last chunk and the empty line. */
  #chunksEnd(bytes: Buffer, lastChunkLineEnd: number, parts: readonly Buffer[]): Progress {
    const end = bytes.indexOf(headEnd, lastChunkLineEnd);
    if (end < 0) return this.#wait(bytes);
    if (end + headEnd.length !== bytes.length) return "broken";
    this.#body = Buffer.concat(parts);
    return "whole";
  }

  #wait(bytes: Buffer): Progress {
    if (bytes.length > answerBytesMax) return "broken";
    // Copied: the connection reads the next chunk into the same buffer.
    this.#held = Buffer.from(bytes);
    return "more";
  }
}
