import { type GroupId, type NodeId, nodeOf } from "#proto";
import type { Message } from "#raft/core";
import type { Sender, TransportEvent } from "#transport";
import { EarlyVotes } from "./early-votes.ts";
import type { Failover } from "./failover.ts";
import { onFarewellAnswer } from "./farewell.ts";
import type { Group } from "./group.ts";
import { decodeBeat } from "./liveness.ts";
import type { Replicas } from "./replicas.ts";
import type { Shared } from "./shared.ts";
import { sleepIfAgreed, wakeForMessage } from "./sleep.ts";
import type { SnapshotReceiver } from "./snapshot-receive.ts";
import type { SnapshotSender } from "./snapshot-send.ts";
import { type BulkMessage, decodeBulk } from "./snapshot-wire.ts";
import { decodeMessages, type SleepMark } from "./wire.ts";

interface Incoming {
  readonly sender: Sender;
  readonly node: NodeId;
  readonly group: GroupId;
  readonly message: Message;
  readonly sleep: SleepMark;
}

/** Whom what arrives is for. */
export interface InboxParts {
  readonly replicas: Replicas;
  readonly failover: Failover;
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
}

/**
 * What arrives from other nodes. Bytes that cannot be read throw back to the transport, which counts them and
 * names their sender; anything else that goes wrong here is this node's own and stops it (R11). Raft messages
 * wait for the next turn to be stepped.
 */
export class Inbox {
  readonly #shared: Shared;
  readonly #parts: InboxParts;
  readonly #earlyVotes: EarlyVotes<Incoming> = new EarlyVotes();
  #waiting: Incoming[] = [];

  constructor(shared: Shared, parts: InboxParts) {
    this.#shared = shared;
    this.#parts = parts;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Registers with the transport. */
  open(): void {
    const shared = this.#shared;
    const { transport } = shared.options;
    transport.handle("raft", (sender, body) => {
      const node = nodeOf(sender.address);
      if (shared.stopped || node === undefined) return;
      for (const received of decodeMessages(body)) this.#waiting.push({ sender, node, ...received });
      shared.schedule();
    });
    transport.handle("bulk", (sender, body) => {
      const node = nodeOf(sender.address);
      if (shared.stopped || node === undefined) return;
      const bulk = decodeBulk(body);
      shared.guarded(() => this.#onBulk(sender, node, bulk));
    });
    transport.onHeartbeat((sender, body) => {
      const node = nodeOf(sender.address);
      if (node !== undefined) shared.liveness.onBeat(node, decodeBeat(body));
    });
    transport.onEvent((event) => shared.guarded(() => this.#onEvent(event)));
  }

  clear(): void {
    this.#waiting = [];
  }

  /** A split's child is open here: the votes that came before it count (R5). */
  onBorn({ group, replica }: Group): void {
    this.#waiting.push(...this.#earlyVotes.take(group, replica, this.#shared.nowMs()));
  }

  /** In a turn: steps what waits. */
  stepAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const incoming of waiting) this.#step(incoming);
  }

  #step(incoming: Incoming): void {
    const { sender, node, group: id, message, sleep } = incoming;
    const shared = this.#shared;
    const { replicas, receiver } = this.#parts;
    const group = replicas.forMessage(id, message.from, message.to, node, message.kind);
    if (group === undefined || group.installing) {
      // Nobody will take what is staged.
      if (message.kind === "snapshot" && group === undefined) receiver.discard(id);
      if (group === undefined) this.#earlyVotes.keep(incoming, shared.nowMs());
      return;
    }
    if (group.farewells.size > 0) onFarewellAnswer(shared, group, message);
    wakeForMessage(shared, group, message, sleep);
    group.core.step({ kind: "message", message, nowMs: shared.nowMs() });
    const { leader, term } = group.core;
    if (leader === message.from && term === message.term) group.leaderBoot = sender.boot;
    // Refused by the core: its log is ahead of the snapshot already.
    if (message.kind === "snapshot" && !group.core.hasPendingSnapshot) receiver.unwanted(id);
    if (sleep === "ask") sleepIfAgreed(shared, group, message);
    shared.markDirty(group);
  }

  #onBulk(sender: Sender, node: NodeId, bulk: BulkMessage): void {
    const { replicas, receiver } = this.#parts;
    if (bulk.kind !== "chunk") return this.#parts.sender.onMessage(bulk);
    const group = replicas.forMessage(bulk.group, bulk.from, bulk.to, node, "snapshot");
    if (group === undefined) return;
    const message = receiver.onChunk(group, node, bulk, this.#shared.nowMs());
    if (message === undefined) return;
    this.#waiting.push({ sender, node, group: bulk.group, message, sleep: "none" });
    this.#shared.schedule();
  }

  #onEvent(event: TransportEvent): void {
    const { failover } = this.#parts;
    if (event.kind === "disconnected") return;
    if (event.kind === "connected") return this.#probe(() => true);
    if (event.kind === "peer_reconnected") return this.#probe((node) => node === nodeOf(event.address));
    if (event.kind === "peer_absent") {
      const lost = this.#shared.liveness.absent(event.address);
      if (lost !== undefined) failover.nodeLost(lost, "absent");
      return;
    }
    const node = nodeOf(event.peer.address);
    if (node !== undefined) failover.nodeRestarted(node, event.peer.boot);
  }

  /** Every reconnect, our own or a peer's, counts as loss: what was under way is probed for again. */
  #probe(isHit: (node: NodeId | undefined) => boolean): void {
    for (const group of this.#shared.awake) {
      if (group.core.role !== "leader") continue;
      for (const id of group.members()) {
        if (id !== group.replica && isHit(group.nodeOf(id)))
          group.core.step({ kind: "reportUnreachable", id });
      }
    }
  }
}
