import { defaultSettings, type GroupId, type LeadReport, type NodeId, noBytes, type Settings } from "#proto";
import type { GroupModel, Model, NodeModel } from "../model.ts";
import { emptyState, type NodeRow, type OperationRow } from "../state.ts";

/** Models made by hand, for tables of what checkers say. @module */

export interface ShardWish {
  readonly id: GroupId;
  /** The leader's first. */
  readonly on: readonly NodeId[];
  readonly bytes?: number;
  readonly rate?: number;
  readonly slots?: number;
}

/** Settled nodes 1 to `nodes`, and shards all of whose replicas have caught up. */
export function modelOf(
  nodes: number,
  shards: readonly ShardWish[],
  parts: { readonly settings?: Partial<Settings>; readonly operations?: readonly OperationRow[] } = {},
): Model {
  const state = emptyState();
  state.settings = { ...defaultSettings, ...parts.settings };
  for (const row of parts.operations ?? []) state.operations.set(row.id, row);
  const ids = Array.from({ length: nodes }, (_, i) => i + 1);
  return {
    nowMs: 1e6,
    wallMicros: 1e12,
    self: 1,
    settings: state.settings,
    state,
    warm: true,
    nodes: new Map(ids.map((id) => [id, nodeOf(id)])),
    shards: new Map(shards.map((wish) => [wish.id, groupOf(wish)])),
    placement: groupOf({ id: 0, on: ids.slice(0, 1) }),
  };
}

/** A running one on shard 1, begun at 0. */
export function operationOf(parts: Pick<OperationRow, "kind"> & Partial<OperationRow>): OperationRow {
  return {
    id: 5,
    group: 1,
    reason: "",
    steps: [],
    at: 0,
    stepStartedMicros: 0,
    state: "running",
    startedMicros: 0,
    ...parts,
  };
}

function nodeOf(id: NodeId): NodeModel {
  const row: NodeRow = {
    id,
    name: `n${id}`,
    http: "",
    labels: {},
    startLabels: {},
    weight: 1,
    membership: "active",
    nonce: "",
    joinedMicros: 0,
    version: "",
  };
  return { row, liveness: "up", clockBad: false, usable: true, settled: true };
}

function groupOf({ id, on, bytes = 0, rate = 0, slots = 0 }: ShardWish): GroupModel {
  const replicas = on.map((nodeId) => ({ replicaId: id * 10 + nodeId, nodeId, role: "voter" as const }));
  const [nodeId = 1] = on;
  const descriptor = {
    id,
    keyspace: 1,
    start: noBytes,
    end: noBytes,
    epoch: { version: 1, confVersion: 1 },
    replicas,
  };
  const lead: LeadReport = {
    descriptor,
    peers: replicas
      .slice(1)
      .map((r) => ({ replicaId: r.replicaId, lag: 0, active: true, state: "Replicate" })),
    bytes,
    keys: 0,
    writesPerSecond: rate,
    readsPerSecond: 0,
    rooted: true,
  };
  const partition = slots > 0 ? ("hash" as const) : ("range" as const);
  return {
    id,
    descriptor,
    keyspace: { id: 1, name: "default", partition, slots, replicas: on.length },
    leader: { nodeId, replicaId: id * 10 + nodeId, term: 6 },
    lead,
    present: new Set(replicas.map((r) => r.replicaId)),
    health: "healthy",
  };
}
