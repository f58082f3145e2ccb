import {
  firstLogIndex,
  type GroupId,
  type MergedInto,
  type MergeStep,
  type NodeId,
  type ShardDescriptor,
} from "#proto";
import { invariant, type Random } from "#runtime";
import { neighbourProblem } from "../merge.ts";
import type { ShardCluster } from "./cluster.ts";

type MergeCommand = Extract<MergeStep, { kind: "merge" }>;

interface Merge {
  readonly operation: number;
  readonly source: GroupId;
  readonly target: GroupId;
  phase: "freeze" | "merge" | "seal" | "thaw";
  /** Logged before it is sent (R32). */
  merge?: MergeCommand;
  /** The source's version that a thaw must move on from. */
  thawVersion: number;
  ticks: number;
}

const lateMax = 20;

/** Placement's part in merges: rules that a bug may break. */
export interface MergeRules {
  readonly waitsForAll: boolean;
  readonly waitsForTarget: boolean;
  readonly sealsFirst: boolean;
  readonly keepsSources: boolean;
}

export const goodRules: MergeRules = {
  waitsForAll: true,
  waitsForTarget: true,
  sealsFirst: true,
  keepsSources: true,
};

/** Orders merges as placement does, from what leaders say; steps are sent again and again, late ones too. */
export class MergeOrders {
  readonly retired: Map<GroupId, MergedInto> = new Map();
  merged = 0;
  rolledBack = 0;
  /** Replicas of a source that had to wait for the target's. */
  kept = 0;
  readonly #cluster: ShardCluster;
  readonly #random: Random;
  readonly #rules: MergeRules;
  readonly #merges: Merge[] = [];
  /** The last ones sent: each may come again later. */
  readonly #old: { readonly group: GroupId; readonly step: MergeStep }[] = [];
  #operations = 0;

  constructor(cluster: ShardCluster, random: Random, rules: MergeRules) {
    this.#cluster = cluster;
    this.#random = random;
    this.#rules = rules;
  }

  get idle(): boolean {
    return this.#merges.length === 0;
  }

  isBusy(group: GroupId): boolean {
    return this.#merges.some(({ source, target }) => source === group || target === group);
  }

  /** The newest descriptors of the shards that there still are. */
  shards(): Map<GroupId, ShardDescriptor> {
    const shards = this.#cluster.descriptors();
    for (const id of this.retired.keys()) shards.delete(id);
    return shards;
  }

