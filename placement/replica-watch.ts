import {
  compareBytes,
  firstLogIndex,
  type GroupId,
  type LeadReport,
  noBytes,
  type PeerReport,
  type ReplicaReport,
  type ShardDescriptor,
  type SplitHint,
} from "#proto";
import type { GroupView } from "#raft/host";
import type { PlacementParts, ShardStats, SplitQuestion } from "./parts.ts";

/** Sizes and rates of a shard are asked for this often, ms; they cost more than the rest. */
const statsEveryMs = 2_000;
/** All replicas are looked at this often, ms, should a change have come without word. */
const sweepEveryMs = 5_000;

/** Crossing this many entries is told, so that "caught up" is not missed for being near. */
const levelLag = 64;

/**
 * What this node has to say of its replicas, and what of it placement has already. Looks only at groups led
 * here and at those something happened to, so that idle groups cost nothing (R33).
 */
export class ReplicaWatch {
  readonly #parts: Pick<PlacementParts, "host" | "clock" | "shards">;
  readonly #descriptorOf: (group: GroupId) => ShardDescriptor | undefined;
  /** As placement has acknowledged it. */
  readonly #told = new Map<GroupId, ReplicaReport>();
  readonly #touched = new Set<GroupId>();
  readonly #stats = new Map<GroupId, { readonly atMs: number; readonly stats: ShardStats | undefined }>();
  readonly #hints = new Map<GroupId, SplitHint>();
  #sweptAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    parts: Pick<PlacementParts, "host" | "clock" | "shards">,
    descriptorOf: (group: GroupId) => ShardDescriptor | undefined,
  ) {
    this.#parts = parts;
    this.#descriptorOf = descriptorOf;
  }

  touch(group: GroupId): void {
    this.#touched.add(group);
  }

  /** Placement wants to know where this shard should be split. */
  suggest(group: GroupId, question: SplitQuestion): void {
    const version = this.#descriptorOf(group)?.epoch.version;
    if (version === undefined) return;
    const answer = this.#parts.shards.suggestSplit(group, question);
    const { by, ways } = question;
    const head = { by, ways, version };
    this.#hints.set(
      group,
      answer.kind === "at"
        ? { ...head, boundaries: answer.boundaries, blocked: "" }
        : { ...head, boundaries: [], blocked: answer.reason },
    );
    this.touch(group);
  }

  /** Replicas that are not as placement has them, or all. */
  look(full: boolean): { readonly replicas: ReplicaReport[]; readonly removed: GroupId[] } {
    const host = this.#parts.host();
    const groups = host.groups();
    const nowMs = this.#parts.clock.nowMs();
    const sweep = full || nowMs - this.#sweptAtMs >= sweepEveryMs;
    if (sweep) this.#sweptAtMs = nowMs;
    const replicas: ReplicaReport[] = [];
    for (const group of groups) {
      const told = full ? undefined : this.#told.get(group);
      const quiet = told !== undefined && told.state === "follower" && !this.#touched.has(group);
      if (quiet && !sweep) continue;
      const view = host.view(group);
      const report = view === undefined ? undefined : this.#describe(view, told, nowMs);
      if (report !== undefined && (told === undefined || differs(told, report))) replicas.push(report);
      else this.#touched.delete(group);
    }
    const here = new Set(groups);
    const removed = full ? [] : [...this.#told.keys()].filter((group) => !here.has(group));
    return { replicas, removed };
  }

  /** Placement has taken these in; `full`: they are all there is. */
  acknowledged(replicas: readonly ReplicaReport[], removed: readonly GroupId[], full: boolean): void {
    if (full) this.#told.clear();
    for (const group of removed) {
      this.#told.delete(group);
      this.#stats.delete(group);
      this.#hints.delete(group);
    }
    for (const report of replicas) this.#told.set(report.group, report);
  }

  #describe(view: GroupView, told: ReplicaReport | undefined, nowMs: number): ReplicaReport | undefined {
    const { group, replica, term, role } = view;
    const descriptor = this.#descriptorOf(group);
    const state = role === "leader" ? "leader" : view.leaderReplica === undefined ? "leaderless" : "follower";
    const head = {
      group,
      replicaId: replica,
      term,
      state,
      confVersion: descriptor?.epoch.confVersion ?? 0,
    } as const;
    if (state !== "leader" || descriptor === undefined) return head;
    // R10: whom a membership leaves out is destroyed on the word of it, so it is told only when it stands for good.
    if (!view.settled) return told?.lead !== undefined && told.term === term ? undefined : head;
    return { ...head, lead: this.#lead(view, descriptor, nowMs) };
  }

  #lead(view: GroupView, descriptor: ShardDescriptor, nowMs: number): LeadReport {
    const stats = this.#statsOf(view.group, nowMs);
    const splitHint = this.#hintOf(view.group, descriptor);
    const frozen = this.#frozenOf(view, descriptor);
    return {
      descriptor,
      peers: this.#peers(view, descriptor),
      bytes: Math.round(stats?.bytes ?? 0),
      keys: Math.round(stats?.keys ?? 0),
      writesPerSecond: stats?.writesPerSecond ?? 0,
      readsPerSecond: stats?.readsPerSecond ?? 0,
      rooted: isEverywhere(view, descriptor, firstLogIndex + 1),
      ...(splitHint === undefined ? {} : { splitHint }),
      ...(frozen === undefined ? {} : { frozen }),
    };
  }

  /** What is acknowledged is durable (R2), and the own log is where what is applied stands. */
  #frozenOf(view: GroupView, descriptor: ShardDescriptor): LeadReport["frozen"] {
    const frozen = this.#parts.shards.frozenOf(view.group);
    if (frozen === undefined) return undefined;
    return { ...frozen, everywhere: isEverywhere(view, descriptor, frozen.index) };
  }

  /** A shard led here stands still, and not all of its replicas are known to. */
  isFreezing(group: GroupId): boolean {
    const view = this.#parts.host().view(group);
    const descriptor = this.#descriptorOf(group);
    if (view?.role !== "leader" || descriptor === undefined) return false;
    return this.#frozenOf(view, descriptor)?.everywhere === false;
  }

  #hintOf(group: GroupId, { epoch }: ShardDescriptor): SplitHint | undefined {
    const hint = this.#hints.get(group);
    if (hint === undefined || hint.version === epoch.version) return hint;
    this.#hints.delete(group);
    return undefined;
  }

  #peers(view: GroupView, descriptor: ShardDescriptor): PeerReport[] {
    const host = this.#parts.host();
    const peers: PeerReport[] = [];
    const { progress, lastIndex } = view;
    for (const { replicaId, nodeId } of descriptor.replicas) {
      const peer = progress.get(replicaId);
      if (peer === undefined || replicaId === view.replica) continue;
      const lag = Math.max(0, lastIndex - peer.match);
      peers.push({ replicaId, lag, active: !host.suspected(nodeId), state: peer.state });
    }
    return peers;
  }

  #statsOf(group: GroupId, nowMs: number): ShardStats | undefined {
    const held = this.#stats.get(group);
    if (held !== undefined && nowMs - held.atMs < statsEveryMs) return held.stats;
    const stats = this.#parts.shards.statsOf(group);
    this.#stats.set(group, { atMs: nowMs, stats });
    return stats;
  }
}

