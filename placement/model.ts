import type {
  GroupId,
  KeyspaceDescriptor,
  LeadReport,
  Membership,
  NodeId,
  ReplicaDescriptor,
  ReplicaId,
  Settings,
  ShardDescriptor,
} from "#proto";
import { type Liveness, livenessOf } from "./liveness.ts";
import { clockOffset, clocksOff, type HeardNode, type ReportBook } from "./reports.ts";
import type { Birth, NodeRow, OperationRow, PlacementState } from "./state.ts";

/** A node that has been back for this long may be given leaders again. */
const settledAfterMs = 3_000;
/** By then at the latest a new leader takes silence for an answer. */
const graceMsMax = 3_000;

export interface NodeModel {
  readonly row: NodeRow;
  readonly liveness: Liveness;
  /** Undefined until its first report in this placement term. */
  readonly heard?: HeardNode;
  readonly clockBad: boolean;
  /** Up, heard, active, its clock right: new replicas and learners may go there. */
  readonly usable: boolean;
  /** Usable, and for a while: leaders may go there. */
  readonly settled: boolean;
}

export type Health = "healthy" | "under_replicated" | "leaderless";

export interface LeaderModel {
  readonly nodeId: NodeId;
  readonly replicaId: ReplicaId;
  readonly term: number;
}

export interface GroupModel {
  readonly id: GroupId;
  readonly descriptor: ShardDescriptor;
  readonly keyspace?: KeyspaceDescriptor;
  readonly birth?: Birth;
  /** Undefined when none is known on a node that is up. */
  readonly leader?: LeaderModel;
  /** What that leader says. */
  readonly lead?: LeadReport;
  /** Replicas of the descriptor that are there, on nodes that are up. */
  readonly present: ReadonlySet<ReplicaId>;
  readonly health: Health;
  readonly operation?: OperationRow;
}

/** The cluster as placement's leader sees it at one moment: what was decided, and what was reported. */
export interface Model {
  readonly nowMs: number;
  readonly wallMicros: number;
  readonly self: NodeId;
  readonly settings: Settings;
  readonly state: PlacementState;
  /**
   * Every node was heard in this placement term, or had the time to be. Before that, silence means nothing
   * and nothing is scheduled.
   */
  readonly warm: boolean;
  readonly nodes: ReadonlyMap<NodeId, NodeModel>;
  /** Shards, without placement's own group. */
  readonly shards: ReadonlyMap<GroupId, GroupModel>;
  readonly placement: GroupModel;
}

export interface ModelInput {
  readonly nowMs: number;
  readonly wallMicros: number;
  readonly self: NodeId;
  /** When this leader began, monotonic ms. */
  readonly termStartMs: number;
  readonly state: PlacementState;
  readonly book: ReportBook;
  readonly linkLost: (node: NodeId) => boolean;
}

export function buildModel(input: ModelInput): Model {
  const { nowMs, wallMicros, self, state } = input;
  const nodes = buildNodes(input);
  const operations = new Map<GroupId, OperationRow>();
  for (const row of state.operations.values()) {
    if (row.state !== "running") continue;
    operations.set(row.group, row);
    if (row.target !== undefined) operations.set(row.target, row);
  }
  const seen = gather(nodes);
  const shards = new Map<GroupId, GroupModel>();
  for (const row of state.shards.values()) {
    const { id, keyspace } = row.descriptor;
    const parts = {
      birth: row.birth,
      keyspace: state.keyspaces.get(keyspace),
      operation: operations.get(id),
    };
    shards.set(id, buildGroup(row.descriptor, parts, seen.get(id), nodes));
  }
  const placement = buildGroup(state.own, { operation: operations.get(0) }, seen.get(0), nodes);
  const young = nowMs - input.termStartMs < Math.min(state.settings.suspect_after_ms, graceMsMax);
  // Of a node whose link is lost nothing will be heard; of others, soon.
  const heardAll = [...nodes.values()].every((n) => n.heard !== undefined || n.liveness !== "up");
  return {
    nowMs,
    wallMicros,
    self,
    settings: state.settings,
    state,
    warm: heardAll || !young,
    nodes,
    shards,
    placement,
  };
}

