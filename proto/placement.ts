import { decode, encode, FieldReader, ProtocolError } from "./codec.ts";
import type { ClusterId, GroupId, NodeId, ReplicaId } from "./ids.ts";
import type { Partition } from "./keys.ts";
import {
  decodeMergeStep,
  encodeMergeStep,
  type Frozen,
  frozenFields,
  type MergedInto,
  type MergeStep,
  readFrozen,
} from "./merge.ts";
import { decodeRouteTable, encodeRouteTable, type RouteTable, type RouteVersion } from "./routes.ts";
import { changeSettings, defaultSettings, type Settings } from "./settings.ts";
import {
  descriptorFields,
  type KeyspaceDescriptor,
  keyspaceFields,
  type ReplicaDescriptor,
  readDescriptor,
  readKeyspace,
  type ShardDescriptor,
} from "./shards.ts";
import { encodeSplit, readSplit, type SplitCommand, splitTag } from "./split.ts";

/**
 * RPC methods of placement. `report`: node → leader. `nudge`: leader → node, "report now, there are orders".
 * `register`: stateless router → leader, repeated. `compact`: leader → node.
 */
export const placementMethods = { report: 13, nudge: 14, register: 15, compact: 16 } as const;

// ── What a configuration change entry carries ────────────────────────────────────────────────────────

/**
 * The context of a ConfChange: the membership it is meant for, checked again at apply (R6), and where the
 * replicas live that it brings in.
 */
export interface ConfContext {
  readonly expectedConfVersion: number;
  readonly replicas: readonly ReplicaSite[];
}

export interface ReplicaSite {
  readonly replicaId: ReplicaId;
  readonly nodeId: NodeId;
}

export function encodeConfContext(c: ConfContext): Uint8Array {
  return encode([c.expectedConfVersion, c.replicas.map((r) => [r.replicaId, r.nodeId])]);
}

/** @throws ProtocolError */
export function decodeConfContext(bytes: Uint8Array): ConfContext {
  const f = FieldReader.of(bytes, "configuration change");
  return {
    expectedConfVersion: f.integer(),
    replicas: f.list((element) => {
      const r = new FieldReader(element, "configuration change's replica");
      return { replicaId: r.integer(1), nodeId: r.integer(1) };
    }),
  };
}

/** The lists of an active Raft configuration, as the core has them. */
export interface ConfSets {
  readonly voters: readonly ReplicaId[];
  readonly outgoing: readonly ReplicaId[];
  readonly learners: readonly ReplicaId[];
  readonly learnersNext: readonly ReplicaId[];
}

/**
 * The replicas of a group whose configuration has become `conf`; their nodes are those of `known` and
 * `added`.
 * @returns undefined when a member's node is in neither: the change must be void
 */
export function replicasOfConf(
  conf: ConfSets,
  known: readonly ReplicaSite[],
  added: readonly ReplicaSite[],
): ReplicaDescriptor[] | undefined {
  const nodes = new Map([...known, ...added].map((r) => [r.replicaId, r.nodeId]));
  const ids = new Set([...conf.voters, ...conf.outgoing, ...conf.learners, ...conf.learnersNext]);
  const joint = conf.outgoing.length > 0;
  const replicas: ReplicaDescriptor[] = [];
  for (const replicaId of [...ids].sort((a, b) => a - b)) {
    const nodeId = nodes.get(replicaId);
    if (nodeId === undefined) return undefined;
    const incoming = conf.voters.includes(replicaId);
    const outgoing = conf.outgoing.includes(replicaId);
    const voter = joint ? (incoming && outgoing ? "voter" : incoming ? "incoming" : "outgoing") : "voter";
    replicas.push({ replicaId, nodeId, role: incoming || outgoing ? voter : "learner" });
  }
  return replicas;
}

// ── Reports ──────────────────────────────────────────────────────────────────────────────────────────

/** What a shard's leader knows of another replica. */
export interface PeerReport {
  readonly replicaId: ReplicaId;
  /** Entries it is behind the leader's last. */
  readonly lag: number;
  /** Heard of within the last check-quorum round. */
  readonly active: boolean;
  readonly state: "Probe" | "Replicate" | "Snapshot";
}

