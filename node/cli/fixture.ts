import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { run } from "./run.ts";

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface Given {
  readonly environment?: Readonly<Record<string, string>>;
  readonly input?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly terminal?: boolean;
}

/** For the tests of this room: a server that answers as told, and the command run against it. */
export class CliBench {
  readonly requests: Asked[] = [];
  answer: (asked: Asked) => Answer | "hang up" = () => ({});
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#handle(request, response));
  }

  static async open(): Promise<CliBench> {
    const bench = new CliBench();
    await new Promise<void>((resolve) => bench.#server.listen(0, "127.0.0.1", resolve));
    return bench;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async kvorum(argv: readonly string[], given: Given = {}): Promise<Outcome> {
    const out: Buffer[] = [];
    let err = "";
    const encode = (text: string | undefined): Promise<Uint8Array> =>
      text === undefined ? Promise.reject(new Error("no such file")) : Promise.resolve(Buffer.from(text));
    const code = await run({
      argv,
      environment: { KVORUM_URL: this.url, ...given.environment },
      io: {
        out: (text) => void out.push(Buffer.from(text as Uint8Array)),
        err: (text) => {
          err += text;
        },
        outIsTerminal: given.terminal ?? false,
        errIsTerminal: given.terminal ?? false,
        errColumns: 80,
        sleep: () => Promise.resolve(),
        readInput: () => encode(given.input),
        readFile: (path) => encode(given.files?.[path]),
      },
    });
    return { code, out: Buffer.concat(out).toString(), err };
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk));
    const { method = "", url = "", headers } = request;
    const asked = { method, url, headers, body: Buffer.concat(chunks).toString() };
    this.requests.push(asked);
    const answer = this.answer(asked);
    if (answer === "hang up") request.socket.destroy();
    else response.writeHead(answer.status ?? 200, answer.headers).end(answer.body);
  }
}

export function problem(status: number, code: string, more: object = {}): Answer {
  return {
    status,
    headers: { "content-type": "application/problem+json" },
    body: JSON.stringify({ status, code, detail: "because", ...more }),
  };
}
