import type { Readable } from "node:stream";
import { noBytes } from "#proto";
import type { Exchange } from "./exchange.ts";
import { Problem } from "./problem.ts";

/** Memory for bodies of requests that are being read or carried out, over all connections. */
export class BodyBudget {
  #usedBytes = 0;

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** @returns false when there is no room; a body larger than the whole limit may come alone */
  reserve(exchange: Exchange, bytes: number, limitBytes: number): boolean {
    if (this.#usedBytes > 0 && this.#usedBytes + bytes > limitBytes) return false;
    this.#usedBytes += bytes;
    exchange.reservedBytes += bytes;
    return true;
  }

  release(exchange: Exchange): void {
    this.#usedBytes -= exchange.reservedBytes;
    exchange.reservedBytes = 0;
  }
}

export interface BodyLimits {
  readonly bodyBytes: number;
  readonly inflightBytes: number;
}

export function tooLarge({ resource }: Exchange, limitBytes: number): Problem {
  return resource?.kind === "admin"
    ? new Problem("request_too_large", `bodies here have at most ${limitBytes} bytes`, { close: true })
    : new Problem("value_too_large", `values have at most ${limitBytes} bytes`, { close: true });
}

export function noRoom(): Problem {
  return new Problem("too_busy", "too many bytes of requests are in flight on this node", {
    retryAfterMs: 200,
    close: true,
  });
}

/**
 * Collects a body whose length was checked already, or is not known before its end. `done` is called once.
 * A body of one piece is handed on as it is: nobody writes into a received buffer again.
 */
export function collectBody(
  stream: Readable,
  exchange: Exchange,
  budget: BodyBudget,
  limits: () => BodyLimits,
  done: (problem: Problem | null, body?: Uint8Array) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const stop = (problem: Problem | null, body?: Uint8Array): void => {
    stream.off("data", onData);
    stream.off("end", onEnd);
    stream.off("error", onError);
    // What still comes is thrown away, but an error of it must find a listener.
    if (problem !== null) stream.on("error", () => {}).resume();
    done(problem, body);
  };
  const onData = (chunk: Buffer): void => {
    bytes += chunk.length;
    const { bodyBytes, inflightBytes } = limits();
    if (bytes > bodyBytes) stop(tooLarge(exchange, bodyBytes));
    else if (bytes > exchange.reservedBytes && !budget.reserve(exchange, chunk.length, inflightBytes))
      stop(noRoom());
    else chunks.push(chunk);
  };
  const onEnd = (): void => {
    const [first] = chunks;
    if (first === undefined) stop(null, noBytes);
    else stop(null, chunks.length === 1 ? first : Buffer.concat(chunks, bytes));
  };
  const onError = (): void => stop(new Problem("bad_request", "the body ended too early", { close: true }));
  stream.on("data", onData);
  stream.on("end", onEnd);
  stream.on("error", onError);
}
