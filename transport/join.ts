import type { Address } from "#proto";
import { invariant, type Logger } from "#runtime";
import { asBuffer, flagJoin, packetVersion, plainView } from "./packet.ts";
import { inboxSubject, joinAddress, packetSubject, sourceOf } from "./subjects.ts";
import type { Wire } from "./wire.ts";

export type JoinAnswer =
  | { readonly kind: "answer"; readonly from: Address; readonly body: Uint8Array }
  /** Nobody of a cluster of this name listens, says the network. */
  | { readonly kind: "nobody" };

/** `u8 version | u8 flags | u8 1 ask, 2 answer | u32 number of the question | body` */
const headerBytes = 7;
const ask = 1;
const answer = 2;

export interface JoinOptions {
  readonly clusterName: string;
  /** The member's address, or the random `x…` one of a joiner or a stateless router. */
  readonly self: Address;
  readonly wire: Wire;
  readonly logger: Logger;
}

/**
 * The questions of those who do not know the cluster id yet, and members' answers (R30): the one kind of
 * packet without a cluster id. Goes over the wire that a `Mesh` is built on later, or beside it; `close`
 * leaves the wire open.
 */
export class JoinExchange {
  /** Packets that could not be read. */
  malformed = 0;
  readonly #options: JoinOptions;
  readonly #asked = new Map<number, (answer: JoinAnswer) => void>();
  #questions = 0;
  #serving = false;
  readonly #stop: (() => void)[] = [];

  constructor(options: JoinOptions) {
    this.#options = options;
    const { clusterName, self, wire } = options;
    this.#stop.push(
      wire.subscribe(inboxSubject("main", clusterName, self), (subject, data, noResponders) =>
        this.#onInbox(subject, data, noResponders),
      ),
    );
  }

  /**
   * Asks all members at once; each may answer. Sent once: who hears nothing asks again.
   * @returns ends the wait for answers; undefined when disconnected, nothing was sent
   */
  ask(body: Uint8Array, onAnswer: (answer: JoinAnswer) => void): (() => void) | undefined {
    const { clusterName, self, wire } = this.#options;
    this.#questions = (this.#questions + 1) >>> 0;
    const number = this.#questions;
    const subject = packetSubject("main", clusterName, joinAddress, self);
    const reply = packetSubject("main", clusterName, self, joinAddress);
    if (!wire.publish(subject, encode(ask, number, body), reply)) return undefined;
    this.#asked.set(number, onAnswer);
    return () => {
      this.#asked.delete(number);
    };
  }

  /** Answers questions as a member. `reply` may be called later, or not at all. */
  serve(handler: (from: Address, body: Uint8Array, reply: (body: Uint8Array) => void) => void): void {
    invariant(!this.#serving, "one handler answers joiners");
    this.#serving = true;
    const { clusterName, self, wire } = this.#options;
    const onQuestion = (subject: string, data: Uint8Array): void => {
      const packet = decode(data);
      if (packet?.kind !== ask) {
        this.malformed++;
        return;
      }
      const from = sourceOf(subject);
      const reply = (body: Uint8Array): void => {
        wire.publish(packetSubject("main", clusterName, from, self), encode(answer, packet.number, body));
      };
      handler(from, packet.body, reply);
    };
    this.#stop.push(
      wire.subscribe(inboxSubject("main", clusterName, joinAddress), (subject, data) => {
        this.#guard(sourceOf(subject), () => onQuestion(subject, data));
      }),
    );
  }

  close(): void {
    for (const stop of this.#stop) stop();
    this.#stop.length = 0;
    this.#asked.clear();
  }

  #onInbox(subject: string, data: Uint8Array, noResponders: boolean): void {
    const from = sourceOf(subject);
    if (noResponders) {
      // It does not say which question it is about; nobody being there is true for all.
      if (from === joinAddress) this.#tellAll({ kind: "nobody" });
      return;
    }
    // The mesh of the same address listens to the same subject: its packets are no business of ours.
    if (((data[1] ?? 0) & flagJoin) === 0) return;
    const packet = decode(data);
    if (packet?.kind !== answer) {
      this.malformed++;
      return;
    }
    const onAnswer = this.#asked.get(packet.number);
    if (onAnswer === undefined) return;
    this.#guard(from, () => onAnswer({ kind: "answer", from, body: packet.body }));
  }

  #tellAll(told: JoinAnswer): void {
    for (const onAnswer of [...this.#asked.values()]) this.#guard(joinAddress, () => onAnswer(told));
  }

  #guard(from: Address, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#options.logger.error({ err: error, from }, "a join handler threw");
    }
  }
}

function encode(kind: number, number: number, body: Uint8Array): Buffer {
  const packet = Buffer.allocUnsafe(headerBytes + body.length);
  packet[0] = packetVersion;
  packet[1] = flagJoin;
  packet[2] = kind;
  packet.writeUInt32LE(number, 3);
  packet.set(body, headerBytes);
  return packet;
}

function decode(data: Uint8Array): { kind: number; number: number; body: Uint8Array } | undefined {
  const packet = asBuffer(data);
  if (packet.length < headerBytes || packet[0] !== packetVersion || packet[1] !== flagJoin) return undefined;
  return {
    kind: packet[2] ?? 0,
    number: packet.readUInt32LE(3),
    body: plainView(packet, headerBytes, packet.length - headerBytes),
  };
}
