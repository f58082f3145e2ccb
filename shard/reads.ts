import { dataKey, decodeReadRequest, encodeReadResponse, type ReadRequest, type ReadResult } from "#proto";
import type { GroupHost, ReadOutcome } from "#raft/host";
import type { Engine } from "#storage";
import type { LocalShards, ReadyShard } from "./shards.ts";
import { decodeValueRow } from "./value-row.ts";

type Done = (result: ReadResult) => void;

/**
 * Answers routers' reads from the replica at hand: `linearizable` by ReadIndex on leader or follower,
 * `leader` under the lease, `stale` at once with an upper bound of staleness (R17–R19).
 */
export class ReadDoor {
  readonly #host: GroupHost;
  readonly #engine: Engine;
  readonly #shards: LocalShards;

  constructor(host: GroupHost, engine: Engine, shards: LocalShards) {
    this.#host = host;
    this.#engine = engine;
    this.#shards = shards;
  }

  /** @throws ProtocolError when the request cannot be read: there is nobody to answer then */
  handle(body: Uint8Array, reply: (body: Uint8Array) => void): void {
    const request = decodeReadRequest(body);
    const shard = this.#shards.get(request.shard);
    if (shard === undefined) {
      // A shard that went into its neighbour has that one in its place.
      const holder = this.#shards.newHolderOf(request);
      const result: ReadResult =
        holder === undefined ? { kind: "no_replica" } : { kind: "epoch_mismatch", current: [holder] };
      reply(encodeReadResponse({ clockMicros: 0, result }));
      return;
    }
    const { machine } = shard;
    this.#read(request, shard, (result) => {
      if (result.kind === "found" || result.kind === "absent") {
        shard.reads.add();
        shard.sample.note(request.key);
      }
      reply(encodeReadResponse({ clockMicros: machine.clockMicros, result }));
    });
  }

  #read(request: ReadRequest, shard: ReadyShard, done: Done): void {
    const stale = request.consistency === "stale" ? this.#host.stalenessMs(request.shard) : undefined;
    if (stale !== undefined) done(this.#readStale(request, shard, stale));
    else this.#readConfirmed(request, shard, done);
  }

  #readStale(request: ReadRequest, shard: ReadyShard, stalenessMs: number): ReadResult {
    const { maxStalenessMs, minRevision = 0 } = request;
    if (maxStalenessMs !== undefined && stalenessMs > maxStalenessMs) return { kind: "too_stale" };
    if (minRevision > shard.machine.clockMicros) return { kind: "too_stale" };
    return this.#get(request, shard, stalenessMs);
  }

  /** R19: a stale read of a replica that does not know how stale it is goes this way too, staleness 0. */
  #readConfirmed(request: ReadRequest, shard: ReadyShard, done: Done): void {
    const { shard: group, consistency, timeoutMs } = request;
    const { isLeader, leaderNode } = shard.machine.leadership;
    if (consistency === "leader" && !isLeader) {
      done(notLeader(leaderNode));
      return;
    }
    // A version above ours may be that of a split not yet applied here; it will be when the read is ready.
    if (request.version < shard.descriptor.epoch.version) {
      done(this.#get(request, shard, undefined));
      return;
    }
    this.#host.read(group, { lease: consistency === "leader", timeoutMs }, (outcome) => {
      if (outcome.kind === "refused") done(resultOf(outcome));
      else done(this.#get(request, shard, consistency === "stale" ? 0 : undefined));
    });
  }

  /** R18: whether the key is this shard's is asked at the applied state, after the wait. */
  #get(request: ReadRequest, { machine }: ReadyShard, stalenessMs: number | undefined): ReadResult {
    const { version, keyspace, key } = request;
    if (machine.descriptor === undefined) return { kind: "no_replica" };
    const current = machine.mismatch(version, keyspace, key);
    if (current !== undefined) return { kind: "epoch_mismatch", current };
    const row = this.#engine.get("data", dataKey(keyspace, key));
    const staleness = stalenessMs === undefined ? {} : { stalenessMs };
    if (row === undefined) return { kind: "absent", ...staleness };
    return { kind: "found", stored: decodeValueRow(row), ...staleness };
  }
}

function resultOf(outcome: Exclude<ReadOutcome, { kind: "ready" }>): ReadResult {
  switch (outcome.reason) {
    case "no_replica":
      return { kind: "no_replica" };
    case "timeout":
      return { kind: "timeout" };
    default:
      return notLeader(outcome.leaderNode);
  }
}

function notLeader(leader: number | undefined): ReadResult {
  return leader === undefined ? { kind: "not_leader" } : { kind: "not_leader", leader };
}
