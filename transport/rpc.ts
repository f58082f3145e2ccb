import type { Address, BootId } from "#proto";
import { type Cancel, type Clock, invariant, type Logger } from "#runtime";
import { Answers } from "./answers.ts";
import { asBuffer, plainView } from "./packet.ts";
import type { Sender, Transport, TransportEvent } from "./transport.ts";

export type Method = number | string;

export type RpcFailure =
  /** No answer in time. */
  | "timeout"
  /** The peer's process is gone, another one took its place, or it does not serve the method. */
  | "unreachable"
  /** The window to the peer is full; with `sent`, too many answers wait for the peer's window to us. */
  | "too_busy"
  /** Our own link to the network is down, or it or the peer's went down before the answer came. */
  | "disconnected"
  /** Beyond `maxMessageBytes`: it fails every time. */
  | "too_large";

export type RpcResult =
  /** `body` is a view that may pin a larger buffer. */
  | { readonly ok: true; readonly body: Uint8Array }
  /** `sent: false` only when the request certainly never left this process. */
  | { readonly ok: false; readonly reason: RpcFailure; readonly sent: boolean };

/**
 * Answers one request. `reply` may be called later, once; without it the caller times out. A view in
 * `body` may pin a larger buffer: copy what is kept.
 */
export type RpcHandler = (from: Sender, body: Uint8Array, reply: (body: Uint8Array) => void) => void;

export interface RpcStats {
  calls: number;
  answered: number;
  readonly failed: Record<RpcFailure, number>;
  served: number;
  /** Answers to calls that are over or never were, or from another peer than the asked one. */
  unknownResponses: number;
  /** Answers the transport did not take. */
  responsesLost: number;
  unservedRequests: number;
  malformed: number;
}

export interface RpcOptions {
  readonly transport: Transport;
  /** Of this process: part of each call's id, so that an answer to an earlier process is none to this one. */
  readonly boot: BootId;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Call {
  readonly to: Address;
  readonly deadlineMs: number;
  readonly done: (result: RpcResult) => void;
}

/**
 * Request: `u32 tag of the boot id | u32 number | u8 0, u32 method` or `u8 length, method` `| body`.
 * Response: `u32 tag | u32 number | u8 status | body`. By hand, since it is on the path of every request.
 */
const idBytes = 8;
const statusServed = 0;
const statusUnserved = 1;
/** Served, and the answer found no room on the way back. */
const statusBusy = 2;
/** Deadlines are looked at in steps of this, so that many calls share one timer, ms. */
const deadlineStepMs = 5;
const bootsMax = 4_096;

/**
 * Requests and their answers over a `Transport`, with correlation ids of our own. At most once: nothing is
 * sent again by itself. One timer serves all calls.
 */
export class Rpc {
  readonly stats: RpcStats = {
    calls: 0,
    answered: 0,
    failed: { timeout: 0, unreachable: 0, too_busy: 0, disconnected: 0, too_large: 0 },
    served: 0,
    unknownResponses: 0,
    responsesLost: 0,
    unservedRequests: 0,
    malformed: 0,
  };
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tag: number;
  #number = 0;
  readonly #calls = new Map<number, Call>();
  readonly #handlers = new Map<Method, RpcHandler>();
  readonly #answers: Answers;
  /** The process last heard of at each address. */
  readonly #boots = new Map<Address, BootId>();
  #timerAtMs = Number.POSITIVE_INFINITY;
  #cancelTimer: Cancel = () => {};

  constructor(options: RpcOptions) {
    this.#transport = options.transport;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#tag = tagOf(options.boot);
    this.#answers = new Answers(options.transport);
    this.#transport.handle("request", (from, body) => this.#onRequest(from, body));
    this.#transport.handle("response", (from, body) => this.#onResponse(from, body));
    this.#transport.onEvent((event) => this.#onEvent(event));
  }

  /** Calls without an answer yet. */
  get pending(): number {
    return this.#calls.size;
  }

