import { changeSettings } from "#proto";
import { type Applied, type CommandOf, done, refused } from "./applied.ts";
import { beginJob, endJob, extendJob, settleTask } from "./apply-jobs.ts";
import { decideMerge } from "./apply-merges.ts";
import { changeMembership, deleteNode, join, liveness, refresh, update } from "./apply-nodes.ts";
import { advanceOperation, beginOperation, decideSplit, endOperation, finish } from "./apply-operations.ts";
import {
  bearShards,
  createKeyspace,
  deleteKeyspace,
  mergeShards,
  reportShards,
  retireShards,
  splitShard,
} from "./apply-shards.ts";
import type { Command } from "./commands.ts";
import type { NewEvent } from "./events.ts";
import type { Tables } from "./rows.ts";

/** Answers under idempotency keys are kept for this long, and so many at most. */
const onceKeepMicros = 24 * 3_600_000_000;
export const onceMax = 1_000;

/**
 * Applies one command at a stamp. A function of rows and command alone; what does not fit the present state
 * is refused and changes nothing.
 */
export function applyCommand(tables: Tables, command: Command, stampMicros: number): Applied {
  const applied = applyOne(tables, command, stampMicros);
  const endsJobs = command.name === "job.end" || command.name.startsWith("node.");
  if (!endsJobs || !applied.result.ok) return applied;
  return { ...applied, events: [...applied.events, ...endPartsOfEndedJobs(tables, stampMicros)] };
}

/** What a job had under way ends with it; what it leaves half done is tidied up as after any failure. */
function endPartsOfEndedJobs(tables: Tables, stampMicros: number): NewEvent[] {
  const { operations, jobs } = tables.state;
  return [...operations.values()].flatMap((row) => {
    const orphaned = row.job !== undefined && jobs.get(row.job)?.state !== "running";
    if (row.state !== "running" || !orphaned) return [];
    return finish(tables, row, "cancelled", `operation ${row.job} has ended`, stampMicros).events;
  });
}

function applyOne(tables: Tables, command: Command, stampMicros: number): Applied {
  switch (command.name) {
    case "node.join":
      return join(tables, command, stampMicros);
    case "node.refresh":
      return refresh(tables, command);
    case "node.liveness":
      return liveness(tables, command, stampMicros);
    case "node.update":
      return update(tables, command, stampMicros);
    case "node.membership":
      return changeMembership(tables, command, stampMicros);
    case "node.delete":
      return deleteNode(tables, command, stampMicros);
    case "keyspace.create":
      return createKeyspace(tables, command, stampMicros);
    case "keyspace.delete":
      return deleteKeyspace(tables, command, stampMicros);
    case "shards.report":
      return reportShards(tables, command);
    case "shards.born":
      return bearShards(tables, command);
    case "shards.retire":
      return retireShards(tables, command, stampMicros);
    case "shards.split":
      return splitShard(tables, command, stampMicros);
    case "shards.merge":
      return mergeShards(tables, command, stampMicros);
    case "logs.compacted": {
      const { count, reason, shard } = command;
      const about = shard === undefined ? {} : { shard };
      return done(count, { atMicros: stampMicros, kind: "logs_compacted", reason, ...about });
    }
    case "config.set":
      return setConfig(tables, command, stampMicros);
    case "operation.begin":
      return beginOperation(tables, command, stampMicros);
    case "operation.split":
      return decideSplit(tables, command, stampMicros);
    case "operation.merge":
      return decideMerge(tables, command, stampMicros);
    case "operation.advance":
      return advanceOperation(tables, command, stampMicros);
    case "operation.end":
      return endOperation(tables, command, stampMicros);
    case "job.begin":
      return beginJob(tables, command.job, stampMicros);
    case "job.extend":
      return extendJob(tables, command);
    case "job.task":
      return settleTask(tables, command, stampMicros);
    case "job.end":
      return endJob(tables, command, stampMicros);
    case "once":
      return once(tables, command, stampMicros);
  }
}

/** What was refused leaves no record: asked again, it may be possible by then. */
function once(tables: Tables, c: CommandOf<"once">, stampMicros: number): Applied {
  const known = tables.state.once.get(c.key);
  if (known !== undefined && known.atMicros + onceKeepMicros > stampMicros) {
    return known.fingerprint === c.fingerprint
      ? { result: { ok: true, value: known.value, replayed: true }, events: [] }
      : { result: { ok: false, mismatch: true, detail: mismatchDetail(c.key) }, events: [] };
  }
  const applied = applyCommand(tables, c.command, stampMicros);
  if (!applied.result.ok) return applied;
  if (known !== undefined) tables.deleteOnce(known);
  const { key, fingerprint, status, body } = c;
  const rows = [...tables.state.once.values()];
  const sequence = rows.reduce((max, row) => Math.max(max, row.sequence), 0) + 1;
  const { value } = applied.result;
  tables.putOnce({ key, sequence, atMicros: stampMicros, fingerprint, status, body, value });
  rows.sort((a, b) => a.sequence - b.sequence);
  for (const [i, row] of rows.entries()) {
    if (row.atMicros + onceKeepMicros <= stampMicros || i < rows.length + 1 - onceMax) tables.deleteOnce(row);
  }
  return applied;
}

export function mismatchDetail(key: string): string {
  return `the idempotency key ${JSON.stringify(key)} belongs to another request`;
}

function setConfig(tables: Tables, c: CommandOf<"config.set">, stampMicros: number): Applied {
  const { state } = tables;
  const settings = changeSettings(state.settings, c.changes);
  if (typeof settings === "string") return refused(settings);
  tables.putSettings(settings, state.settingsVersion + 1);
  // As TiKV's max-replicas: it holds for what is there, too. The replica checker does the rest.
  for (const keyspace of [...state.keyspaces.values()]) {
    if (keyspace.ownReplicas === true || keyspace.replicas === settings.replicas) continue;
    tables.putKeyspace({ ...keyspace, replicas: settings.replicas });
  }
  const reason = Object.entries(c.changes)
    .map(([name, value]) => `${name} set to ${String(value)}`)
    .join(", ");
  return done(state.settingsVersion, { atMicros: stampMicros, kind: "config_changed", reason });
}
