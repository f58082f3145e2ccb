import type { GroupId, NodeId, ReplicaId } from "#proto";
import type { ConfChange, MemberChange } from "#raft/core";
import { invariant, type Random, seededRandom } from "#runtime";
import type { GroupView } from "../types.ts";
import { HostHarness } from "./harness.ts";
import { nodeOfReplica } from "./list-machine.ts";
import { Promises } from "./promises.ts";

const nodeIds: readonly NodeId[] = [1, 2, 3, 4, 5];

export interface FuzzReport {
  acked: number;
  refused: number;
  dropped: number;
  reads: number;
  crashes: number;
  cuts: number;
  confChanges: number;
  destroyed: number;
  snapshots: number;
  slept: number;
}

interface Acked {
  readonly text: string;
  readonly index: number;
}

interface Tracked {
  readonly group: GroupId;
  /** What each index was, wherever it was applied first. */
  readonly truth: Map<number, string>;
  readonly leaders: Map<number, ReplicaId>;
  readonly acked: Acked[];
  /** Told to have had no effect. */
  readonly never: Set<string>;
  generation: number;
}

/**
 * Hosts with several groups under random crashes, slow disks, losses, doublings, reorderings, partitions,
 * membership changes and removals; then all faults stop and everything must come together.
 */
export class HostFuzz {
  readonly report: FuzzReport = {
    acked: 0,
    refused: 0,
    dropped: 0,
    reads: 0,
    crashes: 0,
    cuts: 0,
    confChanges: 0,
    destroyed: 0,
    snapshots: 0,
    slept: 0,
  };
  readonly #random: Random;
  readonly #promises = new Promises();
  readonly #harness: HostHarness;
  readonly #groups: Tracked[] = [];
  #slow = true;
  #counter = 0;
  #pendingReads = 0;

