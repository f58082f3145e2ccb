import {
  addressOf,
  encode,
  type GroupId,
  type JoinReply,
  type JoinRequest,
  type NodeId,
  type NodeReport,
  type Order,
  placementGroup,
  placementMethods,
  type RegisterReply,
  type RegisterRequest,
  type ReportReply,
  type RouteTable,
} from "#proto";
import type { Cancel } from "#runtime";
import type { Sender } from "#transport";
import { fingerprint } from "./admin/fingerprint.ts";
import { type Command, type CommandResult, encodeCommand, type Written } from "./commands.ts";
import { compactEverywhere } from "./compaction.ts";
import type { EventRing } from "./events.ts";
import type { Liveness } from "./liveness.ts";
import type { PlacementMachine } from "./machine.ts";
import { buildModel, buildNodes, type Model, type ModelInput, nameOf } from "./model.ts";
import type { PlacementParts } from "./parts.ts";
import { PlanBook } from "./plan/book.ts";
import { planOrders } from "./plan/orders.ts";
import { plan } from "./plan/plan.ts";
import { ReportBook } from "./reports.ts";
import { RoutePublisher } from "./routes.ts";

/** Nodes' states are looked at this often, ms. */
const tickMs = 250;
/** With nothing to do, the whole model is built this often all the same, ms. */
const idlePassMs = 2_000;
/** Changes that come together share one pass, ms; more, the more shards a pass has to look at. */
const coalesceMs = 10;
const coalesceMsPerShard = 0.05;
/** An order is sent again when no report has shown it done by then, ms. */
const resendMs = 1_000;
const ordersPerReplyMax = 256;
const nudgeTimeoutMs = 1_000;
const readTimeoutMs = 700;
const retryReadMs = 100;
/** Waiting for the first reports of a term, ms; with the read before it, within a router's patience. */
const warmWaitMs = 700;
const warmLookMs = 50;

/**
 * Placement's leader in one term: hears reports, keeps the model, plans, writes decisions into the log, and
 * hands out what was decided. Another term makes another of these, with nothing carried over but the log.
 */
export class Leader {
  readonly term: number;
  readonly #parts: PlacementParts;
  readonly #machine: PlacementMachine;
  readonly #ring: EventRing;
  readonly #book: ReportBook;
  readonly #routes: RoutePublisher;
  /** Plans shown in this term. */
  readonly plans: PlanBook;
  #active = false;
  #stopped = false;
  #termStartMs = 0;
  /** Decisions on their way into the log, and who waits until there are none. */
  #outstanding = 0;
  readonly #settledWaiters = new Set<() => void>();
  #passAtMs = Number.NEGATIVE_INFINITY;
  #dirty = true;
  #seenNodes = "";
  #orders: ReadonlyMap<NodeId, readonly Order[]> = new Map();
  readonly #sentAtMs = new Map<string, number>();
  readonly #liveness = new Map<NodeId, Liveness>();
  /** Since when the host misses a node, as far as noticed here. */
  readonly #lostSinceMs = new Map<NodeId, number>();
  readonly #leaders = new Map<GroupId, NodeId>();
  #cancelTick: Cancel = () => {};
  #cancelPass: Cancel | undefined;

