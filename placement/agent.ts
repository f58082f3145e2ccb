import {
  addressOf,
  decodeReportReply,
  defaultSettings,
  encodeConfContext,
  encodeNodeReport,
  type GroupId,
  type MergedInto,
  type NodeId,
  nodeOf,
  type Order,
  ProtocolError,
  placementGroup,
  placementMethods,
  type ReplicaReport,
  type ReportReply,
  type Settings,
  type Standing,
} from "#proto";
import type { GroupView } from "#raft/host";
import type { Cancel } from "#runtime";
import type { RpcResult } from "#transport";
import type { PlacementMachine } from "./machine.ts";
import type { PlacementParts } from "./parts.ts";
import { ReplicaWatch } from "./replica-watch.ts";

const reportEveryMs = 500;
/** Reports asked for in between keep this distance. */
const reportGapMs = 20;
const reportTimeoutMs = 1_000;
/** Until the next try, elsewhere, after a report that nobody took. */
const retryMs = 100;
/** A node that did not answer, or does not lead, is not asked again for this long where there are others, ms. */
const avoidMs = 1_000;
/** The first leader of a new shard tries again after these, since its peers may not be there yet, ms. */
const campaignAgainMs = [30, 60, 120, 240, 480];

/** How often, and for how long, it is looked whether a frozen shard is so on all its replicas. */
const freezeLookMs = 10;
const freezeLooks = 500;

interface Acknowledged {
  readonly term: number;
  readonly sequence: number;
}

/** Every node's side of placement: reports, and does what the answers order. */
export class Agent {
  readonly #parts: PlacementParts;
  readonly #watch: ReplicaWatch;
  #sequence = 0;
  #acknowledged: Acknowledged | undefined;
  #reachedQuorum = false;
  #inFlight = false;
  #again = false;
  #sentAtMs = Number.NEGATIVE_INFINITY;
  #stopped = false;
  #cancel: Cancel = () => {};
  #hint: NodeId | undefined;
  readonly #avoidUntilMs = new Map<NodeId, number>();
  #rotation = 0;
  #members: readonly NodeId[] = [];
  #asked: readonly NodeId[] = [];
  #settings: Settings = defaultSettings;
  #settingsVersion = 0;
  #standing: Standing = { membership: "active", clockBad: false };
  #clusterVersion = 1;