/** Where a leader would split its shard, as asked by a `suggest` order; of one range version. */
export interface SplitHint {
  readonly by: "size" | "load";
  readonly ways: number;
  readonly version: number;
  /** Empty: it cannot be split so. */
  readonly boundaries: readonly Uint8Array[];
  /** Why not; empty otherwise. */
  readonly blocked: string;
}

/** What only the leader of a group says about it. */
export interface LeadReport {
  readonly descriptor: ShardDescriptor;
  readonly peers: readonly PeerReport[];
  readonly bytes: number;
  readonly keys: number;
  readonly writesPerSecond: number;
  readonly readsPerSecond: number;
  readonly splitHint?: SplitHint;
  /** The shard stands still, to be merged. `everywhere`: each of its replicas has that in its log, durably. */
  readonly frozen?: Frozen & { readonly everywhere: boolean };
  /** Each replica has acknowledged an entry: it has had its first state durably, and not only by a split (R5). */
  readonly rooted: boolean;
}

/** One replica on the reporting node. `leaderless`: it knows of no leader (R33). */
export interface ReplicaReport {
  readonly group: GroupId;
  readonly replicaId: ReplicaId;
  readonly term: number;
  readonly state: "leader" | "follower" | "leaderless";
  /** By the replica's own configuration; a replica of an older membership betrays itself here (R34). */
  readonly confVersion: number;
  readonly lead?: LeadReport;
}

/** What changes seldom about a node; in full reports. */
export interface NodeInfo {
  readonly name: string;
  /** host:port of its HTTP listener. */
  readonly http: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly pid: number;
  readonly version: string;
  /** Wall clock, ms since 1970. */
  readonly startedAtMs: number;
}

/** From memory, waking nothing (R33). A delta says what changed since the report before it was answered. */
export interface NodeReport {
  /** Counts up with each report of a process. */
  readonly sequence: number;
  /** The placement term in which the last full report was answered; 0 with a full one. */
  readonly baseTerm: number;
  /** Of the delta: the sequence of the report it is based on. A full report has all replicas and `info`. */
  readonly baseSequence: number;
  readonly info?: NodeInfo;
  readonly wallMicros: number;
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
  readonly bytes: number;
  readonly fsyncP99Ms: number;
  /** The routes this node has. */
  readonly routes: RouteVersion;
  readonly settingsVersion: number;
  /** Of the nodes placement asked about: those that this node's own link finds gone (R32). */
  readonly absent: readonly NodeId[];
  readonly replicas: readonly ReplicaReport[];
  readonly removed: readonly GroupId[];
}

function replicaReportFields(r: ReplicaReport): unknown[] {
  const l = r.lead;
  const lead =
    l === undefined
      ? null
      : [
          descriptorFields(l.descriptor),
          l.peers.map((p) => [p.replicaId, p.lag, p.active, p.state]),
          l.bytes,
          l.keys,
          l.writesPerSecond,
          l.readsPerSecond,
          l.splitHint === undefined ? null : hintFields(l.splitHint),
          l.frozen === undefined ? null : [...frozenFields(l.frozen), l.frozen.everywhere],
          l.rooted,
        ];
  return [r.group, r.replicaId, r.term, r.state, r.confVersion, lead];
}

function hintFields(h: SplitHint): unknown[] {
  return [h.by, h.ways, h.version, h.boundaries, h.blocked];
}

function readHint(value: unknown): SplitHint {
  const f = new FieldReader(value, "split hint");
  return {
    by: f.choice(["size", "load"] as const),
    ways: f.integer(2),
    version: f.integer(),
    boundaries: f.list((key) => new FieldReader([key], "split boundary").bytes().slice()),
    blocked: f.text(),
  };
}

