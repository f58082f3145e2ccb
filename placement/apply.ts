import {
  changeSettings,
  compareBytes,
  type GroupId,
  isName,
  type NodeId,
  noBytes,
  type ReplicaId,
  type ShardDescriptor,
} from "#proto";
import type { Command, CommandResult } from "./commands.ts";
import type { NewEvent } from "./events.ts";
import type { Tables } from "./rows.ts";
import { findKeyspace, findNode, type OperationRow, operationOf, type Step } from "./state.ts";

/** Finished operations that are kept to be looked at. */
export const finishedOperationsMax = 200;

type CommandOf<N extends Command["name"]> = Extract<Command, { readonly name: N }>;

export interface Applied {
  readonly result: CommandResult;
  readonly events: readonly NewEvent[];
}

/**
 * Applies one command at a stamp. A function of rows and command alone; what does not fit the present state
 * is refused and changes nothing.
 */
export function applyCommand(tables: Tables, command: Command, stampMicros: number): Applied {
  switch (command.name) {
    case "node.join":
      return join(tables, command, stampMicros);
    case "node.refresh":
      return refresh(tables, command);
    case "node.liveness":
      return liveness(tables, command, stampMicros);
    case "keyspace.create":
      return createKeyspace(tables, command, stampMicros);
    case "shards.report":
      return reportShards(tables, command);
    case "shards.born":
      return bearShards(tables, command);
    case "shards.retire":
      return retireShards(tables, command, stampMicros);
    case "config.set":
      return setConfig(tables, command, stampMicros);
    case "operation.begin":
      return beginOperation(tables, command, stampMicros);
    case "operation.advance":
      return advanceOperation(tables, command, stampMicros);
    case "operation.end":
      return endOperation(tables, command, stampMicros);
  }
}

function done(value = 0, ...events: readonly NewEvent[]): Applied {
  return { result: { ok: true, value }, events };
}

function refused(detail: string): Applied {
  return { result: { ok: false, detail }, events: [] };
}

function join(tables: Tables, c: CommandOf<"node.join">, stampMicros: number): Applied {
  const { state } = tables;
  const known = [...state.nodes.values()].find((node) => node.nonce === c.nonce);
  if (known !== undefined) {
    return known.name === c.node ? done(known.id) : refused(`this directory joined as ${known.name}`);
  }
  if (!isName(c.node)) return refused(`${JSON.stringify(c.node)} is not a name: ${nameRule}`);
  const holder = findNode(state, c.node);
  if (holder !== undefined) {
    // R1: with its disk it lost its votes; under its old id it could vote twice in a term.
    return refused(
      `the name ${c.node} belongs to node ${holder.id}, whose data this directory does not have: ` +
        `remove that node first, or join under another name`,
    );
  }
  const id = state.counters.node;
  tables.putCounters({ ...state.counters, node: id + 1 });
  tables.putNode({
    id,
    name: c.node,
    http: c.http,
    labels: c.labels,
    startLabels: c.labels,
    weight: 1,
    membership: "active",
    nonce: c.nonce,
    joinedMicros: stampMicros,
    version: c.version,
  });
  const reason = `${c.node} joined with an empty directory`;
  return done(id, { atMicros: stampMicros, kind: "node_joined", reason, node: id });
}

const nameRule = "1 to 63 of a-z 0-9 _ -, the first a letter or digit";

function refresh(tables: Tables, c: CommandOf<"node.refresh">): Applied {
  const row = tables.state.nodes.get(c.id);
  if (row === undefined) return refused(`there is no node ${c.id}`);
  const labels = sameLabels(row.startLabels, c.labels) ? row.labels : c.labels;
  tables.putNode({ ...row, http: c.http, version: c.version, labels, startLabels: c.labels });
  return done();
}