  /** Begins one, where two neighbours are on the same nodes. */
  begin(): void {
    const shards = [...this.shards().values()].filter(({ id }) => !this.isBusy(id));
    const pairs = shards.flatMap((source) =>
      shards.flatMap((target) =>
        neighbourProblem(source, target) === undefined ? [{ source, target }] : [],
      ),
    );
    const pair = pairs[this.#random.below(Math.max(1, pairs.length))];
    if (pair === undefined) return;
    this.#operations += 1;
    const { source, target } = pair;
    this.#merges.push({
      operation: this.#operations,
      source: source.id,
      target: target.id,
      phase: "freeze",
      thawVersion: 0,
      ticks: 0,
    });
  }

  /** @param patience - ticks after which one that is not through is rolled back */
  drive(patience: number): void {
    for (const merge of [...this.#merges]) {
      merge.ticks += 1;
      const givenUp = this.#random.chance(merge.phase === "merge" ? 0.1 : 0.002);
      if (givenUp || merge.ticks > patience) this.#rollBack(merge);
      this.#look(merge);
      if (this.#random.chance(0.7)) this.#send(merge);
    }
    const late = this.#old[this.#random.below(lateMax)];
    if (late !== undefined && this.#random.chance(0.1)) this.#order(late.group, late.step);
  }

  #rollBack(merge: Merge): void {
    if (merge.phase !== "freeze" && merge.phase !== "merge") return;
    merge.phase = merge.phase === "freeze" || !this.#rules.sealsFirst ? "thaw" : "seal";
    merge.thawVersion = this.#led(merge.source)?.shard.epoch.version ?? this.#newest(merge.source);
  }

  #newest(group: GroupId): number {
    return this.#cluster.descriptors().get(group)?.epoch.version ?? 0;
  }

  /** What reports show. */
  #look(merge: Merge): void {
    const source = this.#led(merge.source);
    const target = this.#led(merge.target)?.shard;
    const expected = merge.merge?.expected;
    const ended = merge.merge?.source;
    if (expected !== undefined && ended !== undefined && target !== undefined) {
      const past = target.epoch.version > expected.version;
      const took = past && target.epoch.version > ended.epoch.version && covers(target, ended);
      if (took) return this.#recordMerged(merge, target);
      if (past && merge.phase === "merge") this.#rollBack(merge);
      if (past && merge.phase === "seal") merge.phase = "thaw";
    }
    const frozen = source?.machine.frozen;
    if (merge.phase === "freeze" && frozen?.operation === merge.operation && target !== undefined) {
      if (source === undefined || !this.#mayMerge(merge, source.node, frozen.index)) return;
      const { operation } = merge;
      const { index, term, clockMicros } = frozen;
      merge.merge = {
        kind: "merge",
        operation,
        expected: target.epoch,
        source: source.shard,
        index,
        term,
        clockMicros,
      };
      merge.phase = "merge";
    }
    if (merge.phase !== "thaw" || source === undefined) return;
    if (frozen?.operation === merge.operation || source.shard.epoch.version <= merge.thawVersion) return;
    this.rolledBack += 1;
    this.#remove(merge);
  }

  #recordMerged(merge: Merge, target: ShardDescriptor): void {
    invariant(merge.phase !== "thaw", `shard ${merge.source} was merged after its merge was given up`);
    this.retired.set(merge.source, { group: merge.target, version: target.epoch.version });
    this.merged += 1;
    this.#remove(merge);
  }

  #remove(merge: Merge): void {
    this.#merges.splice(this.#merges.indexOf(merge), 1);
  }

  /** The source's replicas have all of its log, and the target's have had their first state. */
  #mayMerge({ source, target }: Merge, node: NodeId, index: number): boolean {
    const leads = this.#cluster.leaderOf(target);
    const rooted = leads !== undefined && this.#isEverywhere(leads, target, firstLogIndex + 1);
    return (
      (rooted || !this.#rules.waitsForTarget) &&
      (this.#isEverywhere(node, source, index) || !this.#rules.waitsForAll)
    );
  }

  #isEverywhere(node: NodeId, group: GroupId, index: number): boolean {
    const view = this.#cluster.node(node).host.view(group);
    const machine = this.#cluster.machine(node, group);
    if (view === undefined) return false;
    return (machine?.descriptor?.replicas ?? []).every(
      ({ replicaId }) => replicaId === view.replica || (view.progress.get(replicaId)?.match ?? 0) >= index,
    );
  }

  #led(group: GroupId) {
    const node = this.#cluster.leaderOf(group);
    const machine = node === undefined ? undefined : this.#cluster.machine(node, group);
    const shard = machine?.descriptor;
    if (node === undefined || machine === undefined || shard === undefined) return undefined;
    return { node, machine, shard };
  }

  #send(merge: Merge): void {
    const { operation, target } = merge;
    switch (merge.phase) {
      case "freeze": {
        const expected = this.#led(merge.source)?.shard.epoch;
        if (expected !== undefined)
          this.#order(merge.source, { kind: "freeze", operation, target, expected }, true);
        return;
      }
      case "merge":
        if (merge.merge !== undefined) this.#order(target, merge.merge, true);
        return;
      case "seal": {
        const version = merge.merge?.expected.version ?? 0;
        this.#order(target, { kind: "seal", operation, version }, true);
        return;
      }
      default:
        this.#order(merge.source, { kind: "thaw", operation, version: merge.thawVersion }, true);
    }
  }

  #order(group: GroupId, step: MergeStep, keep = false): void {
    if (keep) this.#old.push({ group, step });
    if (this.#old.length > lateMax) this.#old.shift();
    const node = this.#cluster.leaderOf(group);
    if (node !== undefined) this.#cluster.node(node).service.merge(group, step, () => {});
  }

  /** R34: whether this node still needs its replica of a shard that is no more. */
  mustKeep(node: NodeId, group: GroupId): boolean {
    const into = this.retired.get(group);
    if (into === undefined || !this.#rules.keepsSources) return false;
    const target = this.#cluster.machine(node, into.group)?.descriptor;
    const keep = target !== undefined && target.epoch.version < into.version;
    if (keep) this.kept += 1;
    return keep;
  }
}

function covers(shard: ShardDescriptor, { start, end }: ShardDescriptor): boolean {
  const from = Buffer.compare(shard.start, start) <= 0;
  const to = shard.end.length === 0 || (end.length > 0 && Buffer.compare(end, shard.end) <= 0);
  return from && to;
}
