import {
  type AdminResponse,
  adminMethod,
  decodeAdminRequest,
  decodeNodeReport,
  decodeRegisterRequest,
  encode,
  encodeAdminResponse,
  encodeRegisterReply,
  encodeReportReply,
  type NodeId,
  nodeOf,
  ProtocolError,
  placementGroup,
  placementMethods,
  type RouteTable,
  type Settings,
  type Standing,
} from "#proto";
import type { GroupView, StateMachine } from "#raft/host";
import type { Sender } from "#transport";
import { answerAdmin } from "./admin/admin.ts";
import { Agent } from "./agent.ts";
import { compactHere, readCompaction } from "./compaction.ts";
import { EventRing, type PlacementEvent } from "./events.ts";
import { serveJoins } from "./join.ts";
import { Leader } from "./leader.ts";
import { PlacementMachine } from "./machine.ts";
import type { Model } from "./model.ts";
import type { PlacementParts } from "./parts.ts";

/**
 * One node's placement: group 0's state machine where this node is a member, the leader's work while it
 * leads, and on every node the agent that reports and carries out orders.
 */
export class Placement {
  readonly #parts: PlacementParts;
  readonly #ring = new EventRing();
  readonly #agent: Agent;
  #machine: PlacementMachine | undefined;
  #leader: Leader | undefined;
  #started = false;

  constructor(parts: PlacementParts) {
    this.#parts = parts;
    this.#agent = new Agent(parts, () => this.#machine);
  }

