import {
  decodeWriteResponse,
  encodeCommand,
  encodeWriteRequest,
  type GroupId,
  type NodeId,
  type ShardDescriptor,
  type WriteResult,
} from "#proto";
import { rigCommand } from "../rig.ts";
import { ShardCluster } from "./cluster.ts";

const farMicros = 2 ** 52;

/** Four nodes for shards that split and merge: who leads is chosen, writes go to whoever does. */
export class Scene {
  readonly cluster: ShardCluster;
  /** Of the last attempt. */
  sequence = 0;

  constructor(seed: number, compactLogBytes: number) {
    this.cluster = new ShardCluster({
      seed,
      nodes: 4,
      limits: {
        compactLogBytes,
        compactCapBytes: 3 * compactLogBytes,
        sliceRows: 2,
        snapshotChunkBytes: 300,
      },
    });
  }

  lead(group: GroupId, node: NodeId): void {
    const { cluster } = this;
    cluster.until(`node ${node} leads ${group}`, () => {
      const leader = cluster.leaderOf(group);
      if (leader === node || leader === undefined) return leader === node;
      const replica = this.shard(group).replicas.find((r) => r.nodeId === node)?.replicaId ?? 0;
      const { host } = cluster.node(leader);
      if (host.view(group)?.commit === host.view(group)?.applied) host.transferLeader(group, replica);
      cluster.run(20);
      return false;
    });
  }

  shard(group: GroupId): ShardDescriptor {
    const leader = this.cluster.leaderOf(group) ?? 0;
    const shard = this.cluster.machine(leader, group)?.descriptor ?? this.cluster.descriptors().get(group);
    if (shard === undefined) throw new Error(`no shard ${group}`);
    return shard;
  }

  command(key: string, value: string, sequence: number, version: number): Uint8Array {
    return encodeCommand(
      rigCommand({
        key: Buffer.from(key),
        version,
        operation: { kind: "put", value: Buffer.from(value), contentType: "" },
        attempt: { sequence, lowestUnanswered: 1, deadlineMicros: farMicros },
      }),
    );
  }

  /** @param again - the sequence of an earlier attempt that is made once more */
  put(group: GroupId, key: string, value: string, again?: number): WriteResult {
    const { cluster } = this;
    if (again === undefined) this.sequence += 1;
    const sequence = again ?? this.sequence;
    let result: WriteResult | undefined;
    cluster.until("an answer", () => {
      if (result !== undefined) return true;
      const version = this.shard(group).epoch.version;
      const body = encodeWriteRequest({ shard: group, command: this.command(key, value, sequence, version) });
      cluster.write(cluster.leaderOf(group) ?? 0, body, (answer) => {
        const { result: said } = decodeWriteResponse(answer);
        if (said.kind !== "not_leader") result = said;
      });
      cluster.run(result === undefined ? 20 : 0);
      return result !== undefined;
    });
    if (result === undefined) throw new Error(`no answer for ${key}`);
    return result;
  }
}