function readLead(value: unknown): LeadReport {
  const f = new FieldReader(value, "lead report");
  const lead = {
    descriptor: readDescriptor(f.any()),
    peers: f.list((element) => {
      const p = new FieldReader(element, "peer report");
      return {
        replicaId: p.integer(1),
        lag: p.integer(),
        active: p.boolean(),
        state: p.choice(["Probe", "Replicate", "Snapshot"] as const),
      };
    }),
    bytes: f.number(),
    keys: f.number(),
    writesPerSecond: f.number(),
    readsPerSecond: f.number(),
  };
  const splitHint = f.optional((r) => readHint(r.any()));
  const frozen = f.optional((r) => {
    const fields = r.list((field) => field);
    return { ...readFrozen(fields), everywhere: fields.at(-1) === true };
  });
  const rooted = f.optional((r) => r.boolean()) ?? false;
  return {
    ...lead,
    rooted,
    ...(splitHint === undefined ? {} : { splitHint }),
    ...(frozen === undefined ? {} : { frozen }),
  };
}

function readReplicaReport(value: unknown): ReplicaReport {
  const f = new FieldReader(value, "replica report");
  const head = {
    group: f.integer(),
    replicaId: f.integer(1),
    term: f.integer(),
    state: f.choice(["leader", "follower", "leaderless"] as const),
    confVersion: f.integer(),
  };
  const lead = f.optional((r) => readLead(r.any()));
  return { ...head, ...(lead === undefined ? {} : { lead }) };
}

function readInfo(value: unknown): NodeInfo {
  const f = new FieldReader(value, "node info");
  return {
    name: f.text(),
    http: f.text(),
    labels: readLabels(f.record()),
    pid: f.integer(),
    version: f.text(),
    startedAtMs: f.integer(),
  };
}

function readLabels(record: Readonly<Record<string, unknown>>): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [name, value] of Object.entries(record)) {
    if (typeof value !== "string") throw new ProtocolError(`label ${name}: not text`);
    labels[name] = value;
  }
  return labels;
}

export function encodeNodeReport(r: NodeReport): Uint8Array {
  const i = r.info;
  return encode([
    r.sequence,
    r.baseTerm,
    r.baseSequence,
    i === undefined ? null : [i.name, i.http, i.labels, i.pid, i.version, i.startedAtMs],
    r.wallMicros,
    r.diskFreeBytes,
    r.diskTotalBytes,
    r.bytes,
    r.fsyncP99Ms,
    r.routes.term,
    r.routes.sequence,
    r.settingsVersion,
    r.absent,
    r.replicas.map(replicaReportFields),
    r.removed,
  ]);
}

/** @throws ProtocolError */
export function decodeNodeReport(bytes: Uint8Array): NodeReport {
  const f = FieldReader.of(bytes, "node report");
  const head = { sequence: f.integer(1), baseTerm: f.integer(), baseSequence: f.integer() };
  const info = f.optional((r) => readInfo(r.any()));
  return {
    ...head,
    ...(info === undefined ? {} : { info }),
    wallMicros: f.integer(),
    diskFreeBytes: f.number(),
    diskTotalBytes: f.number(),
    bytes: f.number(),
    fsyncP99Ms: f.number(),
    routes: { term: f.integer(), sequence: f.integer() },
    settingsVersion: f.integer(),
    absent: f.list((id) => integerOf(id, "node id")),
    replicas: f.list(readReplicaReport),
    removed: f.list((id) => integerOf(id, "group")),
  };
}

function integerOf(value: unknown, what: string): number {
  return new FieldReader([value], what).integer();
}

// ── Orders: steps on their way to a node, logged before (R32) ────────────────────────────────────────

/** One membership change of an order, by node: the agent makes Raft's from it. */
export interface ConfOrder {
  readonly changes: readonly { readonly kind: "voter" | "learner" | "remove"; readonly id: ReplicaId }[];
  /** True: through a joint configuration that a later, empty order leaves. */
  readonly joint: boolean;
  readonly context: ConfContext;
}

