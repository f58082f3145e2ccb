/** What the admin API tells of a cluster, as far as tests ask. @module */
import type { HttpClient } from "./http.ts";

export interface ReplicaView {
  readonly node: string;
  readonly replica_id: number;
  readonly role: string;
  readonly match_lag: number | null;
  readonly state: string;
}

export interface ShardView {
  readonly id: number;
  readonly keyspace: string;
  /** Lower-case hex of the encoded key; empty is open. */
  readonly start: string;
  readonly end: string;
  readonly epoch: { readonly version: number; readonly conf_version: number };
  readonly replicas: readonly ReplicaView[];
  readonly leader: string | null;
  readonly term: number | null;
  readonly health: string;
}

export interface NodeView {
  readonly name: string;
  readonly id: number;
  readonly liveness: string;
  readonly pid: number;
  readonly leaders: number;
  readonly state: string;
  readonly replicas: number;
  readonly bytes: number | null;
}

export async function shardsOf(client: HttpClient): Promise<readonly ShardView[]> {
  const shards: ShardView[] = [];
  let query = "?limit=1000";
  for (;;) {
    const page = await client.json<{ items: ShardView[]; cursor: string | null }>(`/v1/admin/shards${query}`);
    shards.push(...page.items);
    if (page.cursor === null) return shards;
    query = `?limit=1000&cursor=${encodeURIComponent(page.cursor)}`;
  }
}

export async function nodesOf(client: HttpClient): Promise<readonly NodeView[]> {
  return (await client.json<{ items: NodeView[] }>("/v1/admin/nodes")).items;
}

/** Every shard has a leader and all its replicas, and all followers have the leader's whole log. */
export function isLevel(shards: readonly ShardView[]): boolean {
  return shards.every(
    (shard) =>
      shard.health === "healthy" &&
      shard.leader !== null &&
      shard.replicas.every((replica) => replica.match_lag === 0 && replica.role === "voter"),
  );
}

export function leadersPerNode(shards: readonly ShardView[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { leader } of shards) if (leader !== null) counts.set(leader, (counts.get(leader) ?? 0) + 1);
  return counts;
}

/** The node that leads most shards. */
export function busiestLeader(shards: readonly ShardView[]): string {
  const [first] = [...leadersPerNode(shards)].sort((a, b) => b[1] - a[1]);
  if (first === undefined) throw new Error("no shard has a leader");
  return first[0];
}
