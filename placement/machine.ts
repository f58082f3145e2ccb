import {
  decodeConfContext,
  encode,
  FieldReader,
  type GroupId,
  type NodeId,
  ProtocolError,
  placementGroup,
  type ReplicaId,
  replicasOfConf,
} from "#proto";
import type { ConfChange, ConfState, Entry } from "#raft/core";
import type { GroupView, ReplicaInit, StateMachine } from "#raft/host";
import type { Clock } from "#runtime";
import type { Engine, OverlayBatch, Range } from "#storage";
import { applyCommand } from "./apply.ts";
import { type CommandResult, decodeCommand } from "./commands.ts";
import type { NewEvent } from "./events.ts";
import { loadState, placementRange, Tables } from "./rows.ts";
import { emptyState, type KeyspaceWish, ownDescriptor, type PlacementState } from "./state.ts";

/** Version of an entry's data: `[format, stamp µs, [command…]]`. */
const entryFormat = 1;

/** The fixed first state of every new group (R5): its log begins behind this index and term, as TiKV's do. */
export const firstIndex = 10;
export const firstTerm = 5;

export interface MachineOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  /** After an entry was applied. Runs inside the host's turn: only note it there. */
  readonly onApplied: () => void;
  readonly onEvent: (event: NewEvent) => void;
  readonly onLeadership: (view: GroupView) => void;
  readonly onClosed: () => void;
}

/** Group 0's state machine: what placement has decided, the same on each of its members. */
export class PlacementMachine implements StateMachine {
  /** Replaced as a whole by `load`; hold the machine, not this. */
  state: PlacementState;
  readonly #options: MachineOptions;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.state = loadState(options.engine);
  }

  encodeEntry(commands: readonly Uint8Array[]): Uint8Array {
    return encode([entryFormat, this.#options.clock.wallMicros(), commands]);
  }

  apply(entry: Entry, tx: OverlayBatch): readonly CommandResult[] {
    const f = FieldReader.of(entry.data, "placement entry");
    const format = f.integer();
    if (format !== entryFormat) throw new ProtocolError(`placement entry of an unknown format ${format}`);
    const stampMicros = Math.max(f.integer(), this.state.clockMicros + 1);
    const tables = new Tables(this.state, tx);
    tables.putClock(stampMicros);
    const results = f.list((element) => {
      const command = decodeCommand(new FieldReader([element], "placement command").bytes());
      const { result, events } = applyCommand(tables, command, stampMicros);
      for (const event of events) this.#options.onEvent(event);
      return result;
    });
    this.#options.onApplied();
    return results;
  }

  applyConfChange(_entry: Entry, change: ConfChange, conf: ConfState, tx: OverlayBatch): boolean {
    const { own } = this.state;
    const context = change.context.length === 0 ? undefined : decodeConfContext(change.context);
    // Only leaving a joint state may come without an epoch: it means the same whenever it is applied (R6).
    if (context === undefined && change.changes.length > 0) return false;
    if (context !== undefined && context.expectedConfVersion !== own.epoch.confVersion) return false;
    const replicas = replicasOfConf(conf, own.replicas, context?.replicas ?? []);
    if (replicas === undefined) return false;
    new Tables(this.state, tx).putOwn(ownDescriptor(own.epoch.confVersion + 1, replicas));
    this.#options.onApplied();
    return true;
  }

  snapshotRanges(): readonly Range[] {
    return [placementRange];
  }

  load(): void {
    this.state = loadState(this.#options.engine);
    this.#options.onApplied();
  }

  nodeOf(replica: ReplicaId): NodeId | undefined {
    return this.state.own.replicas.find((r) => r.replicaId === replica)?.nodeId;
  }

  leadershipChanged(view: GroupView): void {
    this.#options.onLeadership(view);
  }

  closed(): void {
    this.#options.onClosed();
  }
}

/**
 * Is `group` a shard that is gone, or does a membership not older than the replica's own lack it? (R34)
 * @param confVersion - by the replica's own descriptor; 0: it has none yet, so that its shard's log may be
 *   about to bring it in, and only the end of the operation that made it condemns it
 */
export function isOrphan(
  state: PlacementState,
  group: GroupId,
  replica: ReplicaId,
  confVersion: number,
): string | undefined {
  if (state.retired.has(group)) return `shard ${group} is no more`;
  const descriptor = group === placementGroup ? state.own : state.shards.get(group)?.descriptor;
  if (descriptor === undefined) return undefined;
  if (descriptor.replicas.some((r) => r.replicaId === replica)) return undefined;
  if (confVersion === 0) return isAbandoned(state, group, replica);
  // At its own membership's number it has applied its removal itself; below, the removal came after.
  return descriptor.epoch.confVersion >= confVersion
    ? `membership ${descriptor.epoch.confVersion} of group ${group} is without replica ${replica}`
    : undefined;
}

/**
 * A replica without rows is a learner that a running operation brings in; or it was one, or a first replica of a
 * split's child, and the membership has gone on without it. It would keep its place from the next one of its
 * group on that node, so it does not wait for the end of an operation that has nothing to do with it.
 */
function isAbandoned(state: PlacementState, group: GroupId, replica: ReplicaId): string | undefined {
  for (const row of state.operations.values()) {
    if (row.group !== group || row.state !== "running") continue;
    const isComing = row.steps.some(
      (step) => step.kind === "conf" && step.added.some((site) => site.replicaId === replica),
    );
    if (isComing) return undefined;
  }
  return `replica ${replica} was taken out of group ${group} before it had data`;
}

export interface BootstrapNode {
  readonly name: string;
  readonly http: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
  readonly nonce: string;
}

export const bootstrapNodeId: NodeId = 1;

/** Group 0's first replica, on the bootstrap node alone: it is node 1, replica 1, and the only voter. */
export function bootstrapReplica(options: {
  readonly clusterId: string;
  readonly clusterName: string;
  readonly wish: KeyspaceWish;
  readonly node: BootstrapNode;
  readonly wallMicros: number;
}): ReplicaInit {
  const replica: ReplicaId = 1;
  return {
    group: placementGroup,
    replica,
    conf: { voters: [replica], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
    index: firstIndex,
    term: firstTerm,
    rows: (tx) => writeBootstrapRows(new Tables(emptyState(), tx), options, replica),
  };
}

function writeBootstrapRows(
  tables: Tables,
  options: Parameters<typeof bootstrapReplica>[0],
  replicaId: ReplicaId,
): void {
  const { node, wallMicros } = options;
  const nodeId = bootstrapNodeId;
  tables.putCluster({
    id: options.clusterId,
    name: options.clusterName,
    createdMicros: wallMicros,
    version: 1,
    wish: options.wish,
  });
  tables.putCounters({ node: nodeId + 1, keyspace: 1, shard: 1, replica: replicaId + 1, operation: 1 });
  tables.putClock(wallMicros);
  // New keyspaces, later ones too, have the bootstrap's number of replicas until an operator says otherwise.
  tables.putSettings({ ...tables.state.settings, replicas: options.wish.replicas }, 1);
  tables.putOwn(ownDescriptor(1, [{ replicaId, nodeId, role: "voter" }]));
  tables.putNode({
    id: nodeId,
    name: node.name,
    http: node.http,
    labels: node.labels,
    startLabels: node.labels,
    weight: 1,
    membership: "active",
    nonce: node.nonce,
    joinedMicros: wallMicros,
    version: node.version,
  });
}
