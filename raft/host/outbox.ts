import { addressOf, type GroupId, type NodeId } from "#proto";
import type { Message } from "#raft/core";
import type { Priority, Transport } from "#transport";
import { encodeMessages, messageFields, type SleepMark } from "./wire.ts";

interface Lane {
  fields: unknown[][];
  bytes: number;
  /** Whom to tell when it could not be sent. */
  messages: { readonly group: GroupId; readonly message: Message }[];
}

/** A body never grows beyond this before another is begun. */
const bodyBytesMax = 4 * 1024 * 1024;

/**
 * Gathers the Raft messages of a turn by destination node: one body each for what may wait behind the byte
 * window and for what must not (R28).
 */
export class Outbox {
  readonly #transport: Transport;
  readonly #lanes: Map<NodeId, Record<Priority, Lane>> = new Map();
  /** A message that carries entries or a snapshot and was dropped here: its progress must probe. */
  readonly #onDropped: (group: GroupId, message: Message) => void;
  #sent = 0;

  constructor(transport: Transport, onDropped: (group: GroupId, message: Message) => void) {
    this.#transport = transport;
    this.#onDropped = onDropped;
  }

  /** Messages handed to the transport since the start. */
  get sent(): number {
    return this.#sent;
  }

  add(node: NodeId, group: GroupId, message: Message, sleep: SleepMark = "none"): void {
    const priority: Priority =
      message.entries !== undefined && message.entries.length > 0 ? "normal" : "urgent";
    let lanes = this.#lanes.get(node);
    if (lanes === undefined) {
      lanes = { normal: emptyLane(), urgent: emptyLane() };
      this.#lanes.set(node, lanes);
    }
    const lane = lanes[priority];
    const bytes = bytesOf(message);
    // Before, not after: one large message more could make a body that the transport does not take.
    if (lane.fields.length > 0 && lane.bytes + bytes > bodyBytesMax) this.#send(node, lane, priority);
    lane.fields.push(messageFields(group, message, sleep));
    lane.messages.push({ group, message });
    lane.bytes += bytes;
  }

  /** Hands everything to the transport; it leaves with the transport's next flush. */
  flush(): boolean {
    let any = false;
    for (const [node, lanes] of this.#lanes) {
      // Urgent first: a vote or an acknowledgement must not wait behind megabytes of entries.
      for (const priority of ["urgent", "normal"] as const) {
        if (lanes[priority].fields.length === 0) continue;
        this.#send(node, lanes[priority], priority);
        any = true;
      }
    }
    return any;
  }

  #send(node: NodeId, lane: Lane, priority: Priority): void {
    const { fields, messages } = lane;
    lane.fields = [];
    lane.messages = [];
    lane.bytes = 0;
    const result = this.#transport.send(addressOf(node), "raft", encodeMessages(fields), priority);
    if (result === "queued") this.#sent += messages.length;
    else if (priority === "normal")
      for (const { group, message } of messages) this.#onDropped(group, message);
  }
}

function emptyLane(): Lane {
  return { fields: [], bytes: 0, messages: [] };
}

function bytesOf(message: Message): number {
  let bytes = 64;
  if (message.entries !== undefined) for (const entry of message.entries) bytes += entry.data.length + 16;
  return bytes;
}
