import { compareBytes, equalBytes, type GroupId, isName, noBytes, type ShardDescriptor } from "#proto";
import { type Applied, type CommandOf, done, nameRule, refused } from "./applied.ts";
import { beginJob } from "./apply-jobs.ts";
import { finish } from "./apply-operations.ts";
import type { NewEvent } from "./events.ts";
import type { Tables } from "./rows.ts";
import { findKeyspace } from "./state.ts";

/** Commands about keyspaces and shards. @module */

export function createKeyspace(
  tables: Tables,
  c: CommandOf<"keyspace.create">,
  stampMicros: number,
): Applied {
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
    ...(c.ownReplicas === true ? { ownReplicas: true } : {}),
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
    tables.noteDecision(shard, { atMicros: stampMicros, kind: "shard_created", reason });
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

export function deleteKeyspace(
  tables: Tables,
  c: CommandOf<"keyspace.delete">,
  stampMicros: number,
): Applied {
  const { state } = tables;
  const keyspace = state.keyspaces.get(c.id);
  if (keyspace === undefined) return refused(`there is no keyspace ${c.id}`);
  const merge = [...state.operations.values()].find(
    (row) => row.kind === "merge" && row.state === "running" && isOf(tables, row.group, c.id),
  );
  // Its target's replicas need the source's until they have taken it over.
  if (merge !== undefined) return refused(`operation ${merge.id} merges shards of it`);
  const shards = [...state.shards.values()]
    .map((row) => row.descriptor)
    .filter((shard) => shard.keyspace === c.id)
    .map((shard) => shard.id);
  for (const shard of shards) tables.retireShard(shard);
  tables.deleteKeyspace(c.id);
  const job = { kind: "delete_keyspace", reason: c.reason, shards, total: c.total, tasks: [] } as const;
  const begun = beginJob(tables, job, stampMicros);
  const retired = shards.map(
    (shard): NewEvent => ({ atMicros: stampMicros, kind: "shard_retired", reason: c.reason, shard }),
  );
  return { result: begun.result, events: [...begun.events, ...retired] };
}

function isOf({ state }: Tables, group: GroupId, keyspace: number): boolean {
  return state.shards.get(group)?.descriptor.keyspace === keyspace;
}

export function reportShards(tables: Tables, c: CommandOf<"shards.report">): Applied {
  let taken = 0;
  for (const reported of c.descriptors) {
    const row = tables.state.shards.get(reported.id);
    if (row === undefined || !isNewsOf(reported, row.descriptor)) continue;
    const { epoch, replicas } = reported;
    tables.putShard({ ...row, descriptor: { ...row.descriptor, epoch, replicas } });
    taken += 1;
  }
  return done(taken);
}

/**
 * A newer epoch of the same range: a membership change (R32), or what a merge did that has not come about. Ranges
 * change by commands of their own.
 */
export function isNewsOf(reported: ShardDescriptor, known: ShardDescriptor): boolean {
  const { version, confVersion } = known.epoch;
  if (reported.epoch.version === version) return reported.epoch.confVersion > confVersion;
  const sameRange = equalBytes(reported.start, known.start) && equalBytes(reported.end, known.end);
  return sameRange && reported.epoch.version > version && reported.epoch.confVersion >= confVersion;
}

export function bearShards(tables: Tables, c: CommandOf<"shards.born">): Applied {
  for (const id of c.ids) {
    const row = tables.state.shards.get(id);
    if (row?.birth !== undefined) tables.putShard({ descriptor: row.descriptor });
  }
  return done();
}

export function retireShards(tables: Tables, c: CommandOf<"shards.retire">, stampMicros: number): Applied {
  const events: NewEvent[] = [];
  for (const shard of c.ids) {
    if (!tables.state.shards.has(shard)) continue;
    tables.retireShard(shard);
    events.push({ atMicros: stampMicros, kind: "shard_retired", reason: c.reason, shard });
  }
  return done(events.length, ...events);
}

/**
 * The parent keeps what is before the first boundary; each child begins at one. All of them change in this
 * one command, so that the shards tile their keyspace at every moment.
 */
export function splitShard(tables: Tables, c: CommandOf<"shards.split">, stampMicros: number): Applied {
  const { state } = tables;
  const operation = state.operations.get(c.id);
  const step = operation?.steps.find((s) => s.kind === "split");
  const row = operation === undefined ? undefined : state.shards.get(operation.group);
  if (operation === undefined || step === undefined || row === undefined) {
    return refused(`there is no split ${c.id}`);
  }
  const { descriptor: parent } = row;
  if (parent.epoch.version !== step.expected.version) return refused(`split ${c.id} is recorded already`);
  const epoch = { ...parent.epoch, version: parent.epoch.version + 1 };
  const end = step.boundaries[0] ?? noBytes;
  tables.putShard({ ...row, descriptor: { ...parent, end, epoch } });
  const events: NewEvent[] = [];
  for (const [i, child] of step.children.entries()) {
    const start = step.boundaries[i] ?? noBytes;
    const ids = new Map(child.replicas.map((r) => [r.parent, r.child]));
    const replicas = parent.replicas.flatMap((r) => {
      const replicaId = ids.get(r.replicaId);
      return replicaId === undefined ? [] : [{ ...r, replicaId }];
    });
    const end = step.boundaries[i + 1] ?? parent.end;
    tables.putShard({ descriptor: { ...parent, id: child.id, start, end, epoch, replicas } });
    const reason = `split from shard ${parent.id}: ${operation.reason}`;
    tables.noteDecision(child.id, { atMicros: stampMicros, kind: "shard_created", reason });
    events.push({ atMicros: stampMicros, kind: "shard_created", reason, shard: child.id });
  }
  return done(step.children.length, ...events);
}

/** One shard is no more, the other has both ranges, in this one command: they tile at every moment. */
export function mergeShards(tables: Tables, c: CommandOf<"shards.merge">, stampMicros: number): Applied {
  const { state } = tables;
  const row = state.operations.get(c.id);
  const step = row?.steps.find((s) => s.kind === "merge");
  const target = row?.target === undefined ? undefined : state.shards.get(row.target);
  const source = row === undefined ? undefined : state.shards.get(row.group)?.descriptor;
  if (row?.state !== "running" || step === undefined || target === undefined || source === undefined)
    return refused(`there is no merge ${c.id}`);
  const { descriptor } = target;
  const sourceFirst = compareBytes(source.start, descriptor.start) < 0;
  const version = Math.max(step.source.epoch.version, step.expected.version) + 1;
  tables.putShard({
    ...target,
    descriptor: {
      ...descriptor,
      start: sourceFirst ? source.start : descriptor.start,
      end: sourceFirst ? descriptor.end : source.end,
      epoch: { ...descriptor.epoch, version },
    },
  });
  tables.retireShard(source.id, { group: descriptor.id, version });
  const reason = `shard ${source.id} has become a part of shard ${descriptor.id}: ${row.reason}`;
  tables.noteDecision(descriptor.id, { atMicros: stampMicros, kind: "merge", reason });
  const ended = finish(tables, row, "done", "", stampMicros);
  const events = [
    { atMicros: stampMicros, kind: "shard_retired", reason, shard: source.id },
    { atMicros: stampMicros, kind: "shard_merged", reason, shard: descriptor.id },
  ];
  return { result: ended.result, events: [...ended.events, ...events] };
}