  constructor(parts: PlacementParts, machine: PlacementMachine, ring: EventRing, term: number) {
    this.#parts = parts;
    this.#machine = machine;
    this.#ring = ring;
    this.term = term;
    this.#book = new ReportBook(term);
    this.plans = new PlanBook(term, (text) => fingerprint([parts.clusterId, text]));
    this.#routes = new RoutePublisher({
      clusterId: parts.clusterId,
      term,
      self: parts.nodeId,
      clock: parts.clock,
      transport: parts.transport,
      take: (table) => parts.routes.take(table),
    });
  }

  /** Waits until all that earlier leaders decided is applied here, then begins. */
  start(): void {
    if (this.#stopped) return;
    const { host, clock } = this.#parts;
    host().read(placementGroup, { lease: false, timeoutMs: readTimeoutMs }, (outcome) => {
      if (this.#stopped) return;
      if (outcome.kind === "ready") this.#activate();
      else this.#cancelTick = clock.after(retryReadMs, () => this.start());
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#active = false;
    this.#cancelTick();
    this.#cancelPass?.();
  }

  get active(): boolean {
    return this.#active;
  }

  get table(): RouteTable | undefined {
    return this.#routes.table;
  }

  #activate(): void {
    const { clock, nodeId, logger } = this.#parts;
    this.#active = true;
    this.#termStartMs = clock.nowMs();
    logger.info({ term: this.term }, "leading placement");
    for (const node of this.#machine.state.nodes.keys()) if (node !== nodeId) this.#nudge(node);
    this.#tick();
    this.#changed();
  }

  #tick(): void {
    const { clock } = this.#parts;
    this.#cancelTick = clock.after(tickMs, () => {
      if (this.#stopped) return;
      this.#tick();
      const idleMs = clock.nowMs() - this.#passAtMs;
      if (
        this.#dirty ||
        idleMs >= idlePassMs ||
        this.#hasRunning() ||
        this.#nodesSeen() !== this.#seenNodes
      ) {
        this.#pass();
      }
    });
  }

  #hasRunning(): boolean {
    for (const row of this.#machine.state.operations.values()) if (row.state === "running") return true;
    return false;
  }

  /** States of all nodes in one text, to see whether any has changed. */
  #nodesSeen(): string {
    let seen = "";
    for (const [id, node] of buildNodes(this.#input())) {
      seen += `${id}${node.liveness}${Number(node.settled)}${Number(node.clockBad)} `;
    }
    return seen;
  }

  #input(): ModelInput {
    const { clock, nodeId } = this.#parts;
    return {
      nowMs: clock.nowMs(),
      wallMicros: clock.wallMicros(),
      self: nodeId,
      termStartMs: this.#termStartMs,
      state: this.#machine.state,
      book: this.#book,
      linkLost: (node) => this.#isLinkLost(node),
    };
  }

  /**
   * The host misses a node's heartbeats (R21). It may be that the node has no reason to send us any: a replica
   * of ours that was replaced still takes it for a peer. What it has reported since then is the better word.
   */
  #isLinkLost(node: NodeId): boolean {
    const { clock, host } = this.#parts;
    if (!host().suspected(node)) {
      this.#lostSinceMs.delete(node);
      return false;
    }
    const sinceMs = this.#lostSinceMs.get(node) ?? clock.nowMs();
    this.#lostSinceMs.set(node, sinceMs);
    return (this.#book.get(node)?.lastHeardMs ?? Number.NEGATIVE_INFINITY) <= sinceMs;
  }

  model(): Model {
    return buildModel(this.#input());
  }

  /** Something was reported or applied: look at it soon, together with what else comes. */
  changed(): void {
    this.#changed();
  }

  #changed(): void {
    this.#dirty = true;
    if (!this.#active || this.#cancelPass !== undefined) return;
    const waitMs = Math.max(coalesceMs, coalesceMsPerShard * this.#machine.state.shards.size);
    this.#cancelPass = this.#parts.clock.after(waitMs, () => {
      this.#cancelPass = undefined;
      this.#pass();
    });
  }

  #pass(): void {
    if (this.#stopped || !this.#active) return;
    this.#passAtMs = this.#parts.clock.nowMs();
    this.#dirty = false;
    const model = this.model();
    this.#seenNodes = this.#nodesSeen();
    this.#noteEvents(model);
    this.#routes.update(model);
    // While decisions are on their way into the log, a plan would be made from what is no longer true.
    if (this.#outstanding === 0) for (const command of plan(model)) this.#propose(command);
    this.#orders = this.#withoutHaste(planOrders(model));
    this.#nudgeForNew();
  }

  /** R10: whoever left placement's own group is needed until that stands for good, which is soon. */
  #withoutHaste(orders: Map<NodeId, Order[]>): Map<NodeId, Order[]> {
    if (this.#parts.host().view(placementGroup)?.settled !== false) return orders;
    this.#changed();
    const waits = (order: Order): boolean => order.kind === "destroy" && order.group === placementGroup;
    return new Map([...orders].map(([node, list]) => [node, list.filter((order) => !waits(order))]));
  }

  #propose(command: Command, done?: (result: Written) => void): void {
    this.#outstanding += 1;
    this.#parts.host().propose(placementGroup, encodeCommand(command), (outcome) => {
      this.#outstanding -= 1;
      const result = outcome.kind === "applied" ? (outcome.result as CommandResult) : undefined;
      if (this.#stopped) return done?.(result ?? (outcome.kind === "unknown" ? "unknown" : "never"));
      if (result?.ok !== true) {
        const why = result?.ok === false ? result.detail : outcome.kind;
        this.#parts.logger.info({ command: command.name, why }, "a placement command was not taken");
      }
      this.#dirty = true;
      if (result?.ok === true) this.#changed();
      done?.(result ?? (outcome.kind === "unknown" ? "unknown" : "never"));
      this.#wakeWaiters();
    });
  }

  /** One may decide something in its turn: then the others wait on. */
  #wakeWaiters(): void {
    for (const waiter of this.#settledWaiters) if (this.#outstanding === 0) waiter();
  }

  /** Writes one command for somebody who waits for it. */
  command(command: Command, done: (result: Written) => void): void {
    this.#propose(command, done);
  }

  /** Has the logs of these shards' replicas compacted. */
  compact(shards: readonly GroupId[], done: (count: number) => void): void {
    compactEverywhere(this.#parts.rpc, this.model(), shards, done);
  }

  // ── Reports ──

  onReport(from: Sender, node: NodeId, report: NodeReport): ReportReply {
    if (!this.#active) return { kind: "not_leader", leader: this.#parts.nodeId };
    const { state } = this.#machine;
    const row = state.nodes.get(node);
    if (row === undefined)
      return { kind: "not_a_member", detail: `there is no node ${node} in this cluster` };
    const nowMs = this.#parts.clock.nowMs();
    const gapMs = state.settings.suspect_after_ms;
    const { wantFull, changed } = this.#book.take(node, from.boot, report, nowMs, gapMs);
    if (changed) this.#changed();
    this.#routes.heard(from.address, report.routes);
    const { version } = state.cluster ?? { version: 1 };
    const current = report.settingsVersion === state.settingsVersion;
    return {
      kind: "ok",
      term: this.term,
      wantFull,
      standing: { membership: row.membership, clockBad: this.#isClockBad(node) },
      clusterVersion: version,
      ...(current ? {} : { settings: { version: state.settingsVersion, values: state.settings } }),
      ask: this.#silentNodes(nowMs),
      members: state.own.replicas.map((r) => r.nodeId),
      orders: wantFull ? [] : this.#takeOrders(node, nowMs),
    };
  }

  #isClockBad(node: NodeId): boolean {
    return buildNodes(this.#input()).get(node)?.clockBad ?? false;
  }

  #silentNodes(nowMs: number): NodeId[] {
    const afterMs = this.#machine.state.settings.suspect_after_ms;
    return [...this.#machine.state.nodes.keys()].filter(
      (id) => nowMs - (this.#book.get(id)?.lastHeardMs ?? this.#termStartMs) >= afterMs,
    );
  }

  #takeOrders(node: NodeId, nowMs: number): Order[] {
    const due: Order[] = [];
    for (const order of this.#orders.get(node) ?? []) {
      if (due.length >= ordersPerReplyMax) break;
      const key = orderKey(node, order);
      if (nowMs - (this.#sentAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < resendMs) continue;
      this.#sentAtMs.set(key, nowMs);
      due.push(order);
    }
    return due;
  }

  /** Who has something new to do should not wait for its next report. */
  #nudgeForNew(): void {
    const wanted = new Set<string>();
    for (const [node, orders] of this.#orders) {
      let isNew = false;
      for (const order of orders) {
        const key = orderKey(node, order);
        wanted.add(key);
        isNew ||= !this.#sentAtMs.has(key);
      }
      if (isNew) this.#nudge(node);
    }
    for (const key of this.#sentAtMs.keys()) if (!wanted.has(key)) this.#sentAtMs.delete(key);
  }

  #nudge(node: NodeId): void {
    this.#parts.rpc.call(
      addressOf(node),
      placementMethods.nudge,
      encode([this.term]),
      nudgeTimeoutMs,
      () => {},
    );
  }

  // ── Join, routers ──

  onJoin(request: Extract<JoinRequest, { kind: "node" }>, reply: (reply: JoinReply) => void): void {
    if (!this.#active) return;
    const { clusterId } = this.#parts;
    const { nonce, name: node, http, labels, version } = request;
    this.#propose({ name: "node.join", nonce, node, http, labels, version }, (result) => {
      // Not known: the joiner asks again, and the same nonce gets the same answer.
      if (typeof result === "string") return;
      if (!result.ok) return reply({ kind: "refused", clusterId, detail: result.detail });
      const members = this.#machine.state.own.replicas.map((r) => r.nodeId);
      reply({ kind: "joined", clusterId, nodeId: result.value, members });
    });
  }

  onRegister(from: Sender, request: RegisterRequest): RegisterReply {
    if (!this.#active) return { kind: "not_leader" };
    this.#routes.heard(from.address, request.routes);
    const { settings, settingsVersion } = this.#machine.state;
    const current = request.settingsVersion === settingsVersion;
    return { kind: "ok", ...(current ? {} : { settings: { version: settingsVersion, values: settings } }) };
  }

  /**
   * Calls back with a model that holds all that was decided before, what is still on its way into the log
   * included: a plan that did not know of it would move the same shards elsewhere. Only once the nodes have
   * been heard in this term, so that silence means something; undefined when there is none in time, or this is
   * no leader any more.
   */
  whenCurrent(done: (model: Model | undefined) => void): void {
    const { host, clock } = this.#parts;
    host().read(placementGroup, { lease: false, timeoutMs: readTimeoutMs }, (outcome) => {
      if (outcome.kind !== "ready") return done(undefined);
      const untilMs = clock.nowMs() + warmWaitMs;
      let cancel: Cancel = () => {};
      const end = (model: Model | undefined): void => {
        this.#settledWaiters.delete(look);
        cancel();
        done(model);
      };
      const look = (): void => {
        if (this.#stopped) return end(undefined);
        const model = this.#active && this.#outstanding === 0 ? this.model() : undefined;
        if (model?.warm === true) return end(model);
        if (clock.nowMs() >= untilMs) return end(undefined);
        cancel();
        cancel = clock.after(warmLookMs, look);
      };
      this.#settledWaiters.add(look);
      look();
    });
  }

  // ── What happened ──

  #noteEvents(model: Model): void {
    for (const [id, { liveness, heard, row }] of model.nodes) {
      const before = this.#liveness.get(id);
      if (before === liveness) continue;
      this.#liveness.set(id, liveness);
      // In a new term a node that is up is no news.
      if (before === undefined && liveness === "up") continue;
      const silentMs = Math.round(model.nowMs - (heard?.lastHeardMs ?? this.#termStartMs));
      const isCut = silentMs < model.settings.suspect_after_ms;
      const silence = isCut ? "is not connected any more" : `has been silent for ${silentMs} ms`;
      const reason = `${row.name} ${liveness === "up" ? "reports" : silence}`;
      this.#ring.add({ atMicros: model.wallMicros, kind: `node_${liveness}`, reason, node: id });
    }
    for (const [id, { leader }] of model.shards) {
      if (leader === undefined) continue;
      const before = this.#leaders.get(id);
      if (before === leader.nodeId) continue;
      this.#leaders.set(id, leader.nodeId);
      if (before === undefined) continue;
      const reason = `${nameOf(model, leader.nodeId)} leads after ${nameOf(model, before)}, in term ${leader.term}`;
      this.#ring.add({
        atMicros: model.wallMicros,
        kind: "leader_change",
        reason,
        shard: id,
        node: leader.nodeId,
      });
    }
  }
}

function orderKey(node: NodeId, order: Order): string {
  switch (order.kind) {
    case "transfer":
      return `${node} transfer ${order.group} ${order.to}`;
    case "conf": {
      const changes = order.change.changes.map((c) => `${c.kind}${c.id}`).join();
      return `${node} conf ${order.group} ${order.change.context.expectedConfVersion} ${changes}`;
    }
    case "create":
      return `${node} create ${order.shard.id} ${order.replicaId}`;
    case "suggest":
      return `${node} suggest ${order.group} ${order.by} ${order.ways}`;
    case "merge":
      return `${node} merge ${order.group} ${order.step.kind} ${order.step.operation}`;
    case "split":
      return `${node} split ${order.group} ${order.split.expected.version} ${order.split.expected.confVersion}`;
    default:
      return `${node} destroy ${order.group} ${order.replicaId}`;
  }
}
