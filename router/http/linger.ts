import type { IncomingMessage, ServerResponse } from "node:http";

/** What is thrown away of a refused body before the connection may be cut. */
const bytesMax = 64 * 1024 * 1024;
const timeMaxMs = 2_000;

/** Whether more of the body may come: answered now, it would still be on its way. */
export function bodyIsComing(request: IncomingMessage): boolean {
  const { headers } = request;
  if (request.complete || request.readableEnded || request.destroyed) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * Sends the answer at once, and its end only after the body: closing a socket with unread bytes resets it,
 * and a reset throws away what the client has not read yet, the answer itself.
 */
export function answerWhileBodyComes(
  request: IncomingMessage,
  response: ServerResponse,
  body: Uint8Array | string,
): void {
  let bytes = 0;
  const end = (): void => {
    clearTimeout(timer);
    request.off("data", onData);
    if (!response.writableEnded) response.end();
  };
  const onData = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > bytesMax) end();
  };
  const timer = setTimeout(end, timeMaxMs);
  request.on("data", onData).once("end", end).once("close", end).on("error", end);
  response.flushHeaders();
  if (body.length > 0) response.write(body);
}