  /** Group 0's state machine, for the host's factory. */
  make(): StateMachine {
    const machine: PlacementMachine = new PlacementMachine({
      engine: this.#parts.engine,
      clock: this.#parts.clock,
      onApplied: () => this.#leader?.changed(),
      onEvent: (event) => this.#ring.add(event),
      onLeadership: (view) => this.#onOwnLeadership(view),
      onClosed: () => {
        if (this.#machine !== machine) return;
        this.#stopLeading();
        this.#machine = undefined;
      },
    });
    this.#machine = machine;
    return machine;
  }

  /** Begins to serve and to report; the host must be there. */
  start(): void {
    const { rpc, joins, clusterId, logger, routes } = this.#parts;
    this.#started = true;
    rpc.serve(placementMethods.report, (from, body, reply) => this.#onReport(from, body, reply));
    rpc.serve(placementMethods.register, (from, body, reply) => this.#onRegister(from, body, reply));
    rpc.serve(placementMethods.nudge, (_from, _body, reply) => {
      reply(new Uint8Array(0));
      this.#agent.soon();
    });
    rpc.serve(placementMethods.compact, (from, body, reply) => {
      const groups = this.#read(from, "compaction", () => readCompaction(body));
      if (groups === undefined) return;
      compactHere(this.#parts.host(), groups, (count) => reply(encode([count])));
    });
    rpc.serve(adminMethod, (from, body, reply) => this.#onAdmin(from, body, reply));
    serveJoins(joins, {
      clusterId,
      logger,
      leader: () => this.leader,
      members: () => this.#members(),
      admit: (request, reply) => {
        if (this.#leader === undefined) return false;
        this.#leader.onJoin(request, reply);
        return true;
      },
      routes: () => this.#leader?.table ?? routes.table(),
      settings: () => ({ version: this.#agent.settingsVersion, values: this.#agent.settings }),
    });
    this.#agent.start();
    const view = this.#parts.host().view(placementGroup);
    if (view !== undefined) this.#onOwnLeadership(view);
  }

  stop(): void {
    this.#started = false;
    this.#stopLeading();
    this.#agent.stop();
  }

  /** To be told of every group's change of role, term or known leader. */
  leadershipChanged(view: GroupView): void {
    if (this.#started) this.#agent.leadershipChanged(view);
  }

  /** Live settings, as last told. */
  get settings(): Settings {
    return this.#agent.settings;
  }

  /** How placement sees this node; `clockBad` is R25's. */
  get standing(): Standing {
    return this.#agent.standing;
  }

  /** Placement's leader, as far as known here. */
  get leader(): NodeId | undefined {
    return this.#leader === undefined ? this.#agent.leader : this.#parts.nodeId;
  }

  /** Does this node lead placement and know the present state? */
  get leads(): boolean {
    return this.#leader?.active === true;
  }

  /** Has this process been in touch with a quorum of placement since its start (R30)? */
  get reachedQuorum(): boolean {
    return this.#agent.reachedQuorum;
  }

  /** On the leader: the routes it publishes. */
  get routes(): RouteTable | undefined {
    return this.#leader?.table;
  }

  /** On the leader: the cluster as it sees it now. */
  get model(): Model | undefined {
    return this.#leader?.active === true ? this.#leader.model() : undefined;
  }

  /** Events of this process; what the log causes is seen on every member of group 0. */
  onEvent(listener: (event: PlacementEvent) => void): () => void {
    return this.#ring.listen(listener);
  }

  #members(): readonly NodeId[] {
    const own = this.#machine?.state.own.replicas.map((r) => r.nodeId) ?? [];
    return own.length > 0 ? own : this.#agent.members;
  }

  #onOwnLeadership({ role, term }: GroupView): void {
    if (!this.#started || this.#machine === undefined) return;
    if (role !== "leader") return this.#stopLeading();
    if (this.#leader?.term === term) return;
    this.#stopLeading();
    const leader = new Leader(this.#parts, this.#machine, this.#ring, term);
    this.#leader = leader;
    // The host is in the middle of a turn: what the leader asks of it comes after.
    this.#parts.clock.after(0, () => leader.start());
  }

  #stopLeading(): void {
    this.#leader?.stop();
    this.#leader = undefined;
  }

  #onReport(from: Sender, body: Uint8Array, reply: (body: Uint8Array) => void): void {
    const node = nodeOf(from.address);
    const report = this.#read(from, "report", () => decodeNodeReport(body));
    if (node === undefined || report === undefined) return;
    if (this.#leader !== undefined) {
      reply(encodeReportReply(this.#leader.onReport(from, node, report)));
      return;
    }
    const leader = this.#elsewhere();
    reply(encodeReportReply({ kind: "not_leader", ...(leader === undefined ? {} : { leader }) }));
  }

  #onRegister(from: Sender, body: Uint8Array, reply: (body: Uint8Array) => void): void {
    const request = this.#read(from, "registration", () => decodeRegisterRequest(body));
    if (request === undefined) return;
    if (this.#leader !== undefined) {
      reply(encodeRegisterReply(this.#leader.onRegister(from, request)));
      return;
    }
    const leader = this.#elsewhere();
    reply(encodeRegisterReply({ kind: "not_leader", ...(leader === undefined ? {} : { leader }) }));
  }

  #onAdmin(from: Sender, body: Uint8Array, reply: (body: Uint8Array) => void): void {
    const request = this.#read(from, "admin request", () => decodeAdminRequest(body));
    if (request === undefined) return;
    const answer = (response: AdminResponse): void => reply(encodeAdminResponse(response));
    const notHere = (): void => {
      const leader = this.#elsewhere();
      answer({ kind: "not_leader", ...(leader === undefined ? {} : { leader }) });
    };
    const leader = this.#leader;
    if (leader === undefined) return notHere();
    leader.whenCurrent((model) => {
      if (model === undefined) return notHere();
      const context = {
        model,
        events: this.#ring,
        plans: leader.plans,
        command: leader.command.bind(leader),
        compact: leader.compact.bind(leader),
      };
      answerAdmin(context, request.operation, request.parameters, answer);
    });
  }

  /** The leader, where it is another node. */
  #elsewhere(): NodeId | undefined {
    const { leader } = this;
    return leader === this.#parts.nodeId ? undefined : leader;
  }

  #read<T>(from: Sender, what: string, decode: () => T): T | undefined {
    try {
      return decode();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#parts.logger.warn({ from: from.address, err: error }, `dropped a malformed ${what}`);
      return undefined;
    }
  }
}