export type Order =
  /** The first replica here of a new shard (R5): everything about it is decided in placement's log. */
  | {
      readonly kind: "create";
      readonly shard: ShardDescriptor;
      readonly keyspace: KeyspaceDescriptor;
      readonly replicaId: ReplicaId;
      readonly index: number;
      readonly term: number;
      /** The designated first leader campaigns at once. */
      readonly campaign: boolean;
    }
  | { readonly kind: "transfer"; readonly group: GroupId; readonly to: ReplicaId }
  | { readonly kind: "conf"; readonly group: GroupId; readonly change: ConfOrder }
  /** Say in the next report where this shard should be split. */
  | {
      readonly kind: "suggest";
      readonly group: GroupId;
      readonly by: "size" | "load";
      readonly ways: number;
      readonly partition: Partition;
      readonly slots: number;
    }
  | { readonly kind: "split"; readonly group: GroupId; readonly split: SplitCommand }
  /** One step of a merge, in the log of a shard led there. */
  | { readonly kind: "merge"; readonly group: GroupId; readonly step: MergeStep }
  /**
   * Only for a replica that a newer membership does not have, or of a retired shard (R34). `into`: not while
   * the node's own replica of that one has yet to take over what this one has.
   */
  | {
      readonly kind: "destroy";
      readonly group: GroupId;
      readonly replicaId: ReplicaId;
      readonly reason: string;
      readonly into?: MergedInto;
    };

function orderFields(o: Order): unknown[] {
  switch (o.kind) {
    case "create":
      return [
        o.kind,
        descriptorFields(o.shard),
        keyspaceFields(o.keyspace),
        o.replicaId,
        o.index,
        o.term,
        o.campaign,
      ];
    case "transfer":
      return [o.kind, o.group, o.to];
    case "conf": {
      const { changes, joint, context } = o.change;
      return [o.kind, o.group, changes.map((c) => [c.kind, c.id]), joint, encodeConfContext(context)];
    }
    case "suggest":
      return [o.kind, o.group, o.by, o.ways, o.partition, o.slots];
    case "split":
      return [o.kind, o.group, encodeSplit(o.split)];
    case "merge":
      return [o.kind, o.group, encodeMergeStep(o.step)];
    default: {
      const into = o.into === undefined ? null : [o.into.group, o.into.version];
      return [o.kind, o.group, o.replicaId, o.reason, into];
    }
  }
}

function readOrder(value: unknown): Order {
  const f = new FieldReader(value, "order");
  const kind = f.choice(["create", "transfer", "conf", "suggest", "split", "merge", "destroy"] as const);
  switch (kind) {
    case "create":
      return {
        kind,
        shard: readDescriptor(f.any()),
        keyspace: readKeyspace(f.any()),
        replicaId: f.integer(1),
        index: f.integer(1),
        term: f.integer(1),
        campaign: f.boolean(),
      };
    case "transfer":
      return { kind, group: f.integer(), to: f.integer(1) };
    case "conf":
      return {
        kind,
        group: f.integer(),
        change: {
          changes: f.list((element) => {
            const c = new FieldReader(element, "change");
            return { kind: c.choice(["voter", "learner", "remove"] as const), id: c.integer(1) };
          }),
          joint: f.boolean(),
          context: decodeConfContext(f.bytes()),
        },
      };
    case "suggest":
      return {
        kind,
        group: f.integer(1),
        by: f.choice(["size", "load"] as const),
        ways: f.integer(2),
        partition: f.choice(["hash", "range"] as const),
        slots: f.integer(),
      };
    case "split": {
      const group = f.integer(1);
      const split = FieldReader.of(f.bytes(), "split order");
      if (split.integer() !== splitTag) throw new ProtocolError("split order: not a split");
      return { kind, group, split: readSplit(split) };
    }
    case "merge": {
      const group = f.integer(1);
      const step = decodeMergeStep(f.bytes());
      if (step === undefined) throw new ProtocolError("merge order: not a merge's step");
      return { kind, group, step };
    }
    default: {
      const head = { kind, group: f.integer(), replicaId: f.integer(1), reason: f.text() };
      const into = f.optional((r) => readMergedInto(r.any()));
      return { ...head, ...(into === undefined ? {} : { into }) };
    }
  }
}

function readMergedInto(value: unknown): MergedInto {
  const f = new FieldReader(value, "merged into");
  return { group: f.integer(1), version: f.integer() };
}

