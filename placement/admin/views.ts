import { hexOf, type KeyspaceDescriptor, type ReplicaDescriptor } from "#proto";
import type { PlacementEvent } from "../events.ts";
import { type GroupModel, type Model, type NodeModel, nameOf } from "../model.ts";
import { groupOf } from "../plan/operations.ts";
import type { OperationRow } from "../state.ts";
import { canLose } from "./can-lose.ts";
import { isoOf } from "./iso.ts";

type Json = Readonly<Record<string, unknown>>;

export function clusterView(model: Model): Json {
  const { state, placement } = model;
  const nodes = [...model.nodes.values()];
  const shards = [...model.shards.values()];
  const live = (liveness: string): number => nodes.filter((node) => node.liveness === liveness).length;
  const health = (kind: string): number => shards.filter((shard) => shard.health === kind).length;
  return {
    cluster: state.cluster?.name ?? null,
    cluster_id: state.cluster?.id ?? null,
    version: state.cluster?.version ?? null,
    placement: {
      leader:
        placement.leader === undefined ? nameOf(model, model.self) : nameOf(model, placement.leader.nodeId),
      term: placement.leader?.term ?? null,
      members: placement.descriptor.replicas.map((r) => nameOf(model, r.nodeId)),
    },
    nodes: {
      up: live("up"),
      suspect: live("suspect"),
      down: live("down"),
      draining: nodes.filter((node) => node.row.membership === "draining").length,
    },
    shards: {
      total: shards.length,
      healthy: health("healthy"),
      under_replicated: health("under_replicated"),
      leaderless: health("leaderless"),
    },
    can_lose: canLose(model),
    config: state.settings,
  };
}

export function nodeView(model: Model, node: NodeModel): Json {
  const { row, heard, liveness } = node;
  const groups = [...model.shards.values()];
  return {
    name: row.name,
    id: row.id,
    state: row.membership === "active" ? liveness : row.membership,
    liveness,
    membership: row.membership,
    http: heard?.info.http ?? row.http,
    pid: heard?.info.pid ?? null,
    labels: row.labels,
    weight: row.weight,
    version: heard?.info.version ?? row.version,
    replicas: groups.filter((g) => g.descriptor.replicas.some((r) => r.nodeId === row.id)).length,
    leaders: groups.filter((g) => g.leader?.nodeId === row.id).length,
    bytes: heard?.bytes ?? null,
    disk_free_bytes: heard?.diskFreeBytes ?? null,
    heartbeat_age_ms: heard === undefined ? null : Math.round(model.nowMs - heard.lastHeardMs),
    fsync_p99_ms: heard?.fsyncP99Ms ?? null,
    started_at: heard === undefined ? null : isoOf(heard.info.startedAtMs * 1000),
    joined_at: isoOf(row.joinedMicros),
    clock_off: node.clockBad,
  };
}

export function shardView(model: Model, shard: GroupModel): Json {
  const { descriptor, lead, leader } = shard;
  return {
    id: descriptor.id,
    keyspace: shard.keyspace?.name ?? null,
    start: hexOf(descriptor.start),
    end: hexOf(descriptor.end),
    epoch: epochView(shard),
    replicas: descriptor.replicas.map((replica) => replicaView(model, shard, replica)),
    leader: leader === undefined ? null : nameOf(model, leader.nodeId),
    term: leader?.term ?? null,
    bytes: lead?.bytes ?? null,
    keys: lead?.keys ?? null,
    writes_per_s: lead?.writesPerSecond ?? null,
    reads_per_s: lead?.readsPerSecond ?? null,
    health: shard.health,
    ...(shard.operation === undefined ? {} : { operation: String(shard.operation.id) }),
  };
}

function epochView({ descriptor: { epoch } }: GroupModel): Json {
  return { version: epoch.version, conf_version: epoch.confVersion };
}

function replicaView(model: Model, shard: GroupModel, replica: ReplicaDescriptor): Json {
  const peer = shard.lead?.peers.find((p) => p.replicaId === replica.replicaId);
  const leads = shard.leader?.replicaId === replica.replicaId;
  return {
    node: nameOf(model, replica.nodeId),
    replica_id: replica.replicaId,
    role: replica.role === "learner" ? "learner" : "voter",
    match_lag: leads ? 0 : (peer?.lag ?? null),
    state: replicaState(shard, replica, leads, peer?.state),
  };
}

function replicaState(
  shard: GroupModel,
  replica: ReplicaDescriptor,
  leads: boolean,
  progress: string | undefined,
): string {
  if (!shard.present.has(replica.replicaId)) return shard.birth === undefined ? "missing" : "creating";
  if (leads) return "leader";
  if (replica.role === "incoming") return "joining";
  if (replica.role === "outgoing") return "leaving";
  if (progress === "Snapshot") return "snapshot";
  return progress === "Probe" ? "catching_up" : "follower";
}

export function locateView(model: Model, shard: GroupModel): Json {
  return {
    shard: shard.id,
    leader: shard.leader === undefined ? null : nameOf(model, shard.leader.nodeId),
    replicas: shard.descriptor.replicas.map((r) => nameOf(model, r.nodeId)),
    epoch: epochView(shard),
  };
}

export function keyspaceView(model: Model, keyspace: KeyspaceDescriptor): Json {
  return {
    name: keyspace.name,
    partition: keyspace.partition,
    ...(keyspace.partition === "hash" ? { slots: keyspace.slots } : {}),
    shards: [...model.shards.values()].filter((s) => s.descriptor.keyspace === keyspace.id).length,
    replicas: keyspace.replicas,
  };
}

/** A guess for the rest of a step, ms: what such steps take when nothing is in the way. */
const stepEtaMs = { transfer: 500, conf: 1_000, caughtUp: 5_000 } as const;

export function operationView(model: Model, row: OperationRow): Json {
  const total = row.steps.length;
  const running = row.state === "running";
  const etaMs = row.steps.slice(row.at).reduce((sum, step) => sum + stepEtaMs[step.kind], 0);
  const blockedBy = running ? blockedOn(model, row) : undefined;
  return {
    id: String(row.id),
    kind: row.kind,
    ...(row.group === 0 ? {} : { shard: row.group }),
    state: row.state,
    progress: total === 0 ? 1 : row.at / total,
    eta_ms: running ? etaMs : 0,
    steps_done: row.at,
    steps_total: total,
    reason: row.reason,
    ...(row.detail === undefined ? {} : { detail: row.detail }),
    ...(blockedBy === undefined ? {} : { blocked_by: blockedBy }),
    started_at: isoOf(row.startedMicros),
    ...(row.finishedMicros === undefined ? {} : { finished_at: isoOf(row.finishedMicros) }),
  };
}

function blockedOn(model: Model, row: OperationRow): string | undefined {
  const group = groupOf(model, row);
  if (group?.leader === undefined) return "the group has no leader";
  const step = row.steps[row.at];
  if (step?.kind !== "caughtUp") return undefined;
  const behind = step.replicas.flatMap((id) => {
    const replica = group.descriptor.replicas.find((r) => r.replicaId === id);
    return replica === undefined ? [] : [nameOf(model, replica.nodeId)];
  });
  return `waits until ${behind.join(", ")} have the leader's log`;
}

export function eventView(model: Model, event: PlacementEvent): Json {
  return {
    id: event.id,
    at: isoOf(event.atMicros),
    kind: event.kind,
    reason: event.reason,
    ...(event.shard === undefined ? {} : { shard: event.shard }),
    ...(event.node === undefined ? {} : { node: nameOf(model, event.node) }),
  };
}