/** What is known of the nodes alone; cheap. */
export function buildNodes(input: ModelInput): Map<NodeId, NodeModel> {
  const { nowMs, state, book } = input;
  const { settings } = state;
  const ages = new Map<NodeId, number>();
  for (const id of state.nodes.keys()) {
    ages.set(id, nowMs - (book.get(id)?.lastHeardMs ?? input.termStartMs));
  }
  const live = [...state.nodes.keys()].filter(
    (id) => book.get(id) !== undefined && (ages.get(id) ?? 0) < settings.suspect_after_ms,
  );
  const offsets = new Map(live.map((id) => [id, clockOffset(book.get(id) as HeardNode)]));
  const off = clocksOff(offsets, settings.max_clock_skew_ms);
  let sharing: Map<NodeId, Set<NodeId>> | undefined;
  const nodes = new Map<NodeId, NodeModel>();
  for (const row of state.nodes.values()) {
    const heard = book.get(row.id);
    const ageMs = ages.get(row.id) ?? 0;
    const silent = ageMs >= settings.down_after_ms;
    // Only a long silence asks for witnesses, and finding them walks all shards.
    if (silent) sharing ??= neighbours(state);
    const witnesses = live.filter((id) => id !== row.id && sharing?.get(row.id)?.has(id) === true);
    const liveness = livenessOf({
      ageMs,
      linkLost: row.id !== input.self && input.linkLost(row.id),
      loggedDown: row.downSinceMicros !== undefined && heard === undefined,
      witnesses: witnesses.length,
      missedBy: witnesses.filter((id) => id === input.self || book.get(id)?.absent.has(row.id)).length,
      suspectAfterMs: settings.suspect_after_ms,
      downAfterMs: settings.down_after_ms,
    });
    const clockBad = off.has(row.id);
    const usable =
      liveness === "up" && heard !== undefined && row.membership === "active" && clockBad === false;
    const settled = usable && nowMs - heard.sinceMs >= settledAfterMs;
    nodes.set(row.id, {
      row,
      liveness,
      clockBad,
      usable,
      settled,
      ...(heard === undefined ? {} : { heard }),
    });
  }
  return nodes;
}

/** For each node, those that share a group with it. */
function neighbours(state: PlacementState): Map<NodeId, Set<NodeId>> {
  const sharing = new Map<NodeId, Set<NodeId>>();
  for (const { replicas } of [state.own, ...[...state.shards.values()].map((row) => row.descriptor)]) {
    for (const { nodeId } of replicas) {
      const others = sharing.get(nodeId) ?? new Set<NodeId>();
      sharing.set(nodeId, others);
      for (const other of replicas) if (other.nodeId !== nodeId) others.add(other.nodeId);
    }
  }
  return sharing;
}

interface Seen {
  readonly on: Map<NodeId, ReplicaId>;
  /** The highest term any live replica is in. */
  term: number;
  leader?: LeaderModel;
  lead?: LeadReport;
}

/** What nodes that are up say, by group. The leader of the highest term wins (R32). */
function gather(nodes: ReadonlyMap<NodeId, NodeModel>): Map<GroupId, Seen> {
  const groups = new Map<GroupId, Seen>();
  for (const [nodeId, { heard, liveness }] of nodes) {
    if (heard === undefined || liveness !== "up") continue;
    for (const report of heard.replicas.values()) {
      const seen: Seen = groups.get(report.group) ?? { on: new Map(), term: 0 };
      groups.set(report.group, seen);
      seen.on.set(nodeId, report.replicaId);
      seen.term = Math.max(seen.term, report.term);
      if (report.state !== "leader" || report.lead === undefined) continue;
      if (seen.leader !== undefined && seen.leader.term >= report.term) continue;
      seen.leader = { nodeId, replicaId: report.replicaId, term: report.term };
      seen.lead = report.lead;
    }
  }
  return groups;
}