/** Has every replica what the leader has up to `index`, durably? */
function isEverywhere(
  { progress, replica }: GroupView,
  { replicas }: ShardDescriptor,
  index: number,
): boolean {
  return replicas.every(
    ({ replicaId }) => replicaId === replica || (progress.get(replicaId)?.match ?? 0) >= index,
  );
}

/** Is it worth telling? Sizes, rates and lags count by their order of magnitude only. */
export function differs(told: ReplicaReport, now: ReplicaReport): boolean {
  if (told.replicaId !== now.replicaId || told.term !== now.term || told.state !== now.state) return true;
  if (told.confVersion !== now.confVersion) return true;
  const [a, b] = [told.lead, now.lead];
  if (a === undefined || b === undefined) return a !== b;
  const [ea, eb] = [a.descriptor.epoch, b.descriptor.epoch];
  if (ea.version !== eb.version || ea.confVersion !== eb.confVersion) return true;
  if (a.peers.length !== b.peers.length) return true;
  if (a.frozen?.index !== b.frozen?.index || a.frozen?.everywhere !== b.frozen?.everywhere) return true;
  if (a.rooted !== b.rooted) return true;
  return (
    hintDiffers(a.splitHint, b.splitHint) ||
    isFar(a.bytes, b.bytes, 4_096) ||
    isFar(a.keys, b.keys, 10) ||
    (a.keys === 0) !== (b.keys === 0) ||
    isFar(a.writesPerSecond, b.writesPerSecond, 5) ||
    isFar(a.readsPerSecond, b.readsPerSecond, 5) ||
    b.peers.some((peer, i) => peerDiffers(a.peers[i], peer))
  );
}

function hintDiffers(told: SplitHint | undefined, now: SplitHint | undefined): boolean {
  if (told === undefined || now === undefined) return told !== now;
  const same = told.by === now.by && told.ways === now.ways && told.blocked === now.blocked;
  const [a, b] = [told.boundaries, now.boundaries];
  return !same || a.length !== b.length || a.some((key, i) => compareBytes(key, b[i] ?? noBytes) !== 0);
}

function peerDiffers(told: PeerReport | undefined, now: PeerReport): boolean {
  if (told === undefined || told.replicaId !== now.replicaId) return true;
  if (told.active !== now.active || told.state !== now.state) return true;
  // Having caught up is news of its own, told once: who asks whether all is replicated must not wait for load.
  const level = now.lag === 0 && told.lag > 0;
  return level || told.lag > levelLag !== now.lag > levelLag || isFar(told.lag, now.lag, 128);
}

/** Further apart than a tenth of the larger, and than `least`. */
function isFar(a: number, b: number, least: number): boolean {
  return Math.abs(a - b) > Math.max(least, Math.max(a, b) / 10);
}
