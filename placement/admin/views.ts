import { hexOf, type KeyspaceDescriptor, type ReplicaDescriptor } from "#proto";
import type { PlacementEvent } from "../events.ts";
import { type GroupModel, type Model, type NodeModel, nameOf } from "../model.ts";
import { leftOf, waitsFor } from "../plan/jobs.ts";
import { MoveRoom } from "../plan/limits.ts";
import { groupOf } from "../plan/operations.ts";
import { etaOf, planDecommission } from "../plan/plans.ts";
import type { JobRow, OperationRow, Step, Task } from "../state.ts";
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

/** What a step takes when nothing is in the way, ms, besides its bytes. */
const stepEtaMs: Readonly<Record<Step["kind"], number>> = {
  turn: 0,
  transfer: 500,
  handOver: 500,
  conf: 500,
  caughtUp: 500,
  gone: 500,
  suggest: 500,
  split: 500,
  freeze: 200,
  merge: 200,
  seal: 200,
  thaw: 200,
};

export function operationView(model: Model, row: OperationRow): Json {
  const total = row.steps.length;
  const running = row.state === "running";
  const left = row.steps.slice(row.at);
  const bytes = left.some((step) => step.kind === "caughtUp") ? (row.move?.bytes ?? 0) : 0;
  const copyMs = (bytes / model.settings.move_bytes_per_s) * 1_000;
  const etaMs = left.reduce((sum, step) => sum + stepEtaMs[step.kind], Math.round(copyMs));
  const blockedBy = running ? blockedOn(model, row) : undefined;
  const { from, to } = row.move ?? {};
  return {
    id: String(row.id),
    kind: row.kind,
    ...(row.group === 0 ? {} : { shard: row.group }),
    ...(row.target === undefined ? {} : { into: row.target }),
    ...(from === undefined ? {} : { from: nameOf(model, from) }),
    ...(to === undefined ? {} : { to: nameOf(model, to) }),
    ...(row.job === undefined ? {} : { part_of: String(row.job) }),
    state: row.state,
    progress: total === 0 ? 1 : row.at / total,
    eta_ms: running ? etaMs : 0,
    steps_done: row.at,
    steps_total: total,
    ...endingView(row, blockedBy),
  };
}

function endingView(row: OperationRow | JobRow, blockedBy: string | undefined): Json {
  return {
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
  if (row.rollback !== undefined) return `is taken back: ${row.rollback.detail}`;
  if (row.target !== undefined && model.shards.get(row.target)?.leader === undefined)
    return `shard ${row.target} has no leader`;
  if (step?.kind === "freeze") return "waits until every replica of both shards is level and stands still";
  if (step?.kind === "turn" && row.move !== undefined) {
    const full = new MoveRoom(model).full(row.move).map((node) => nameOf(model, node));
    return full.length === 0
      ? undefined
      : `${full.join(" and ")} have as many moves under way as they may (max_concurrent_moves)`;
  }
  if (step?.kind !== "caughtUp") return undefined;
  const behind = step.replicas.flatMap((id) => {
    const replica = group.descriptor.replicas.find((r) => r.replicaId === id);
    return replica === undefined ? [] : [nameOf(model, replica.nodeId)];
  });
  return `waits until ${behind.join(", ")} have the leader's log`;
}

/** Work on many groups; with `steps` each of them too. */
export function jobView(model: Model, row: JobRow, options: { readonly steps?: boolean } = {}): Json {
  const running = row.state === "running";
  const { done, total } = jobProgress(model, row);
  const waiting = row.tasks.filter((task) => task.state === "waiting" || task.state === "running");
  const steps = waiting.map((task) => ({ ...task, etaMs: 0 }));
  const blockedBy = running ? jobBlockedOn(model, row) : undefined;
  return {
    id: String(row.id),
    kind: row.kind,
    ...(row.node === undefined ? {} : { node: nameOf(model, row.node) }),
    ...(row.shards.length === 1 ? { shard: row.shards[0] } : {}),
    ...(row.plan === undefined ? {} : { plan: row.plan }),
    state: row.state,
    progress: total === 0 || row.state === "done" ? 1 : done / total,
    eta_ms: running ? etaOf(model, steps) : 0,
    steps_done: done,
    steps_total: total,
    ...endingView(row, blockedBy),
    ...(options.steps === true ? { steps: row.tasks.map((task) => taskView(model, task)) } : {}),
  };
}

function jobProgress(model: Model, row: JobRow): { readonly done: number; readonly total: number } {
  const byTasks = row.kind === "rebalance" || row.kind === "scatter";
  const total = byTasks ? row.tasks.length : row.total;
  if (row.state === "done") return { done: total, total };
  if (byTasks) return { done: row.tasks.filter((task) => task.state === "done").length, total };
  // Leaders and replicas may come in the meantime.
  return { done: Math.max(0, total - leftOf(model, row)), total };
}

function jobBlockedOn(model: Model, row: JobRow): string | undefined {
  const waiting = row.tasks.filter((task) => task.state === "waiting");
  const underWay = row.tasks.some((task) => task.state === "running");
  if (waiting.length === 0 || underWay) {
    const stuck = row.kind === "decommission" && !underWay && waiting.length === 0;
    return stuck ? decommissionBlockedOn(model, row) : undefined;
  }
  const room = new MoveRoom(model);
  for (const task of waiting) {
    const why = waitsFor(model, task, room);
    if (why !== undefined) return why;
  }
  return undefined;
}

function decommissionBlockedOn(model: Model, { node }: JobRow): string | undefined {
  const blockers = node === undefined ? [] : planDecommission(model, node).blockers;
  return blockers[0]?.reason;
}

function taskView(model: Model, task: Task): Json {
  return {
    shard: task.shard,
    action: task.action,
    from: nameOf(model, task.from),
    to: nameOf(model, task.to),
    state: task.state,
    reason: task.reason,
    bytes: task.bytes,
    ...(task.operation === undefined ? {} : { operation: String(task.operation) }),
    ...(task.detail === undefined ? {} : { detail: task.detail }),
  };
}

/** Where a key lives, and the reasons of the decisions that put it there, the last ones, oldest first. */
export function whyView(model: Model, shard: GroupModel): Json {
  const decisions = model.state.decisions.get(shard.id) ?? [];
  return {
    ...locateView(model, shard),
    keyspace: shard.keyspace?.name ?? null,
    decisions: decisions.map(({ atMicros, kind, reason }) => ({ at: isoOf(atMicros), kind, reason })),
  };
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
