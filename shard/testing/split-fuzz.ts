import {
  compareBytes,
  dataKey,
  type GroupId,
  inRange,
  isNewerEpoch,
  type NodeId,
  type ShardDescriptor,
  type SplitCommand,
  tiles,
} from "#proto";
import type { MemberChange } from "#raft/core";
import type { StateMachine } from "#raft/host";
import { invariant, type Random } from "#runtime";
import { dataRange, dedupRange } from "../state-rows.ts";
import { decodeValueRow } from "../value-row.ts";
import { confChange, ShardCluster, TestRoutes, testKeyspace } from "./cluster.ts";
import { goodRules, MergeOrders, type MergeRules } from "./merge-orders.ts";
import { Writer } from "./writer.ts";

const nodeIds: readonly NodeId[] = [1, 2, 3, 4, 5];
const shardsMax = 20;
const none = new Uint8Array(0);

export interface SplitReport {
  splits: number;
  voids: number;
  moves: number;
  destroyed: number;
  crashes: number;
  snapshots: number;
  acked: number;
  mismatches: number;
  deadlines: number;
  /** Children that a node was not to have (any more) when it applied their split. */
  unwanted: number;
  merged: number;
  rolledBack: number;
  /** Replicas of merged shards that their node needed still. */
  kept: number;
  /** Snapshots refused since another replica's rows lay there, among other reasons. */
  refused: number;
}

/**
 * Shards that split, move and are written to while nodes crash, disks are slow and the network loses; then
 * all faults stop, and everything must come together: ranges tile, replicas agree, nothing acknowledged is
 * lost or doubled, and no row lies where no replica owns it.
 */
export class SplitFuzz {
  readonly report: SplitReport = {
    splits: 0,
    voids: 0,
    moves: 0,
    destroyed: 0,
    crashes: 0,
    snapshots: 0,
    acked: 0,
    mismatches: 0,
    deadlines: 0,
    unwanted: 0,
    merged: 0,
    rolledBack: 0,
    kept: 0,
    refused: 0,
  };
  readonly cluster: ShardCluster;
  readonly #random: Random;
  readonly #routes = new TestRoutes();
  readonly #writers: Writer[] = [];
  readonly #merges: MergeOrders;
  readonly #rules: MergeRules | undefined;
  readonly #epochs = new Map<GroupId, ShardDescriptor["epoch"]>();
  /** The last split of each. */
  readonly #splits = new Map<GroupId, SplitCommand>();
  /** By shard and applied index, as some replica had it. */
  readonly #hashes = new Map<string, string>();
  /** A child whose replica on a node that lags behind its split is to be moved away. */
  #behind: { readonly child: GroupId; readonly node: NodeId; left: number } | undefined;
  #nextShard = 2;
  #slow = true;