/** A node's own standing, told with each report's answer. */
export interface Standing {
  readonly membership: Membership;
  /** Its clock is far from most of the others': it must give up leadership (R25). */
  readonly clockBad: boolean;
}

export type Membership = "active" | "draining" | "decommissioning" | "decommissioned";

export const memberships: readonly Membership[] = ["active", "draining", "decommissioning", "decommissioned"];

/** Settings with their version: the index of the last change in placement's log. */
export interface VersionedSettings {
  readonly version: number;
  readonly values: Settings;
}

export type ReportReply =
  | {
      readonly kind: "ok";
      readonly term: number;
      /** Placement has not what the delta is based on: the next report must be full. */
      readonly wantFull: boolean;
      readonly standing: Standing;
      readonly clusterVersion: number;
      /** Only where the report's version differs. */
      readonly settings?: VersionedSettings;
      /** Nodes placement does not hear: the next report says which of them this node's link misses too. */
      readonly ask: readonly NodeId[];
      readonly members: readonly NodeId[];
      readonly orders: readonly Order[];
    }
  | { readonly kind: "not_leader"; readonly leader?: NodeId }
  /** This id was deleted, or never given: the node must stop. */
  | { readonly kind: "not_a_member"; readonly detail: string };

function readIds(f: FieldReader, what: string): number[] {
  return f.list((id) => integerOf(id, what));
}

function settingsFields(s: VersionedSettings | undefined): unknown {
  return s === undefined ? null : [s.version, s.values];
}

/** Settings of a newer version that this one does not know are left out; missing ones take their default. */
function readSettings(value: unknown): VersionedSettings {
  const f = new FieldReader(value, "settings");
  const version = f.integer();
  const known = Object.entries(f.record()).filter(([name]) => Object.hasOwn(defaultSettings, name));
  const values = changeSettings(defaultSettings, Object.fromEntries(known));
  if (typeof values === "string") throw new ProtocolError(`settings: ${values}`);
  return { version, values };
}

export function encodeReportReply(r: ReportReply): Uint8Array {
  switch (r.kind) {
    case "ok":
      return encode([
        r.kind,
        r.term,
        r.wantFull,
        r.standing.membership,
        r.standing.clockBad,
        r.clusterVersion,
        settingsFields(r.settings),
        r.ask,
        r.members,
        r.orders.map(orderFields),
      ]);
    case "not_leader":
      return encode([r.kind, r.leader ?? null]);
    default:
      return encode([r.kind, r.detail]);
  }
}

/** @throws ProtocolError */
export function decodeReportReply(bytes: Uint8Array): ReportReply {
  const f = FieldReader.of(bytes, "report reply");
  const kind = f.choice(["ok", "not_leader", "not_a_member"] as const);
  if (kind === "not_a_member") return { kind, detail: f.text() };
  if (kind === "not_leader") return { kind, ...readLeader(f) };
  const head = {
    kind,
    term: f.integer(1),
    wantFull: f.boolean(),
    standing: { membership: f.choice(memberships), clockBad: f.boolean() },
    clusterVersion: f.integer(),
  };
  const settings = f.optional((r) => readSettings(r.any()));
  return {
    ...head,
    ...(settings === undefined ? {} : { settings }),
    ask: readIds(f, "node id"),
    members: readIds(f, "node id"),
    orders: f.list(readOrder),
  };
}

function readLeader(f: FieldReader): { leader?: NodeId } {
  const leader = f.optional((r) => r.integer(1));
  return leader === undefined ? {} : { leader };
}

// ── Stateless routers ────────────────────────────────────────────────────────────────────────────────

/** A stateless router's word that it is there: who repeats it is sent route changes. */
export interface RegisterRequest {
  readonly routes: RouteVersion;
  readonly settingsVersion: number;
}

export type RegisterReply =
  | { readonly kind: "ok"; readonly settings?: VersionedSettings }
  | { readonly kind: "not_leader"; readonly leader?: NodeId };

export function encodeRegisterRequest(r: RegisterRequest): Uint8Array {
  return encode([r.routes.term, r.routes.sequence, r.settingsVersion]);
}