export function sameLabels(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

function liveness(tables: Tables, c: CommandOf<"node.liveness">, stampMicros: number): Applied {
  const row = tables.state.nodes.get(c.id);
  if (row === undefined) return refused(`there is no node ${c.id}`);
  const { downSinceMicros, ...rest } = row;
  tables.putNode(c.down ? { ...rest, downSinceMicros: downSinceMicros ?? stampMicros } : rest);
  return done();
}

function createKeyspace(tables: Tables, c: CommandOf<"keyspace.create">, stampMicros: number): Applied {
  const { state } = tables;
  if (!isName(c.keyspace)) return refused(`${JSON.stringify(c.keyspace)} is not a name: ${nameRule}`);
  if (findKeyspace(state, c.keyspace) !== undefined) return refused(`keyspace ${c.keyspace} exists`);
  const wrong = badPlacement(tables, c);
  if (wrong !== undefined) return refused(wrong);
  const id = state.counters.keyspace;
  tables.putCounters({ ...state.counters, keyspace: id + 1 });
  tables.putKeyspace({
    id,
    name: c.keyspace,
    partition: c.partition,
    slots: c.slots,
    replicas: c.replicas,
  });
  const events: NewEvent[] = [{ atMicros: stampMicros, kind: "keyspace_created", reason: c.reason }];
  for (const [i, nodes] of c.placements.entries()) {
    const { shard, replica } = state.counters;
    tables.putCounters({ ...state.counters, shard: shard + 1, replica: replica + nodes.length });
    const replicas = nodes.map((nodeId, n) => ({ replicaId: replica + n, nodeId, role: "voter" as const }));
    const descriptor: ShardDescriptor = {
      id: shard,
      keyspace: id,
      start: c.bounds[i] ?? noBytes,
      end: c.bounds[i + 1] ?? noBytes,
      epoch: { version: 1, confVersion: 1 },
      replicas,
    };
    tables.putShard({ descriptor, birth: { descriptor, leader: replica } });
    const names = nodes.map((node) => state.nodes.get(node)?.name ?? node).join(", ");
    const reason = `first replicas of shard ${shard} on ${names}: the nodes with the fewest`;
    events.push({ atMicros: stampMicros, kind: "shard_created", reason, shard });
  }
  return done(id, ...events);
}

function badPlacement(tables: Tables, c: CommandOf<"keyspace.create">): string | undefined {
  const { nodes } = tables.state;
  if (c.placements.length === 0 || c.bounds.length !== c.placements.length + 1) {
    return "boundaries and placements do not match";
  }
  for (let i = 1; i + 1 < c.bounds.length; i++) {
    if (compareBytes(c.bounds[i - 1] ?? noBytes, c.bounds[i] ?? noBytes) >= 0)
      return "boundaries do not rise";
  }
  for (const on of c.placements) {
    if (on.length !== c.replicas || new Set(on).size !== on.length) {
      return `each shard needs ${c.replicas} different nodes`;
    }
    const gone = on.find((node) => nodes.get(node)?.membership !== "active");
    if (gone !== undefined) return `node ${gone} is not there any more`;
  }
  return undefined;
}

function reportShards(tables: Tables, c: CommandOf<"shards.report">): Applied {
  let taken = 0;
  for (const reported of c.descriptors) {
    const row = tables.state.shards.get(reported.id);
    // Only membership changes come this way (R32); ranges change by commands of their own.
    const newer =
      row !== undefined &&
      reported.epoch.version === row.descriptor.epoch.version &&
      reported.epoch.confVersion > row.descriptor.epoch.confVersion;
    if (!newer) continue;
    const { epoch, replicas } = reported;
    tables.putShard({ ...row, descriptor: { ...row.descriptor, epoch, replicas } });
    taken += 1;
  }
  return done(taken);
}

function bearShards(tables: Tables, c: CommandOf<"shards.born">): Applied {
  for (const id of c.ids) {
    const row = tables.state.shards.get(id);
    if (row?.birth !== undefined) tables.putShard({ descriptor: row.descriptor });
  }
  return done();
}

function retireShards(tables: Tables, c: CommandOf<"shards.retire">, stampMicros: number): Applied {
  const events: NewEvent[] = [];
  for (const shard of c.ids) {
    if (!tables.state.shards.has(shard)) continue;
    tables.retireShard(shard);
    events.push({ atMicros: stampMicros, kind: "shard_retired", reason: c.reason, shard });
  }
  return done(events.length, ...events);
}

function setConfig(tables: Tables, c: CommandOf<"config.set">, stampMicros: number): Applied {
  const { state } = tables;
  const settings = changeSettings(state.settings, c.changes);
  if (typeof settings === "string") return refused(settings);
  tables.putSettings(settings, state.settingsVersion + 1);
  const reason = Object.entries(c.changes)
    .map(([name, value]) => `${name} set to ${String(value)}`)
    .join(", ");
  return done(state.settingsVersion, { atMicros: stampMicros, kind: "config_changed", reason });
}

function beginOperation(tables: Tables, c: CommandOf<"operation.begin">, stampMicros: number): Applied {
  const { state } = tables;
  if (c.group !== 0 && !state.shards.has(c.group)) return refused(`there is no shard ${c.group}`);
  const running = operationOf(state, c.group);
  if (running !== undefined) return refused(`operation ${running.id} is at work on the same group`);
  const { steps, nextReplica } = giveReplicaIds(c.steps, state.counters.replica);
  const id = state.counters.operation;
  tables.putCounters({ ...state.counters, replica: nextReplica, operation: id + 1 });
  tables.putOperation({
    id,
    kind: c.kind,
    group: c.group,
    reason: c.reason,
    steps,
    at: 0,
    stepStartedMicros: stampMicros,
    state: "running",
    startedMicros: stampMicros,
  });
  return done(id, operationEvent(c.kind, c.group, c.reason, stampMicros));
}

function operationEvent(kind: string, shard: GroupId, reason: string, atMicros: number): NewEvent {
  return { atMicros, kind, reason, ...(shard === 0 ? {} : { shard }) };
}

/**
 * New replicas stand in a plan as minus their node's id, since ids are given only here, in the log; all
 * mentions of one node become one replica.
 */
function giveReplicaIds(
  steps: readonly Step[],
  firstReplica: ReplicaId,
): { steps: Step[]; nextReplica: ReplicaId } {
  const given = new Map<NodeId, ReplicaId>();
  let nextReplica = firstReplica;
  const resolve = (id: number): ReplicaId => {
    if (id >= 0) return id;
    const replica = given.get(-id) ?? nextReplica++;
    given.set(-id, replica);
    return replica;
  };
  const resolved = steps.map((step): Step => {
    switch (step.kind) {
      case "transfer":
        return { ...step, to: resolve(step.to) };
      case "caughtUp":
        return { ...step, replicas: step.replicas.map(resolve) };
      default:
        return {
          ...step,
          added: step.added.map((site) => ({ ...site, replicaId: resolve(site.replicaId) })),
          changes: step.changes.map((change) => ({ ...change, id: resolve(change.id) })),
        };
    }
  });
  return { steps: resolved, nextReplica };
}

function advanceOperation(tables: Tables, c: CommandOf<"operation.advance">, stampMicros: number): Applied {
  const row = tables.state.operations.get(c.id);
  if (row?.state !== "running" || row.at + 1 !== c.at) return refused(`operation ${c.id} is not there`);
  if (c.at >= row.steps.length) return finish(tables, row, "done", "", stampMicros);
  tables.putOperation({ ...row, at: c.at, stepStartedMicros: stampMicros });
  return done();
}

function endOperation(tables: Tables, c: CommandOf<"operation.end">, stampMicros: number): Applied {
  const row = tables.state.operations.get(c.id);
  if (row?.state !== "running") return refused(`operation ${c.id} is not running`);
  return finish(tables, row, c.state, c.detail, stampMicros);
}

function finish(
  tables: Tables,
  row: OperationRow,
  state: OperationRow["state"],
  detail: string,
  stampMicros: number,
): Applied {
  const at = state === "done" ? row.steps.length : row.at;
  tables.putOperation({
    ...row,
    at,
    state,
    finishedMicros: stampMicros,
    ...(detail === "" ? {} : { detail }),
  });
  trimOperations(tables);
  const reason = detail === "" ? row.reason : `${row.reason}: ${detail}`;
  return done(row.id, operationEvent(`${row.kind}_${state}`, row.group, reason, stampMicros));
}

function trimOperations(tables: Tables): void {
  const finished = [...tables.state.operations.values()]
    .filter((row) => row.state !== "running")
    .map((row) => row.id)
    .sort((a, b) => a - b);
  for (const id of finished.slice(0, Math.max(0, finished.length - finishedOperationsMax))) {
    tables.deleteOperation(id);
  }
}