  /** @param machine - group 0's state machine here, where there is one */
  constructor(parts: PlacementParts, machine: () => PlacementMachine | undefined) {
    this.#parts = parts;
    this.#watch = new ReplicaWatch(parts, (group) =>
      group === placementGroup ? machine()?.state.own : parts.shards.descriptorOf(group),
    );
  }

  start(): void {
    this.#report();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  get settings(): Settings {
    return this.#settings;
  }

  get settingsVersion(): number {
    return this.#settingsVersion;
  }

  /** How placement sees this node (R25: whether its clock is off). */
  get standing(): Standing {
    return this.#standing;
  }

  get clusterVersion(): number {
    return this.#clusterVersion;
  }

  /** Placement's leader has answered this process: a quorum stood behind it (R30). */
  get reachedQuorum(): boolean {
    return this.#reachedQuorum;
  }

  /** Placement members, as last told. */
  get members(): readonly NodeId[] {
    return this.#members;
  }

  /** Where placement's leader is, as far as known here. */
  get leader(): NodeId | undefined {
    return this.#parts.host().view(placementGroup)?.leaderNode ?? this.#hint;
  }

  /** There is something to tell, or to fetch: report at once. */
  soon(): void {
    if (this.#stopped) return;
    if (this.#inFlight) {
      this.#again = true;
      return;
    }
    const waitMs = this.#sentAtMs + reportGapMs - this.#parts.clock.nowMs();
    this.#cancel();
    this.#cancel = this.#parts.clock.after(Math.max(0, waitMs), () => this.#report());
  }

  /** Role, term or known leader of a group here changed. */
  leadershipChanged(view: GroupView): void {
    this.#watch.touch(view.group);
    this.soon();
  }

  // ── Reports ──

  #report(): void {
    if (this.#stopped) return;
    const { clock, rpc, host, capacity, routes, info } = this.#parts;
    const to = this.#target();
    if (to === undefined) return this.#later();
    const base = this.#acknowledged;
    this.#sequence += 1;
    const sequence = this.#sequence;
    const { replicas, removed } = this.#watch.look(base === undefined);
    const body = encodeNodeReport({
      sequence,
      baseTerm: base?.term ?? 0,
      baseSequence: base?.sequence ?? 0,
      ...(base === undefined ? { info } : {}),
      wallMicros: clock.wallMicros(),
      ...capacity(),
      routes: routes.version(),
      settingsVersion: this.#settingsVersion,
      absent: this.#asked.filter((node) => host().suspected(node)),
      replicas,
      removed,
    });
    this.#sentAtMs = clock.nowMs();
    this.#inFlight = true;
    rpc.call(addressOf(to), placementMethods.report, body, reportTimeoutMs, (result) => {
      this.#inFlight = false;
      if (this.#stopped) return;
      this.#answered(to, sequence, replicas, removed, result);
    });
  }

  #later(waitMs = reportEveryMs): void {
    this.#cancel();
    this.#cancel = this.#parts.clock.after(waitMs, () => this.#report());
  }

  /** Own view of group 0 first, then hints, then whoever may know. */
  #target(): NodeId | undefined {
    const { host, routes, seeds, clock, nodeId } = this.#parts;
    const nowMs = clock.nowMs();
    const ranked = [host().view(placementGroup)?.leaderNode, this.#hint, routes.placementLeader()].filter(
      (node) => node !== undefined,
    );
    const known = [...this.#members, ...seeds().flatMap((address) => nodeOf(address) ?? []), nodeId];
    const rest = [...new Set(known)];
    this.#rotation += 1;
    const turned = rest.map((_, i) => rest[(i + this.#rotation) % rest.length] as NodeId);
    const candidates = [...ranked, ...turned];
    return candidates.find((node) => (this.#avoidUntilMs.get(node) ?? 0) <= nowMs) ?? candidates[0];
  }

  #answered(
    to: NodeId,
    sequence: number,
    replicas: readonly ReplicaReport[],
    removed: readonly GroupId[],
    result: RpcResult,
  ): void {
    const reply = result.ok ? this.#decode(to, result.body) : undefined;
    if (reply?.kind === "ok") {
      this.#hint = to;
      this.#avoidUntilMs.delete(to);
      this.#taken(reply, sequence, replicas, removed);
    } else if (reply?.kind === "not_a_member") {
      this.#parts.events.onRemoved(reply.detail);
    } else {
      this.#avoidUntilMs.set(to, this.#parts.clock.nowMs() + avoidMs);
      const leader = reply?.leader;
      const news = leader !== undefined && leader !== to;
      if (this.#hint === to || news) this.#hint = news ? leader : undefined;
      // A hint is followed at once; other guesses come with the next turn.
      if (news) this.#again = true;
    }
    const again = this.#again;
    this.#again = false;
    if (again) this.soon();
    else this.#later(reply?.kind === "ok" ? reportEveryMs : retryMs);
  }

  #decode(from: NodeId, body: Uint8Array): ReportReply | undefined {
    try {
      return decodeReportReply(body);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#parts.logger.warn({ from, err: error }, "dropped a malformed answer to a report");
      return undefined;
    }
  }

  #taken(
    reply: Extract<ReportReply, { kind: "ok" }>,
    sequence: number,
    replicas: readonly ReplicaReport[],
    removed: readonly GroupId[],
  ): void {
    const sameTerm = this.#acknowledged === undefined || this.#acknowledged.term === reply.term;
    if (reply.wantFull || !sameTerm) {
      this.#acknowledged = undefined;
      this.#again = true;
    } else {
      this.#watch.acknowledged(replicas, removed, this.#acknowledged === undefined);
      this.#acknowledged = { term: reply.term, sequence };
      this.#reachedQuorum = true;
    }
    this.#members = reply.members;
    this.#asked = reply.ask;
    this.#clusterVersion = reply.clusterVersion;
    if (reply.settings !== undefined) {
      this.#settings = reply.settings.values;
      this.#settingsVersion = reply.settings.version;
      this.#parts.events.onSettings(this.#settings);
    }
    const { membership, clockBad } = reply.standing;
    if (membership !== this.#standing.membership || clockBad !== this.#standing.clockBad) {
      this.#standing = reply.standing;
      this.#parts.events.onStanding(reply.standing);
    }
    for (const order of reply.orders) this.#execute(order);
  }

  // ── Orders ──

  #execute(order: Order): void {
    const host = this.#parts.host();
    switch (order.kind) {
      case "create":
        this.#create(order);
        return;
      case "transfer":
        host.transferLeader(order.group, order.to);
        return;
      case "conf": {
        const { changes, joint, context } = order.change;
        const transition = joint ? "explicit" : "auto";
        const change = { transition, changes, context: encodeConfContext(context) } as const;
        host.proposeConfChange(order.group, change, (outcome) => {
          const { group } = order;
          this.#parts.logger.info({ group, changes, outcome: outcome.kind }, "membership change ordered");
          this.#watch.touch(group);
          this.soon();
        });
        return;
      }
      case "suggest": {
        const { group, by, ways, partition, slots } = order;
        this.#watch.suggest(group, { by, ways, partition, slots });
        this.soon();
        return;
      }
      case "split":
        this.#parts.orders.split(order.group, order.split, (outcome) => {
          const { group } = order;
          this.#parts.logger.info({ group, outcome }, "split ordered");
          for (const child of order.split.children) this.#watch.touch(child.id);
          this.#watch.touch(group);
          this.soon();
        });
        return;
      case "merge":
        this.#parts.orders.merge(order.group, order.step, (outcome) => {
          const { group, step } = order;
          this.#parts.logger.info({ group, step: step.kind, outcome }, "step of a merge ordered");
          this.#tellFreeze(group, 0);
        });
        return;
      default: {
        // The order is about that replica: a newer one of the same group is none of its business.
        if (host.view(order.group)?.replica !== order.replicaId) return;
        const { group, replicaId, reason, into } = order;
        if (into !== undefined && this.#isNeededBy(into)) return;
        this.#parts.logger.warn({ group, replicaId, reason }, "destroying a replica");
        host.destroy(group, () => this.soon());
      }
    }
  }

  /**
   * Whether the shard that took over another has yet to do so here: it needs that one's rows (R34). All replicas
   * that took part had state of their own before: one without any came later, and its state will come whole.
   */
  #isNeededBy(into: MergedInto): boolean {
    const target = this.#parts.shards.descriptorOf(into.group);
    return target !== undefined && target.epoch.version < into.version;
  }

  /** Reports once now, and as soon as the last replica has acknowledged: writers wait for it. */
  #tellFreeze(group: GroupId, attempt: number): void {
    if (this.#stopped) return;
    if (attempt > 0 && attempt < freezeLooks && this.#watch.isFreezing(group)) {
      this.#parts.clock.after(freezeLookMs, () => this.#tellFreeze(group, attempt + 1));
      return;
    }
    this.#watch.touch(group);
    this.soon();
    if (attempt === 0) this.#parts.clock.after(freezeLookMs, () => this.#tellFreeze(group, 1));
  }

  #create(order: Extract<Order, { kind: "create" }>): void {
    const { shard, keyspace, replicaId, index, term, campaign } = order;
    const host = this.#parts.host();
    if (host.view(shard.id) !== undefined) return;
    const voters = shard.replicas.map((r) => r.replicaId).sort((a, b) => a - b);
    host.create(
      {
        group: shard.id,
        replica: replicaId,
        conf: { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false },
        index,
        term,
        rows: this.#parts.orders.initialRows(shard, keyspace),
      },
      (result) => {
        this.#parts.logger.debug({ group: shard.id, replicaId, result }, "first replica");
        this.#watch.touch(shard.id);
        this.soon();
        if (result === "created" && campaign) this.#campaign(shard.id, 0);
      },
    );
  }

  #campaign(group: GroupId, attempt: number): void {
    const host = this.#parts.host();
    if (this.#stopped || host.view(group)?.leaderReplica !== undefined) return;
    host.campaign(group);
    const waitMs = campaignAgainMs[attempt];
    if (waitMs !== undefined) this.#parts.clock.after(waitMs, () => this.#campaign(group, attempt + 1));
  }
}
