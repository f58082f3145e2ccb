import {
  decodeCommand,
  decodeWriteRequest,
  encodeWriteResponse,
  type KvCommand,
  ProtocolError,
  type ShardDescriptor,
  type WriteRequest,
  type WriteResponse,
  type WriteResult,
} from "#proto";
import type { GroupHost, ProposeOutcome } from "#raft/host";
import type { LocalShard, LocalShards, ReadyShard } from "./shards.ts";

/** Live settings of the configuration that concern the service. */
export interface ShardSettings {
  readonly maxValueBytes: number;
  /** Bytes of writes proposed on this node and not yet decided. */
  readonly maxInflightBytes: number;
}

/** What of the node decides whether it takes writes now. */
export interface WriteGate {
  settings(): ShardSettings;
  /** R36. */
  nearlyFull(): boolean;
  /** Why this node proposes nothing in `shard` now (R25, R35); undefined: it does. */
  closedBecause(shard: ShardDescriptor): string | undefined;
}

/** The leader's door for routers' writes: all that can be refused is refused here, before the log (R12). */
export class WriteDoor {
  readonly #host: GroupHost;
  readonly #shards: LocalShards;
  readonly #gate: WriteGate;
  #inflightBytes = 0;

  constructor(host: GroupHost, shards: LocalShards, gate: WriteGate) {
    this.#host = host;
    this.#shards = shards;
    this.#gate = gate;
  }

  /** Bytes of commands proposed here and not yet decided. */
  get inflightBytes(): number {
    return this.#inflightBytes;
  }

  /** @throws ProtocolError when the request itself cannot be read: there is nobody to answer then */
  handle(body: Uint8Array, reply: (body: Uint8Array) => void): void {
    const request = decodeWriteRequest(body);
    const shard = this.#shards.get(request.shard);
    if (shard === undefined) {
      reply(encodeWriteResponse({ clockMicros: 0, result: this.#elsewhere(request) }));
      return;
    }
    const { machine } = shard;
    const refusal = this.#refusal(request, shard);
    if (refusal !== undefined) {
      reply(encodeWriteResponse({ clockMicros: machine.clockMicros, result: refusal }));
      return;
    }
    this.#propose(request, shard, (response) => reply(encodeWriteResponse(response)));
  }

  /** A shard that went into its neighbour has that one in its place, on the same nodes. */
  #elsewhere({ command }: WriteRequest): WriteResult {
    const decoded = commandOf(command);
    const holder = "kind" in decoded ? undefined : this.#shards.newHolderOf(decoded);
    return holder === undefined ? { kind: "no_replica" } : { kind: "epoch_mismatch", current: [holder] };
  }

  #propose(
    { shard: group, command }: WriteRequest,
    shard: LocalShard,
    done: (r: WriteResponse) => void,
  ): void {
    this.#inflightBytes += command.length;
    this.#host.propose(group, command, (outcome) => {
      this.#inflightBytes -= command.length;
      if (outcome.kind === "applied") {
        shard.writes.add();
        done(outcome.result as WriteResponse);
      } else {
        done({ clockMicros: shard.machine.clockMicros, result: resultOf(outcome) });
      }
    });
  }

  #refusal(request: WriteRequest, shard: ReadyShard): WriteResult | undefined {
    const { isLeader, leaderNode } = shard.machine.leadership;
    if (!isLeader) return notLeader(leaderNode);
    const command = commandOf(request.command);
    if ("kind" in command) return command;
    shard.sample.note(command.key);
    return (
      this.#misplaced(command, shard) ??
      this.#refusedByNode(command, shard.descriptor, request.command.length)
    );
  }

  /**
   * Only what is surely out of date: a version above ours may be that of a split which stands in the log,
   * unapplied; apply decides.
   */
  #misplaced({ version, keyspace, key }: KvCommand, shard: ReadyShard): WriteResult | undefined {
    const current = shard.machine.mismatch(version, keyspace, key);
    if (current === undefined || version > shard.descriptor.epoch.version) return undefined;
    return { kind: "epoch_mismatch", current };
  }

  #refusedByNode({ operation }: KvCommand, shard: ShardDescriptor, bytes: number): WriteResult | undefined {
    const closedBecause = this.#gate.closedBecause(shard);
    if (closedBecause !== undefined) return { kind: "not_now", detail: closedBecause };
    const { maxValueBytes, maxInflightBytes } = this.#gate.settings();
    if (operation.kind === "put") {
      if (operation.value.length > maxValueBytes)
        return { kind: "bad_command", detail: `a value of more than ${maxValueBytes} bytes` };
      if (this.#gate.nearlyFull()) return { kind: "storage_full" };
    }
    if (this.#inflightBytes > 0 && this.#inflightBytes + bytes > maxInflightBytes)
      return { kind: "too_busy", detail: "too many bytes of writes are in flight on the leader's node" };
    return undefined;
  }
}

function commandOf(bytes: Uint8Array): KvCommand | (WriteResult & { kind: "bad_command" }) {
  try {
    return decodeCommand(bytes);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { kind: "bad_command", detail: error.message };
  }
}

function resultOf(outcome: Exclude<ProposeOutcome, { kind: "applied" }>): WriteResult {
  if (outcome.kind !== "refused") return { kind: outcome.kind };
  switch (outcome.reason) {
    case "no_replica":
      return { kind: "no_replica" };
    case "stopped":
      return { kind: "not_now", detail: "the node is stopping" };
    case "uncommitted_limit":
      return { kind: "too_busy", detail: "too many bytes of the shard's log are uncommitted" };
    default:
      return notLeader(outcome.leaderNode);
  }
}

function notLeader(leader: number | undefined): WriteResult {
  return leader === undefined ? { kind: "not_leader" } : { kind: "not_leader", leader };
}