  /** @param rules - shards are merged too, by these */
  constructor(seed: number, wrap?: (machine: StateMachine) => StateMachine, rules?: MergeRules) {
    const cluster = new ShardCluster({
      seed,
      nodes: nodeIds.length,
      limits: {
        compactLogBytes: 2_000,
        compactCapBytes: 8_000,
        snapshotChunkBytes: 400,
        snapshotWindowChunks: 2,
        sliceRows: 4,
      },
      syncDelayMs: (random) => (this.#slow && slowest > 0 ? random.below(slowest * 1000) / 1000 : 0),
      ...(wrap === undefined ? {} : { wrap }),
    });
    this.cluster = cluster;
    this.#random = cluster.random.fork("events");
    this.#rules = rules;
    this.#merges = new MergeOrders(cluster, cluster.random.fork("merges"), rules ?? goodRules);
    const slowest = [0, 3, 30][this.#random.below(3)] ?? 0;
    this.#routes.learn([cluster.create(1, [1, 2, 3], none, none)]);
    for (let i = 0; i < 6; i++) {
      // Keys of all writers lie among each other, some the beginning of others.
      const keys = Array.from({ length: 6 }, (_, k) =>
        Buffer.from(`${"abcdef"[k]}${"\0".repeat(i % 3)}${i}`),
      );
      this.#writers.push(new Writer(cluster, this.#routes, i + 1, keys));
    }
  }

  run(steps: number): SplitReport {
    const { cluster } = this;
    cluster.until("the first leader", () => cluster.leaderOf(1) !== undefined);
    for (const writer of this.#writers) writer.start();
    const wild = [0, 5, 20, 60][this.#random.below(4)] ?? 0;
    for (let i = 0; i < steps; i++) {
      this.#event(wild);
      if (this.#rules !== undefined) this.#driveMerges();
      cluster.run(this.#random.below(60_000) / 1000);
      this.#observe();
    }
    this.#heal();
    this.#converge();
    for (const writer of this.#writers) {
      this.report.acked += writer.acked;
      this.report.mismatches += writer.mismatches;
      this.report.deadlines += writer.deadlines;
    }
    this.report.unwanted = cluster.logged.get("a split's child is not for this node") ?? 0;
    this.report.merged = this.#merges.merged;
    this.report.rolledBack = this.#merges.rolledBack;
    this.report.kept = this.#merges.kept;
    this.report.refused = cluster.logged.get("snapshot not taken") ?? 0;
    return this.report;
  }

  #event(wild: number): void {
    const pick = this.#random.below(1000);
    if (pick < wild) this.#crashOrBoot();
    else if (pick < 2 * wild) this.#disturb();
    else if (pick < 2 * wild + 100) this.#split();
    else if (pick < 2 * wild + 200) this.#move();
    else if (pick < 2 * wild + 300) this.#destroyRemoved();
    else if (pick < 2 * wild + 330) this.#transfer();
    else if (wild > 0 && pick < 2 * wild + 340) this.#splitBehind();
    else if (this.#behind !== undefined) this.#moveAwayBehind(this.#behind);
  }

  #driveMerges(): void {
    if (this.#random.chance(0.15)) this.#merges.begin();
    this.#merges.drive(40);
  }

  // ---- What placement would order

  #anyLed(): { readonly group: GroupId; readonly node: NodeId; readonly shard: ShardDescriptor } | undefined {
    const groups = [...this.#merges.shards().keys()].filter((group) => !this.#merges.isBusy(group));
    const group = groups[this.#random.below(Math.max(1, groups.length))];
    const node = group === undefined ? undefined : this.cluster.leaderOf(group);
    if (group === undefined || node === undefined) return undefined;
    const shard = this.cluster.machine(node, group)?.descriptor;
    return shard === undefined ? undefined : { group, node, shard };
  }

  #split(): void {
    const led = this.#anyLed();
    if (led === undefined || this.#merges.shards().size >= shardsMax) return;
    const command = this.#splitOf(led.shard);
    if (command === undefined) return;
    const { service } = this.cluster.node(led.node);
    const splits = this.#splits;
    const isStale = command.expected.version !== led.shard.epoch.version;
    const times = this.#random.chance(0.2) ? 2 : 1;
    for (let i = 0; i < times; i++) {
      service.split(led.group, command, ({ kind }) => {
        if (kind === "void") this.report.voids += 1;
        if (kind !== "split") return;
        this.report.splits += 1;
        const known = splits.get(led.group);
        invariant(
          known === undefined || known !== command,
          `shard ${led.group} was split twice by one order (R6)`,
        );
        invariant(!isStale, `shard ${led.group} was split under another epoch (R6)`);
        splits.set(led.group, command);
      });
    }
  }

  /** A split that one follower does not hear of, while it hears the other replicas. */
  #splitBehind(): void {
    const led = this.#anyLed();
    const node = led?.shard.replicas.find((r) => r.nodeId !== led.node)?.nodeId;
    const command = led && this.#splitOf(led.shard);
    const child = command?.children[0]?.id;
    if (led === undefined || node === undefined || command === undefined || child === undefined) return;
    if (this.cluster.descriptors().size >= shardsMax) return;
    this.cluster.network.partition([`n${led.node}`], [`n${node}`]);
    this.cluster.node(led.node).service.split(led.group, command, () => {});
    this.#behind = { child, node, left: 60 };
  }

  /** The child's leader goes where the lagging node hears it; then its replica there is replaced, and removed. */
  #moveAwayBehind(behind: { readonly child: GroupId; readonly node: NodeId; left: number }): void {
    behind.left -= 1;
    if (behind.left === 0) this.#behind = undefined;
    const node = this.cluster.leaderOf(behind.child);
    const shard = node === undefined ? undefined : this.cluster.machine(node, behind.child)?.descriptor;
    if (node === undefined || shard === undefined) return;
    const { host } = this.cluster.node(node);
    const third = shard.replicas.find((r) => r.nodeId !== behind.node && r.nodeId !== node);
    if (behind.left > 50 && third !== undefined) host.transferLeader(behind.child, third.replicaId);
    else if (behind.left % 4 === 0) this.#destroyRemoved();
    else this.#moveOf({ group: behind.child, node, shard }, behind.node);
  }

  #splitOf(shard: ShardDescriptor): SplitCommand | undefined {
    const ways = 1 + this.#random.below(3);
    const texts = new Set<string>();
    for (let i = 0; i < ways; i++) {
      const key = `${"abcdef"[this.#random.below(6)]}${"\0".repeat(this.#random.below(3))}${this.#random.below(6)}`;
      const bytes = Buffer.from(key);
      if (inRange(bytes, shard.start, shard.end) && compareBytes(bytes, shard.start) > 0) texts.add(key);
    }
    const boundaries = [...texts].map((text) => Buffer.from(text)).sort(compareBytes);
    if (boundaries.length === 0) return undefined;
    const version = shard.epoch.version - (this.#random.chance(0.1) ? 1 : 0);
    return {
      expected: { version, confVersion: shard.epoch.confVersion },
      partition: "range",
      boundaries,
      children: boundaries.map(() => ({
        id: this.#nextShard++,
        replicas: shard.replicas.map((r) => ({ parent: r.replicaId, child: this.cluster.newReplica() })),
      })),
    };
  }

  #move(): void {
    const led = this.#anyLed();
    if (led !== undefined) this.#moveOf(led, undefined);
  }

  /** @param away - the node to move from, where it has a replica */
  #moveOf(
    {
      group,
      node,
      shard,
    }: { readonly group: GroupId; readonly node: NodeId; readonly shard: ShardDescriptor },
    away: NodeId | undefined,
  ): void {
    const { host } = this.cluster.node(node);
    const conf = host.view(group)?.conf;
    if (conf === undefined) return;
    const expectedConfVersion = shard.epoch.confVersion;
    const order = (
      changes: readonly MemberChange[],
      joint: boolean,
      added: ShardDescriptor["replicas"],
    ): void =>
      host.proposeConfChange(
        group,
        confChange(changes, joint, { expectedConfVersion, replicas: added }),
        ({ kind }) => {
          if (kind === "applied") this.report.moves += 1;
        },
      );
    const [learner] = conf.learners;
    if (conf.outgoing.length > 0) {
      const leave = { transition: "auto", changes: [], context: none } as const;
      host.proposeConfChange(group, leave, () => {});
    } else if (learner === undefined) {
      const free = nodeIds.filter((id) => !shard.replicas.some((r) => r.nodeId === id));
      const nodeId = free[this.#random.below(Math.max(1, free.length))];
      if (nodeId === undefined) return;
      const replicaId = this.cluster.newReplica();
      order([{ kind: "learner", id: replicaId }], false, [{ replicaId, nodeId, role: "learner" }]);
    } else {
      const there = shard.replicas.find((r) => r.nodeId === away && conf.voters.includes(r.replicaId));
      const leaver = there?.replicaId ?? conf.voters[this.#random.below(conf.voters.length)] ?? 0;
      const changes: MemberChange[] = [
        { kind: "voter", id: learner },
        { kind: "remove", id: leaver },
      ];
      order(changes, true, []);
    }
  }

  /** R34: whoever the newest membership does not name, and which is not on its way in. */
  #destroyRemoved(): void {
    const newest = this.cluster.descriptors();
    for (const { id, host } of this.cluster.nodes.values()) {
      for (const group of host.groups()) {
        const replica = host.view(group)?.replica;
        const ids = newest.get(group)?.replicas.map((r) => r.replicaId);
        if (replica === undefined || ids === undefined) continue;
        const isOver = this.#merges.retired.has(group);
        if (!isOver && (ids.includes(replica) || replica > Math.max(...ids))) continue;
        if (isOver && this.#merges.mustKeep(id, group)) continue;
        host.destroy(group, () => {
          this.report.destroyed += 1;
        });
      }
    }
  }

  #transfer(): void {
    const led = this.#anyLed();
    if (led === undefined) return;
    const { host } = this.cluster.node(led.node);
    const voters = host.view(led.group)?.conf.voters ?? [];
    const to = voters[this.#random.below(Math.max(1, voters.length))];
    if (to !== undefined) host.transferLeader(led.group, to);
  }

  // ---- Faults

  #crashOrBoot(): void {
    const id = nodeIds[this.#random.below(nodeIds.length)] ?? 1;
    if (!this.cluster.nodes.has(id)) return this.cluster.boot(id);
    if (nodeIds.length - this.cluster.nodes.size >= 2) return;
    this.report.snapshots += this.cluster.node(id).host.stats.snapshotsInstalled;
    this.cluster.crash(id, (["none", "random", "all"] as const)[this.#random.below(3)] ?? "none");
    this.report.crashes += 1;
  }

  #disturb(): void {
    const { network } = this.cluster;
    const id = nodeIds[this.#random.below(nodeIds.length)];
    const others = nodeIds.filter((other) => other !== id).map((other) => `n${other}`);
    const other = others[this.#random.below(others.length)] ?? "n1";
    switch (this.#random.below(8)) {
      case 5:
      case 6:
        // One pair: the leader of a child may be heard where the parent's is not.
        return network.partition([`n${id}`], [other]);
      case 0:
        return network.partition([`n${id}`], others);
      case 1:
        return network.partition([`n${id}`], others, false);
      case 2:
        return network.setDefaultLink({ loss: 0.1, duplicate: 0.1, reorder: 0.1, delayMsMax: 20 });
      default:
        this.#calm();
    }
  }

  #calm(): void {
    this.cluster.network.heal();
    this.cluster.network.setDefaultLink({ loss: 0, duplicate: 0, reorder: 0, delayMsMax: 0.5 });
  }

  #heal(): void {
    this.#slow = false;
    this.#calm();
    for (const id of nodeIds) if (!this.cluster.nodes.has(id)) this.cluster.boot(id);
  }

  // ---- What must hold

  #observe(): void {
    for (const { id, host, service } of this.cluster.nodes.values()) {
      const here = host.groups().flatMap((group) => service.machineOf(group)?.descriptor ?? []);
      here.sort((a, b) => compareBytes(a.start, b.start));
      for (const [i, shard] of here.entries()) {
        const next = here[i + 1];
        const apart =
          next === undefined || (shard.end.length > 0 && compareBytes(shard.end, next.start) <= 0);
        invariant(apart, `node ${id}: shards ${shard.id} and ${next?.id} overlap (R5)`);
      }
    }
    this.#compareStates();
    for (const [group, { epoch }] of this.cluster.descriptors()) {
      const before = this.#epochs.get(group);
      // The only one that had applied it may be down.
      if (before === undefined || isNewerEpoch(epoch, before)) this.#epochs.set(group, epoch);
    }
  }

  /** Of one shard at a time: a walk over all its rows. */
  #compareStates(): void {
    const groups = [...this.cluster.descriptors().keys()];
    const group = groups[this.#random.below(Math.max(1, groups.length))] ?? 0;
    for (const { id, host } of this.cluster.nodes.values()) {
      const view = host.view(group);
      const machine = this.cluster.machine(id, group);
      if (view === undefined || machine?.descriptor === undefined) continue;
      if ((view as unknown as { readonly installing: boolean }).installing) continue;
      const at = `${group}/${view.applied}`;
      const hash = machine.stateHash();
      const known = this.#hashes.get(at) ?? hash;
      invariant(known === hash, `shard ${group} at ${view.applied}: node ${id} has another state (R38)`);
      this.#hashes.set(at, hash);
    }
  }

  #converge(): void {
    const { cluster } = this;
    for (let i = 0; i < 40 || !this.#merges.idle; i++) {
      invariant(i < 400, "merges do not end");
      this.#merges.drive(20);
      this.#destroyRemoved();
      this.#leaveJoint();
      cluster.run(400);
    }
    for (const writer of this.#writers) writer.stopped = true;
    cluster.until("all calls end", () => this.#writers.every((writer) => writer.idle), 60_000);
    this.#destroyRemoved();
    cluster.run(3_000);
    this.#observe();
    this.#checkEnded();
    this.#checkTiling();
    this.#checkReplicas();
    this.#checkKeys();
    this.#checkRows();
    for (const { host } of cluster.nodes.values()) this.report.snapshots += host.stats.snapshotsInstalled;
  }

  #leaveJoint(): void {
    for (const group of this.cluster.descriptors().keys()) {
      const node = this.cluster.leaderOf(group);
      const host = node === undefined ? undefined : this.cluster.node(node).host;
      if ((host?.view(group)?.conf.outgoing.length ?? 0) === 0) continue;
      host?.proposeConfChange(group, { transition: "auto", changes: [], context: none }, () => {});
    }
  }

  #checkEnded(): void {
    for (const group of this.#merges.retired.keys())
      for (const { id, host } of this.cluster.nodes.values())
        invariant(host.view(group) === undefined, `node ${id}: shard ${group} was merged and is still here`);
  }

  #checkTiling(): void {
    const sorted = [...this.#merges.shards().values()].sort((a, b) => compareBytes(a.start, b.start));
    const text = sorted.map(
      (s) => `${s.id}:[${Buffer.from(s.start)},${Buffer.from(s.end)})@${s.epoch.version}`,
    );
    invariant(tiles(sorted), `shards do not tile: ${text.join(" ")}`);
  }

  #checkReplicas(): void {
    for (const [group, shard] of this.#merges.shards()) {
      let want: string | undefined;
      for (const { replicaId, nodeId } of shard.replicas) {
        const who = `shard ${group}, replica ${replicaId} on node ${nodeId}`;
        const view = this.cluster.node(nodeId).host.view(group);
        invariant(view?.replica === replicaId, `${who}: not there`);
        invariant(view.applied === view.lastIndex, `${who}: not level`);
        const hash = this.cluster.machine(nodeId, group)?.stateHash();
        want ??= hash;
        invariant(hash === want, `${who}: another state (R38)`);
      }
    }
  }

  #checkKeys(): void {
    for (const { keys, told } of this.#writers) {
      for (const [i, key] of keys.entries()) {
        const shard = [...this.#merges.shards().values()].find((s) => inRange(key, s.start, s.end));
        for (const { nodeId } of shard?.replicas ?? []) {
          const row = this.cluster.node(nodeId).engine.get("data", dataKey(testKeyspace, key));
          const value = row === undefined ? "" : Buffer.from(decodeValueRow(row).value).toString();
          invariant(
            value === told[i]?.value,
            `key ${key}: ${value} on node ${nodeId}, not ${told[i]?.value}`,
          );
        }
      }
    }
  }

  /** R34: what no replica owns is gone. */
  #checkRows(): void {
    const all: ShardDescriptor = {
      id: 0,
      keyspace: testKeyspace,
      start: none,
      end: none,
      epoch: { version: 0, confVersion: 0 },
      replicas: [],
    };
    for (const { id, host, service, engine } of this.cluster.nodes.values()) {
      const owned = host.groups().flatMap((group) => service.machineOf(group)?.descriptor ?? []);
      for (const rangeOf of [dataRange, dedupRange]) {
        const count = (shard: ShardDescriptor): number =>
          engine.scan(rangeOf(shard), { limit: 1_000_000 }).rows.length;
        const there = owned.reduce((sum, shard) => sum + count(shard), 0);
        invariant(there === count(all), `node ${id}: rows of nobody (R34)`);
      }
    }
  }
}
