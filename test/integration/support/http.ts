import { Agent, type IncomingHttpHeaders, request } from "node:http";

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface CallOptions {
  readonly body?: Uint8Array | string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** No answer came. `neverSent`: the server cannot have seen the request. */
export class NoReply extends Error {
  override readonly name = "NoReply";
  readonly neverSent: boolean;

  constructor(cause: NodeJS.ErrnoException) {
    super(cause.message, { cause });
    // Over a new connection only: the kernel of a dead server refuses before anything is sent.
    this.neverSent = cause.code === "ECONNREFUSED";
  }
}

const timeoutMs = 15_000;

/** One server, over kept connections. */
export class HttpClient {
  readonly name: string;
  readonly port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 128 });

  constructor(name: string, port: number) {
    this.name = name;
    this.port = port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** @throws NoReply */
  call(method: string, path: string, options: CallOptions = {}): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => reject(new NoReply(error));
      const outgoing = request(
        {
          agent: this.#agent,
          host: "127.0.0.1",
          port: this.port,
          method,
          path,
          headers: { ...lengthOf(options.body), ...options.headers },
          timeout: options.timeoutMs ?? timeoutMs,
        },
        (incoming) => {
          const parts: Buffer[] = [];
          incoming.on("data", (part: Buffer) => parts.push(part));
          incoming.once("error", fail);
          incoming.once("end", () => {
            const { statusCode = 0, headers } = incoming;
            resolve({ status: statusCode, headers, body: Buffer.concat(parts) });
          });
        },
      );
      outgoing.once("error", fail);
      outgoing.once("timeout", () => outgoing.destroy(new Error("the client's timeout")));
      outgoing.end(options.body);
    });
  }

  /** @throws Error when the answer is no 200 with JSON */
  async json<T>(path: string): Promise<T> {
    const reply = await this.call("GET", path);
    if (reply.status !== 200) throw new Error(`GET ${path}: ${reply.status} ${reply.body.toString()}`);
    return JSON.parse(reply.body.toString());
  }

  close(): void {
    this.#agent.destroy();
  }
}

function lengthOf(body: Uint8Array | string | undefined): Record<string, string> {
  return body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
}

export function textOf(reply: Reply): string {
  return reply.body.toString();
}

export function header(reply: Reply, name: string): string | undefined {
  const value = reply.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** The revision an `ETag` names; 0 for none, as of an absent key. */
export function revisionOf(reply: Reply): number {
  return Number(/"(\d+)"/.exec(header(reply, "etag") ?? "")?.[1] ?? 0);
}

/** The body of an error, as far as tests read it. */
export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retryable: boolean;
  readonly request_id: string;
  readonly outcome?: string;
}

/** @returns undefined for what is no problem document */
export function problemOf(reply: Reply): ProblemBody | undefined {
  if (header(reply, "content-type")?.startsWith("application/problem+json") !== true) return undefined;
  return reply.body.length === 0 ? undefined : JSON.parse(textOf(reply));
}