  /**
   * Sends a request. `done` is called once, never before `call` returns.
   * @param method - a number below 2^32, or a name of 1 to 255 ASCII characters
   * @param timeoutMs - on the injected clock; kept to within 5 ms
   */
  call(
    to: Address,
    method: Method,
    body: Uint8Array,
    timeoutMs: number,
    done: (result: RpcResult) => void,
  ): void {
    this.stats.calls++;
    const number = this.#nextNumber();
    const sent = this.#transport.send(to, "request", encodeRequest(this.#tag, number, method, body));
    if (sent !== "queued") {
      const reason = sent === "window_full" ? "too_busy" : sent;
      this.#clock.soon(() => this.#fail(done, reason, false));
      return;
    }
    const deadlineMs = this.#clock.nowMs() + timeoutMs;
    this.#calls.set(number, { to, deadlineMs, done });
    if (deadlineMs < this.#timerAtMs) this.#setTimer(deadlineMs);
  }

  /** Answers requests for `method`. */
  serve(method: Method, handler: RpcHandler): void {
    invariant(!this.#handlers.has(method), `one handler a method: ${method}`);
    this.#handlers.set(method, handler);
  }

  /** Fails what is pending. Later calls fail when the transport is closed. */
  close(): void {
    this.#cancelTimer();
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    this.#failAll("disconnected", () => true);
  }

  #nextNumber(): number {
    do this.#number = (this.#number + 1) >>> 0;
    while (this.#calls.has(this.#number));
    return this.#number;
  }

  #onRequest(from: Sender, message: Uint8Array): void {
    const request = decodeRequest(message);
    if (request === undefined) {
      this.#malformed(from);
      return;
    }
    const handler = this.#handlers.get(request.method);
    let open = true;
    const respond = (status: number, body: Uint8Array): void => {
      if (!open) return;
      open = false;
      // To another process at that address the answer would mean nothing.
      const boot = this.#boots.get(from.address);
      if (boot !== undefined && boot !== from.boot) return;
      const response = encodeResponse(request.tag, request.number, status, body);
      const sent = this.#answers.send(from.address, response);
      if (sent === "queued") return;
      this.stats.responsesLost++;
      if (sent !== "window_full") return;
      const busy = encodeResponse(request.tag, request.number, statusBusy, nothing);
      this.#transport.send(from.address, "response", busy, "urgent");
    };
    if (handler === undefined) {
      this.stats.unservedRequests++;
      respond(statusUnserved, nothing);
      return;
    }
    this.stats.served++;
    handler(from, request.body, (body) => respond(statusServed, body));
  }

  #onResponse(from: Sender, message: Uint8Array): void {
    if (message.length <= idBytes) {
      this.#malformed(from);
      return;
    }
    const bytes = asBuffer(message);
    const number = bytes.readUInt32LE(4);
    const call = this.#calls.get(number);
    if (bytes.readUInt32LE(0) !== this.#tag || call === undefined || call.to !== from.address) {
      this.stats.unknownResponses++;
      return;
    }
    this.#calls.delete(number);
    if (bytes[idBytes] === statusServed) {
      this.stats.answered++;
      call.done({ ok: true, body: plainView(bytes, idBytes + 1, bytes.length - idBytes - 1) });
    } else {
      this.#fail(call.done, bytes[idBytes] === statusBusy ? "too_busy" : "unreachable", true);
    }
  }

  #onEvent(event: TransportEvent): void {
    if (event.kind === "peer_absent") {
      this.#breakWith("unreachable", (to) => to === event.address);
    } else if (event.kind === "disconnected") {
      // Answers that were under way are lost; calls to this very node are not.
      this.#breakWith("disconnected", (to) => to !== this.#transport.self);
    } else if (event.kind === "peer_reconnected") {
      // Sent into the gap, or the answer was: better asked again now than waited for.
      this.#breakWith("disconnected", (to) => to === event.address);
    } else if (event.kind === "peer_up") {
      const { address, boot } = event.peer;
      const before = this.#boots.get(address);
      this.#remember(address, boot);
      if (before !== undefined && before !== boot) this.#breakWith("unreachable", (to) => to === address);
    }
  }

