import type { BootId, GroupId, NodeId, NodeInfo, NodeReport, ReplicaReport, RouteVersion } from "#proto";

/** Reports whose clocks are looked at together: the least delayed of them tells the clock best. */
const clockSamples = 3;

/** What a node last said of itself in this placement term. */
export interface HeardNode {
  readonly boot: BootId;
  readonly sequence: number;
  readonly info: NodeInfo;
  readonly lastHeardMs: number;
  /** Since when it has been reporting without a gap, monotonic ms. */
  readonly sinceMs: number;
  /** Last readings of its wall clock against our monotonic one, µs, the newest last. */
  readonly clockOffsets: readonly number[];
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
  readonly bytes: number;
  readonly fsyncP99Ms: number;
  readonly routes: RouteVersion;
  readonly settingsVersion: number;
  readonly absent: ReadonlySet<NodeId>;
  readonly replicas: ReadonlyMap<GroupId, ReplicaReport>;
}

export interface Intake {
  /** The delta fits nothing we hold: the next report must be full (R33). */
  readonly wantFull: boolean;
  /** Replicas, process or info changed. */
  readonly changed: boolean;
}

/** The reports of one placement term; a new leader starts with an empty book. */
export class ReportBook {
  readonly #term: number;
  readonly #nodes = new Map<NodeId, HeardNode>();

  constructor(term: number) {
    this.#term = term;
  }

  get(node: NodeId): HeardNode | undefined {
    return this.#nodes.get(node);
  }

  /**
   * Takes a report in. A delta says how things are, not how they changed, so one based on an older report
   * than the last one taken may be laid over it; one based on anything else asks for a full report.
   * @param gapMs - silence after which a node counts as newly there
   */
  take(node: NodeId, boot: BootId, report: NodeReport, nowMs: number, gapMs: number): Intake {
    const held = this.#nodes.get(node);
    const same = held?.boot === boot ? held : undefined;
    // An older one that was overtaken on its way.
    if (same !== undefined && report.sequence <= same.sequence) return { wantFull: false, changed: false };
    const full = report.info !== undefined && report.baseTerm === 0;
    const fits = same !== undefined && report.baseTerm === this.#term && report.baseSequence <= same.sequence;
    const info = report.info ?? (fits ? same.info : undefined);
    if (info === undefined || !(full || fits)) return { wantFull: true, changed: false };
    const offset = report.wallMicros - Math.round(nowMs * 1000);
    const steady = same !== undefined && nowMs - same.lastHeardMs <= gapMs;
    this.#nodes.set(node, {
      boot,
      sequence: report.sequence,
      info,
      lastHeardMs: nowMs,
      sinceMs: steady ? same.sinceMs : nowMs,
      clockOffsets: [...(same?.clockOffsets ?? []), offset].slice(-clockSamples),
      diskFreeBytes: report.diskFreeBytes,
      diskTotalBytes: report.diskTotalBytes,
      bytes: report.bytes,
      fsyncP99Ms: report.fsyncP99Ms,
      routes: report.routes,
      settingsVersion: report.settingsVersion,
      absent: new Set(report.absent),
      replicas: mergeReplicas(full ? undefined : same?.replicas, report),
    });
    const changed = full || report.replicas.length > 0 || report.removed.length > 0;
    return { wantFull: false, changed: changed || !steady };
  }
}

function mergeReplicas(
  base: ReadonlyMap<GroupId, ReplicaReport> | undefined,
  report: NodeReport,
): ReadonlyMap<GroupId, ReplicaReport> {
  if (base !== undefined && report.replicas.length === 0 && report.removed.length === 0) return base;
  const replicas = new Map(base);
  for (const group of report.removed) replicas.delete(group);
  for (const replica of report.replicas) replicas.set(replica.group, replica);
  return replicas;
}

/**
 * How far a node's wall clock is from our monotonic one, µs: a delayed report makes it look slow, so the
 * largest of the last readings counts. A clock that was set back shows after three reports.
 */
export function clockOffset(heard: HeardNode): number {
  return heard.clockOffsets.reduce((max, offset) => Math.max(max, offset), Number.NEGATIVE_INFINITY);
}

/**
 * R25: nodes whose clock is within `maxSkewMs` of fewer than half of the live nodes, themselves counted.
 * @param offsets - of the live nodes, µs
 */
export function clocksOff(offsets: ReadonlyMap<NodeId, number>, maxSkewMs: number): Set<NodeId> {
  const off = new Set<NodeId>();
  for (const [node, own] of offsets) {
    let near = 0;
    for (const other of offsets.values()) if (Math.abs(other - own) <= maxSkewMs * 1000) near += 1;
    if (near * 2 < offsets.size) off.add(node);
  }
  return off;
}
