import { connect, type Socket } from "node:net";
import type { HostPort } from "./requests.ts";
import { ResponseReader } from "./response.ts";

/** One for all connections: each chunk is read to its end before the next one is taken from any socket. */
const inbox = Buffer.alloc(64 * 1024);

export interface ConnectionEvents {
  readonly onOpen: () => void;
  /** @param body - a view, valid only during the call */
  readonly onAnswer: (status: number, body: Uint8Array) => void;
  /** Could not be made, broke, or said what is no HTTP; not called after `close`. */
  readonly onLost: (reason: string) => void;
}

/** A keep-alive connection with one request in flight, straight on the socket. */
export class Connection {
  readonly #socket: Socket;
  readonly #reader: ResponseReader = new ResponseReader();
  readonly #events: ConnectionEvents;
  #over = false;

  constructor({ host, port }: HostPort, events: ConnectionEvents) {
    this.#events = events;
    this.#socket = connect({
      host,
      port,
      noDelay: true,
      onread: { buffer: inbox, callback: (length) => this.#onRead(length) },
    });
    this.#socket.once("connect", events.onOpen);
    this.#socket.once("error", (error) => this.#lose(error.message));
    this.#socket.once("close", () => this.#lose("closed by the server"));
  }

  /** @param request - must stay as it is until the answer */
  send(request: Uint8Array): void {
    this.#socket.write(request);
  }

  close(): void {
    this.#over = true;
    this.#socket.destroy();
  }

  #onRead(length: number): boolean {
    if (this.#over) return false;
    const progress = this.#reader.feed(inbox.subarray(0, length));
    if (progress === "whole") this.#events.onAnswer(this.#reader.status, this.#reader.body);
    else if (progress === "broken") this.#lose("an answer that is no HTTP");
    return true;
  }

  #lose(reason: string): void {
    if (this.#over) return;
    this.close();
    this.#events.onLost(reason);
  }
}
