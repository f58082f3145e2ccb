import { type IncomingHttpHeaders, type IncomingMessage, request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";

export interface HttpRequest {
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** For all of it, up to the answer's last byte. */
  readonly timeoutMs: number;
}

export interface HttpReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** There was no whole answer. */
export class HttpFailure extends Error {
  /** False: no connection was made, so nothing can have been done. */
  readonly connected: boolean;

  constructor(message: string, connected: boolean) {
    super(message);
    this.connected = connected;
  }
}

/**
 * One request on a connection of its own. Not `fetch`: that hides whether anything was sent, which decides
 * what may be tried again, and refuses ports that a cluster may well be on.
 * @throws HttpFailure
 */
export function httpRequest(url: URL, { method, headers, body, timeoutMs }: HttpRequest): Promise<HttpReply> {
  return new Promise((resolve, reject) => {
    let connected = false;
    const open = url.protocol === "https:" ? tlsRequest : plainRequest;
    const length = body === undefined ? {} : { "content-length": String(body.length) };
    const outgoing = open(url, { method, headers: { ...headers, ...length }, agent: false });
    const timer = setTimeout(() => outgoing.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    const fail = (error: NodeJS.ErrnoException): void => {
      clearTimeout(timer);
      reject(new HttpFailure(error.code ?? error.message, connected));
    };
    outgoing.once("socket", (socket) => {
      socket.once(url.protocol === "https:" ? "secureConnect" : "connect", () => {
        connected = true;
      });
    });
    outgoing.once("error", fail);
    outgoing.once("response", (incoming) => {
      readAll(incoming).then((whole) => {
        clearTimeout(timer);
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: whole });
      }, fail);
    });
    outgoing.end(body);
  });
}

async function readAll(incoming: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