/** @throws ProtocolError */
export function decodeRegisterRequest(bytes: Uint8Array): RegisterRequest {
  const f = FieldReader.of(bytes, "register request");
  return { routes: { term: f.integer(), sequence: f.integer() }, settingsVersion: f.integer() };
}

export function encodeRegisterReply(r: RegisterReply): Uint8Array {
  return encode(r.kind === "ok" ? [r.kind, settingsFields(r.settings)] : [r.kind, r.leader ?? null]);
}

/** @throws ProtocolError */
export function decodeRegisterReply(bytes: Uint8Array): RegisterReply {
  const f = FieldReader.of(bytes, "register reply");
  const kind = f.choice(["ok", "not_leader"] as const);
  if (kind === "not_leader") return { kind, ...readLeader(f) };
  const settings = f.optional((r) => readSettings(r.any()));
  return { kind, ...(settings === undefined ? {} : { settings }) };
}

// ── Join ─────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Asked of all who listen under a cluster's name. `probe`: before a bootstrap (R30). `node`: an empty
 * directory wants in; the same nonce gets the same answer. `router`: a stateless router.
 */
export type JoinRequest =
  | { readonly kind: "probe" }
  | {
      readonly kind: "node";
      readonly nonce: string;
      readonly name: string;
      readonly http: string;
      readonly labels: Readonly<Record<string, string>>;
      readonly version: string;
    }
  | { readonly kind: "router" };

export type JoinReply =
  /** To a probe, and from a member that is not placement's leader: there is a cluster. */
  | { readonly kind: "member"; readonly clusterId: ClusterId; readonly leader?: NodeId }
  | {
      readonly kind: "joined";
      readonly clusterId: ClusterId;
      readonly nodeId: NodeId;
      readonly members: readonly NodeId[];
    }
  | { readonly kind: "refused"; readonly clusterId: ClusterId; readonly detail: string }
  | {
      readonly kind: "router";
      readonly clusterId: ClusterId;
      readonly members: readonly NodeId[];
      /** The answering member's table; absent while it has none. */
      readonly routes?: RouteTable;
      readonly settings: VersionedSettings;
    };

export function encodeJoinRequest(r: JoinRequest): Uint8Array {
  return encode(r.kind === "node" ? [r.kind, r.nonce, r.name, r.http, r.labels, r.version] : [r.kind]);
}

/** @throws ProtocolError */
export function decodeJoinRequest(bytes: Uint8Array): JoinRequest {
  const f = FieldReader.of(bytes, "join request");
  const kind = f.choice(["probe", "node", "router"] as const);
  if (kind !== "node") return { kind };
  return {
    kind,
    nonce: f.text(),
    name: f.text(),
    http: f.text(),
    labels: readLabels(f.record()),
    version: f.text(),
  };
}

export function encodeJoinReply(r: JoinReply): Uint8Array {
  switch (r.kind) {
    case "member":
      return encode([r.kind, r.clusterId, r.leader ?? null]);
    case "joined":
      return encode([r.kind, r.clusterId, r.nodeId, r.members]);
    case "refused":
      return encode([r.kind, r.clusterId, r.detail]);
    default: {
      const routes = r.routes === undefined ? null : encodeRouteTable(r.routes);
      return encode([r.kind, r.clusterId, r.members, routes, settingsFields(r.settings)]);
    }
  }
}

/** @throws ProtocolError */
export function decodeJoinReply(bytes: Uint8Array): JoinReply {
  const f = new FieldReader(decode(bytes), "join reply");
  const kind = f.choice(["member", "joined", "refused", "router"] as const);
  const clusterId = f.text();
  switch (kind) {
    case "member":
      return { kind, clusterId, ...readLeader(f) };
    case "joined":
      return { kind, clusterId, nodeId: f.integer(1), members: readIds(f, "node id") };
    case "refused":
      return { kind, clusterId, detail: f.text() };
    default: {
      const members = readIds(f, "node id");
      const routes = f.optional((r) => decodeRouteTable(r.bytes()));
      return {
        kind,
        clusterId,
        members,
        ...(routes === undefined ? {} : { routes }),
        settings: readSettings(f.any()),
      };
    }
  }
}