  /** Neither calls to these peers nor answers to theirs are waited for any more. */
  #breakWith(reason: RpcFailure, which: (to: Address) => boolean): void {
    this.stats.responsesLost += this.#answers.forget(which);
    this.#failAll(reason, which);
  }

  /** Routers come under ever new addresses: the oldest go. */
  #remember(address: Address, boot: BootId): void {
    this.#boots.delete(address);
    this.#boots.set(address, boot);
    if (this.#boots.size <= bootsMax) return;
    for (const oldest of this.#boots.keys()) {
      this.#boots.delete(oldest);
      return;
    }
  }

  #failAll(reason: RpcFailure, which: (to: Address) => boolean): void {
    const failing: Call[] = [];
    for (const [number, call] of this.#calls) {
      if (!which(call.to)) continue;
      this.#calls.delete(number);
      failing.push(call);
    }
    for (const call of failing) this.#fail(call.done, reason, true);
  }

  #fail(done: (result: RpcResult) => void, reason: RpcFailure, sent: boolean): void {
    this.stats.failed[reason]++;
    try {
      done({ ok: false, reason, sent });
    } catch (error) {
      this.#logger.error({ err: error, reason }, "a call's callback threw");
    }
  }

  #malformed(from: Sender): void {
    this.stats.malformed++;
    this.#logger.warn({ from: from.address, total: this.stats.malformed }, "dropped a malformed call");
  }

  /**
   * The timer stands at or before the earliest deadline. Calls that are answered leave it where it is: it
   * then finds nothing due and moves on, about once per timeout rather than once per call.
   */
  #setTimer(deadlineMs: number): void {
    this.#cancelTimer();
    const nowMs = this.#clock.nowMs();
    const delayMs = Math.max(deadlineStepMs, deadlineMs - nowMs);
    this.#timerAtMs = nowMs + delayMs;
    this.#cancelTimer = this.#clock.after(delayMs, () => this.#onTimer());
  }

  #onTimer(): void {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    // Answers that wait in the socket after a stall are read first (R15).
    this.#clock.soon(() => this.#expire());
  }

  #expire(): void {
    const nowMs = this.#clock.nowMs();
    const due: Call[] = [];
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const [number, call] of this.#calls) {
      if (call.deadlineMs <= nowMs) {
        this.#calls.delete(number);
        due.push(call);
      } else if (call.deadlineMs < earliestMs) earliestMs = call.deadlineMs;
    }
    if (earliestMs < this.#timerAtMs) this.#setTimer(earliestMs);
    for (const call of due) this.#fail(call.done, "timeout", true);
  }
}

const nothing = new Uint8Array(0);

/** FNV-1a: 32 bits that differ between two processes of a node, but for one case in four billion. */
function tagOf(boot: BootId): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < boot.length; i++) hash = Math.imul(hash ^ boot.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

function encodeRequest(tag: number, number: number, method: Method, body: Uint8Array): Uint8Array {
  const methodBytes = typeof method === "number" ? 5 : 1 + method.length;
  const bytes = Buffer.allocUnsafe(idBytes + methodBytes + body.length);
  bytes.writeUInt32LE(tag, 0);
  bytes.writeUInt32LE(number, 4);
  if (typeof method === "number") {
    bytes[idBytes] = 0;
    bytes.writeUInt32LE(method, idBytes + 1);
  } else {
    invariant(method.length > 0 && method.length < 256, "a method's name has 1 to 255 characters");
    bytes[idBytes] = method.length;
    bytes.write(method, idBytes + 1, "latin1");
  }
  bytes.set(body, idBytes + methodBytes);
  return bytes;
}

interface Request {
  readonly tag: number;
  readonly number: number;
  readonly method: Method;
  readonly body: Uint8Array;
}

function decodeRequest(message: Uint8Array): Request | undefined {
  const bytes = asBuffer(message);
  const length = bytes[idBytes];
  if (length === undefined) return undefined;
  const bodyStart = idBytes + 1 + (length === 0 ? 4 : length);
  if (bytes.length < bodyStart) return undefined;
  const method =
    length === 0 ? bytes.readUInt32LE(idBytes + 1) : bytes.toString("latin1", idBytes + 1, bodyStart);
  const body = plainView(bytes, bodyStart, bytes.length - bodyStart);
  return { tag: bytes.readUInt32LE(0), number: bytes.readUInt32LE(4), method, body };
}

/** Returns the request's id with the answer. */
function encodeResponse(tag: number, number: number, status: number, body: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(idBytes + 1 + body.length);
  bytes.writeUInt32LE(tag, 0);
  bytes.writeUInt32LE(number, 4);
  bytes[idBytes] = status;
  bytes.set(body, idBytes + 1);
  return bytes;
}