function buildGroup(
  descriptor: ShardDescriptor,
  parts: {
    readonly birth?: Birth | undefined;
    readonly keyspace?: KeyspaceDescriptor | undefined;
    readonly operation?: OperationRow | undefined;
  },
  seen: Seen | undefined,
  nodes: ReadonlyMap<NodeId, NodeModel>,
): GroupModel {
  const { birth, keyspace, operation } = parts;
  const present = new Set(
    descriptor.replicas.filter((r) => seen?.on.get(r.nodeId) === r.replicaId).map((r) => r.replicaId),
  );
  // A live replica in a higher term than the claim: its voters have moved on to elect another.
  const leader = seen?.leader !== undefined && seen.leader.term >= seen.term ? seen.leader : undefined;
  const wanted = keyspace?.replicas ?? 0;
  const voters = descriptor.replicas.filter(isVoter);
  const living = voters.filter((r) => present.has(r.replicaId) && nodes.get(r.nodeId)?.liveness === "up");
  const short = living.length < voters.length || living.length < wanted;
  return {
    id: descriptor.id,
    descriptor,
    present,
    health: leader === undefined ? "leaderless" : short ? "under_replicated" : "healthy",
    ...(keyspace === undefined ? {} : { keyspace }),
    ...(birth === undefined ? {} : { birth }),
    ...(leader === undefined ? {} : { leader }),
    ...(leader === undefined || seen?.lead === undefined ? {} : { lead: seen.lead }),
    ...(operation === undefined ? {} : { operation }),
  };
}

/** Is it meant to hold replicas in future? */
export function isStaying(membership: Membership): boolean {
  return membership === "active" || membership === "draining";
}

/** Drained for a time that has not passed: its being down starts no repair. */
export function isExpectedBack({ wallMicros }: Pick<Model, "wallMicros">, { row }: NodeModel): boolean {
  return row.membership === "draining" && (row.drainUntilMicros ?? 0) > wallMicros;
}

export function isVoter(replica: ReplicaDescriptor): boolean {
  return replica.role !== "learner";
}

export function isJoint(descriptor: ShardDescriptor): boolean {
  return descriptor.replicas.some((r) => r.role === "incoming" || r.role === "outgoing");
}

/** The two halves of a configuration; both the same when it is not joint. */
export function halves(descriptor: ShardDescriptor): readonly (readonly ReplicaDescriptor[])[] {
  const incoming = descriptor.replicas.filter((r) => r.role === "voter" || r.role === "incoming");
  if (!isJoint(descriptor)) return [incoming];
  return [incoming, descriptor.replicas.filter((r) => r.role === "voter" || r.role === "outgoing")];
}

/** Voters that are up in one half of a configuration, and how many more than its quorum they are. */
export interface Quorum {
  readonly live: number;
  readonly voters: number;
  /** Below zero: no quorum. */
  readonly margin: number;
}

/** Of each half of the configuration. */
export function quorumsOf(model: Pick<Model, "nodes">, group: GroupModel): readonly Quorum[] {
  return halves(group.descriptor).map((half) => {
    const isUp = ({ replicaId, nodeId }: ReplicaDescriptor): boolean =>
      group.present.has(replicaId) && model.nodes.get(nodeId)?.liveness === "up";
    const live = half.filter(isUp).length;
    return { live, voters: half.length, margin: live - (Math.floor(half.length / 2) + 1) };
  });
}

/** It has a leader, or its voters are about to elect one. */
export function isLedSoon(model: Pick<Model, "nodes">, group: GroupModel): boolean {
  return group.leader !== undefined || quorumsOf(model, group).every(({ margin }) => margin >= 0);
}

/** Entries a replica may be behind and still count as caught up. */
export const caughtUpLag = 256;

/** Does the leader find this replica in step with its log? */
export function isCaughtUp(group: GroupModel, replica: ReplicaId): boolean {
  if (group.leader?.replicaId === replica) return true;
  const peer = group.lead?.peers.find((p) => p.replicaId === replica);
  return peer?.active === true && peer.state === "Replicate" && peer.lag <= caughtUpLag;
}

/** Its name, of a deleted one too. */
export function nameOf(model: Model, node: NodeId): string {
  return model.nodes.get(node)?.row.name ?? model.state.formerNodes.get(node) ?? `node ${node}`;
}