  constructor(seed: number) {
    this.#random = seededRandom(`host/${seed}`);
    const slowest = [0, 3, 30][this.#random.below(3)] ?? 0;
    this.#harness = new HostHarness({
      seed,
      nodes: nodeIds.length,
      limits: {
        compactLogBytes: 1_500,
        compactCapBytes: 6_000,
        snapshotChunkBytes: 200,
        snapshotWindowChunks: 2,
        sliceRows: 4,
        maxEntryBytes: 200,
        maxEntriesBytesPerMessage: 400,
      },
      syncDelayMs: (random) => (this.#slow && slowest > 0 ? random.below(slowest * 1000) / 1000 : 0),
      tap: (_node, transport) => this.#promises.tap(transport),
      onMachine: (_node, group, machine) => {
        machine.onApplied = (index, chain) => this.#applied(group, index, chain);
      },
    });
    const count = 2 + this.#random.below(4);
    for (let group = 1; group <= count; group++) {
      this.#groups.push({
        group,
        truth: new Map(),
        leaders: new Map(),
        acked: [],
        never: new Set(),
        generation: 0,
      });
      const size = this.#random.chance(0.2) ? 1 : 3;
      const first = this.#random.below(nodeIds.length);
      this.#harness.create(
        group,
        [...nodeIds.slice(first), ...nodeIds.slice(0, first)].slice(0, size).sort(),
      );
    }
  }

  run(steps: number): FuzzReport {
    const wild = [1, 4, 12][this.#random.below(3)] ?? 1;
    this.#harness.run(this.#random.below(1500));
    for (let i = 0; i < steps; i++) {
      this.#event(wild);
      this.#harness.run(this.#random.chance(0.01) ? 3_000 : this.#random.below(40_000) / 1000);
      this.#observe();
    }
    this.#heal();
    this.#converge();
    return this.report;
  }

  #event(wild: number): void {
    const pick = this.#random.below(1000);
    const fault = 4 * wild;
    if (pick < fault) this.#crashOrBoot();
    else if (pick < 2 * fault) this.#disturb();
    else if (pick < 2 * fault + 10) this.#changeMembers();
    else if (pick < 2 * fault + 20) this.#destroyRemoved();
    else if (pick < 2 * fault + 30) this.#transfer();
    else if (pick < 700) this.#propose();
    else this.#read();
  }

  // ---- What goes on

  #group(): Tracked {
    return this.#groups[this.#random.below(this.#groups.length)] as Tracked;
  }

  #anyHost(): NodeId | undefined {
    const up = [...this.#harness.hosts.keys()];
    return up[this.#random.below(Math.max(1, up.length))];
  }

  #propose(): void {
    const tracked = this.#group();
    const leader = this.#harness.leaderOf(tracked.group);
    const node = this.#random.chance(0.9) ? leader : this.#anyHost();
    const host = node === undefined ? undefined : this.#harness.hosts.get(node);
    if (host === undefined) return;
    for (let left = this.#random.below(4); left >= 0; left--) {
      this.#counter += 1;
      const text = `c${this.#counter}-${"x".repeat(this.#random.below(90))}`;
      let answers = 0;
      host.propose(tracked.group, Buffer.from(text), (outcome) => {
        answers += 1;
        invariant(answers === 1, "one answer a proposal");
        if (outcome.kind === "applied") {
          tracked.acked.push({ text, index: outcome.index });
          this.report.acked += 1;
        } else if (outcome.kind !== "unknown") {
          tracked.never.add(text);
          this.report[outcome.kind] += 1;
        }
        // Callers come back from within their answer.
        if (this.#random.chance(0.05)) host.read(tracked.group, { lease: true, timeoutMs: 200 }, () => {});
        if (outcome.kind === "refused" && this.#random.chance(0.3)) {
          host.propose(tracked.group, Buffer.from(`again-${text}`), () => {});
        }
      });
    }
  }

  #read(): void {
    const tracked = this.#group();
    const node = this.#anyHost();
    const host = node === undefined ? undefined : this.#harness.hosts.get(node);
    if (host === undefined) return;
    const floor = tracked.acked.reduce((max, { index }) => Math.max(max, index), 0);
    let answers = 0;
    this.#pendingReads += 1;
    host.read(tracked.group, { lease: this.#random.chance(0.5), timeoutMs: 1_000 }, (outcome) => {
      answers += 1;
      this.#pendingReads -= 1;
      invariant(answers === 1, "one answer a read");
      if (outcome.kind !== "ready") return;
      const applied = host.view(tracked.group)?.applied ?? 0;
      invariant(applied >= floor, `group ${tracked.group}: a read misses what was acknowledged (R18)`);
      this.report.reads += 1;
    });
  }

  #transfer(): void {
    const { group } = this.#group();
    const leader = this.#harness.leaderOf(group);
    if (leader === undefined) return;
    const voters = this.#harness.host(leader).view(group)?.conf.voters ?? [];
    const to = voters[this.#random.below(Math.max(1, voters.length))];
    if (to !== undefined) this.#harness.host(leader).transferLeader(group, to);
  }

  #changeMembers(): void {
    const tracked = this.#group();
    const leader = this.#harness.leaderOf(tracked.group);
    if (leader === undefined) return;
    const view = this.#harness.host(leader).view(tracked.group);
    if (view === undefined) return;
    const change = this.#nextChange(tracked, view);
    if (change === undefined) return;
    this.#harness.host(leader).proposeConfChange(tracked.group, change, (outcome) => {
      if (outcome.kind === "applied") this.report.confChanges += 1;
    });
  }

  #nextChange(tracked: Tracked, { conf }: GroupView): ConfChange | undefined {
    const context = new Uint8Array(0);
    if (conf.outgoing.length > 0) {
      // The other times the host itself has to leave it (R10).
      return this.#random.chance(0.5) ? { transition: "auto", changes: [], context } : undefined;
    }
    const [learner] = conf.learners;
    if (learner === undefined) {
      const free = nodeIds.filter((node) => !conf.voters.some((id) => nodeOfReplica(id) === node));
      const node = free[this.#random.below(Math.max(1, free.length))];
      if (node === undefined) return undefined;
      tracked.generation += 1;
      const id = node + 10 * tracked.generation;
      return { transition: "auto", changes: [{ kind: "learner", id }], context };
    }
    const leaver = conf.voters[this.#random.below(conf.voters.length)] ?? 0;
    const changes: MemberChange[] = [
      { kind: "voter", id: learner },
      { kind: "remove", id: leaver },
    ];
    return { transition: "explicit", changes, context };
  }

  /** As placement would: whoever an applied configuration does not name any more, and never will again. */
  #destroyRemoved(): void {
    const { group } = this.#group();
    const leader = this.#harness.leaderOf(group);
    if (leader === undefined) return;
    const conf = this.#harness.host(leader).view(group)?.conf;
    if (conf === undefined) return;
    const members = new Set([...conf.voters, ...conf.outgoing, ...conf.learners]);
    for (const [, host] of this.#harness.hosts) {
      const replica = host.view(group)?.replica;
      if (replica === undefined || members.has(replica)) continue;
      // Ids only grow: a newer one may be on its way in.
      if (replica > Math.max(...members)) continue;
      host.destroy(group, () => {
        this.report.destroyed += 1;
      });
    }
  }

  // ---- Faults

  #crashOrBoot(): void {
    const node = nodeIds[this.#random.below(nodeIds.length)] as NodeId;
    if (!this.#harness.hosts.has(node)) return this.#boot(node);
    if (nodeIds.length - this.#harness.hosts.size >= 2) return;
    const keep = (["none", "random", "all"] as const)[this.#random.below(3)] ?? "none";
    if (this.#random.chance(0.2)) this.#harness.host(node).stop();
    this.report.snapshots += this.#harness.host(node).stats.snapshotsInstalled;
    this.#harness.crash(node, keep);
    this.report.crashes += 1;
  }

  #boot(node: NodeId): void {
    this.#harness.boot(node);
    const engine = this.#harness.engines.get(node);
    if (engine !== undefined)
      this.#promises.check(
        node,
        engine,
        this.#groups.map(({ group }) => group),
      );
  }

  #disturb(): void {
    const { network } = this.#harness;
    const node = nodeIds[this.#random.below(nodeIds.length)] as NodeId;
    const others = nodeIds.filter((other) => other !== node).map((other) => `n${other}`);
    this.report.cuts += 1;
    switch (this.#random.below(7)) {
      case 0:
        return network.partition([`n${node}`], others);
      case 1:
        return network.partition([`n${node}`], others, false);
      case 2:
        return network.disconnect(`n${node}`);
      case 3:
        return network.setDefaultLink({ loss: 0.1, duplicate: 0.1, reorder: 0.1, delayMsMax: 20 });
      case 4:
        return network.setDefaultLink({ loss: 0, duplicate: 0, reorder: 0, delayMsMax: 0.5 });
      default:
        return network.heal();
    }
  }

  #heal(): void {
    this.#slow = false;
    this.#harness.network.heal();
    this.#harness.network.setDefaultLink({ loss: 0, duplicate: 0, reorder: 0, delayMsMax: 0.5 });
    for (const node of nodeIds) if (!this.#harness.hosts.has(node)) this.#boot(node);
  }

  // ---- What must hold

  #applied(group: GroupId, index: number, chain: string): void {
    const tracked = this.#groups.find((other) => other.group === group);
    if (tracked === undefined) return;
    const known = tracked.truth.get(index);
    invariant(known === undefined || known === chain, `group ${group}: replicas differ at ${index}`);
    tracked.truth.set(index, chain);
  }

  #observe(): void {
    for (const { group, leaders } of this.#groups) {
      for (const host of this.#harness.hosts.values()) {
        const view = host.view(group);
        if (view === undefined) continue;
        invariant(view.applied <= view.commit && view.commit <= view.lastIndex, "applied ≤ commit ≤ last");
        if (view.quiesced) this.report.slept += 1;
        if (view.role !== "leader") continue;
        const before = leaders.get(view.term) ?? view.replica;
        invariant(before === view.replica, `group ${group}: two leaders in term ${view.term}`);
        leaders.set(view.term, view.replica);
      }
    }
  }

  #members(group: GroupId): GroupView[] {
    const leader = this.#harness.leaderOf(group);
    const conf = leader === undefined ? undefined : this.#harness.host(leader).view(group)?.conf;
    if (conf === undefined) return [];
    return [...conf.voters, ...conf.outgoing, ...conf.learners].flatMap((replica) => {
      const view = this.#harness.hosts.get(nodeOfReplica(replica))?.view(group);
      return view?.replica === replica ? [view] : [];
    });
  }

  #converge(): void {
    const h = this.#harness;
    for (const { group } of this.#groups) {
      let done = false;
      const last = (): void => {
        const leader = h.leaderOf(group);
        if (done || leader === undefined) return;
        this.#counter += 1;
        h.host(leader).propose(group, Buffer.from(`last-${group}-${this.#counter}`), (outcome) => {
          done = done || outcome.kind === "applied";
        });
      };
      for (let i = 0; i < 100 && !done; i++) {
        last();
        h.run(300);
      }
      invariant(done, `group ${group}: nothing can be written after the faults have stopped`);
    }
    for (let i = 0; i < 20; i++) {
      for (const _ of this.#groups) this.#destroyRemoved();
      h.run(500);
    }
    for (const { group } of this.#groups) {
      const asleep = (): boolean => this.#members(group).every((view) => view.quiesced);
      h.until(`group ${group} asleep (R20)`, asleep, 10_000);
    }
    for (const tracked of this.#groups) this.#checkGroup(tracked);
    invariant(this.#pendingReads >= 0, "reads are answered once");
    for (const host of h.hosts.values()) this.report.snapshots += host.stats.snapshotsInstalled;
  }

  #checkGroup({ group, acked, never }: Tracked): void {
    const h = this.#harness;
    const leader = h.leaderOf(group) ?? 0;
    const conf = h.host(leader).view(group)?.conf;
    invariant(
      conf !== undefined && conf.outgoing.length === 0,
      `group ${group}: rests in a joint state (R10)`,
    );
    const views = this.#members(group);
    invariant(views.length >= conf.voters.length, `group ${group}: a voter has no replica`);
    const want = h.machine(leader, group).commands();
    for (const view of views) {
      const node = nodeOfReplica(view.replica);
      const who = `group ${group}, replica ${view.replica}`;
      invariant(view.applied === view.lastIndex, `${who}: not level after the faults have stopped`);
      invariant(h.machine(node, group).chain === h.machine(leader, group).chain, `${who}: another state`);
      const commands = h.machine(node, group).commands();
      invariant(commands.join() === want.join(), `${who}: other commands`);
    }
    const seen = new Map<string, number>();
    for (const text of want) seen.set(text, (seen.get(text) ?? 0) + 1);
    for (const { text } of acked)
      invariant(seen.get(text) === 1, `${text}: acknowledged, and not there once`);
    for (const text of never) invariant(!seen.has(text), `${text}: told to be void, and there`);
  }
}
