/** Given by placement, never reused. */
export type NodeId = number;
/** A Raft group: 0 is placement's, every other one is the shard of the same number. Never reused. */
export type GroupId = number;
/** A replica of one group; never reused within it (R1, R34). 0: none. */
export type ReplicaId = number;
/** 32 lower-case hex digits, drawn at bootstrap. */
export type ClusterId = string;
/** Drawn at each start of a process: 12 lower-case hex digits. */
export type BootId = string;
/** Where packets go: a node id in decimal, or `x` and hex for a joiner or a stateless router. */
export type Address = string;

export const placementGroup: GroupId = 0;

export function addressOf(node: NodeId): Address {
  return String(node);
}

/** The node behind an address; undefined for a joiner's or a router's. */
export function nodeOf(address: Address): NodeId | undefined {
  return /^[1-9]\d{0,14}$/.test(address) ? Number(address) : undefined;
}

/** Cluster, node and keyspace names. */
export function isName(text: string): boolean {
  return /^[a-z0-9][a-z0-9_-]{0,62}$/.test(text);
}
