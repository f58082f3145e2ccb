import { Connection } from "./connection.ts";
import type { HostPort } from "./requests.ts";

export type Reply =
  | { readonly kind: "answer"; readonly status: number; readonly body: string }
  /** No connection was made, so nothing can have been done. */
  | { readonly kind: "unsent" }
  /** Sent, and no answer: nobody knows. */
  | { readonly kind: "lost" };

/** One request at a time on a connection that is kept; a host that fails is left for the next one. */
export class Caller {
  readonly #hosts: readonly HostPort[];
  readonly #timeoutMs: number;
  #at: number;
  #connection: Connection | undefined;
  #onOpen: (open: boolean) => void = () => {};
  #onReply: (reply: Reply) => void = () => {};

  /** @param first - index of the host to begin with, taken modulo their number */
  constructor(hosts: readonly HostPort[], first: number, timeoutMs: number) {
    this.#hosts = hosts;
    this.#at = first;
    this.#timeoutMs = timeoutMs;
  }

  /** Connects ahead of the first call. @returns false when there was nobody at this host; the next call tries the next */
  open(): Promise<boolean> {
    if (this.#connection !== undefined) return Promise.resolve(true);
    return new Promise((resolve) => {
      this.#onOpen = resolve;
      this.#connection = new Connection(this.#host, {
        onOpen: () => resolve(true),
        onAnswer: (status, body) =>
          this.#settle({ kind: "answer", status, body: Buffer.from(body).toString() }),
        onLost: () => this.#lose(),
      });
    });
  }

  /** Never rejects. */
  async call(method: "GET" | "PUT", path: string, body = ""): Promise<Reply> {
    if (!(await this.open())) return { kind: "unsent" };
    const { host, port } = this.#host;
    const length = method === "PUT" ? `Content-Length: ${Buffer.byteLength(body)}\r\n` : "";
    const timer = setTimeout(() => this.#lose(), this.#timeoutMs);
    const reply = await new Promise<Reply>((resolve) => {
      this.#onReply = resolve;
      // It may have broken since; its end would have been told to the call before.
      if (this.#connection === undefined) resolve({ kind: "unsent" });
      else
        this.#connection.send(
          Buffer.from(`${method} ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\n${length}\r\n${body}`),
        );
    });
    clearTimeout(timer);
    return reply;
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  get #host(): HostPort {
    const host = this.#hosts[this.#at % this.#hosts.length];
    if (host === undefined) throw new RangeError("a caller needs hosts");
    return host;
  }

  #settle(reply: Reply): void {
    this.#onReply(reply);
    this.#onReply = () => {};
  }

  #lose(): void {
    this.close();
    this.#at++;
    this.#onOpen(false);
    this.#settle({ kind: "lost" });
  }
}
