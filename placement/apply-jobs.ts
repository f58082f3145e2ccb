import type { NodeId } from "#proto";
import { type Applied, type CommandOf, done, refused } from "./applied.ts";
import type { NewJob } from "./commands.ts";
import type { NewEvent } from "./events.ts";
import type { Tables } from "./rows.ts";
import { groupsOn, type JobRow, jobOf, type OperationRow, type OperationState, type Task } from "./state.ts";

/** Commands about jobs: work on many groups. @module */

/** Finished jobs that are kept to be looked at. */
export const finishedJobsMax = 200;
/** A task is tried so often before it counts as failed. */
export const taskAttemptsMax = 3;

/** What has nothing to wait for is done when it is begun. */
const atOnce: ReadonlySet<JobRow["kind"]> = new Set(["update_node", "undrain", "recommission"]);

export function beginJob(tables: Tables, job: NewJob, stampMicros: number): Applied {
  const { counters } = tables.state;
  const id = counters.operation;
  tables.putCounters({ ...counters, operation: id + 1 });
  const row: JobRow = { ...job, id, state: "running", startedMicros: stampMicros };
  tables.putJob(row);
  const event = jobEvent(job.kind, row, job.reason, stampMicros);
  if (!atOnce.has(job.kind)) return done(id, event);
  return done(id, event, ...finishJob(tables, row, "done", "", stampMicros));
}

function jobEvent(kind: string, { node, shards }: NewJob, reason: string, atMicros: number): NewEvent {
  const shard = shards.length === 1 ? shards[0] : undefined;
  return {
    atMicros,
    kind,
    reason,
    ...(node === undefined ? {} : { node }),
    ...(shard === undefined ? {} : { shard }),
  };
}

function finishJob(
  tables: Tables,
  row: JobRow,
  state: Exclude<OperationState, "running">,
  detail: string,
  stampMicros: number,
): NewEvent[] {
  tables.putJob({
    ...row,
    state,
    finishedMicros: stampMicros,
    ...(detail === "" ? {} : { detail }),
  });
  const finished = [...tables.state.jobs.values()].filter((job) => job.state !== "running").map((j) => j.id);
  finished.sort((a, b) => a - b);
  for (const id of finished.slice(0, Math.max(0, finished.length - finishedJobsMax))) tables.deleteJob(id);
  const reason = detail === "" ? row.reason : `${row.reason}: ${detail}`;
  return [jobEvent(`${row.kind}_${state}`, row, reason, stampMicros)];
}

/** A newer order about a node takes the place of what is under way there. */
export function cancelJobOf(tables: Tables, node: NodeId, detail: string, stampMicros: number): NewEvent[] {
  const job = jobOf(tables.state, node);
  return job === undefined ? [] : finishJob(tables, job, "cancelled", detail, stampMicros);
}

export function extendJob(tables: Tables, c: CommandOf<"job.extend">): Applied {
  const job = tables.state.jobs.get(c.id);
  if (job?.state !== "running") return refused(`operation ${c.id} is not running`);
  tables.putJob({ ...job, tasks: [...job.tasks, ...c.tasks] });
  return done(c.id);
}

/** Work that is not finished must end in a state that nobody has to repair. */
export function endJob(tables: Tables, c: CommandOf<"job.end">, stampMicros: number): Applied {
  const { state } = tables;
  const job = state.jobs.get(c.id);
  if (job?.state !== "running") return refused(`operation ${c.id} is not running`);
  const node = job.node === undefined ? undefined : state.nodes.get(job.node);
  if (job.kind === "decommission" && c.state === "done" && node !== undefined) {
    if (groupsOn(state, node.id).length > 0) return refused(`${node.name} has replicas still`);
    if (node.membership === "decommissioning") tables.putNode({ ...node, membership: "decommissioned" });
  }
  const isLeaving = node?.membership === "decommissioning" || node?.membership === "draining";
  if (c.state !== "done" && node !== undefined && isLeaving) {
    const { drainUntilMicros: _, ...rest } = node;
    tables.putNode({ ...rest, membership: "active" });
  }
  return done(c.id, ...finishJob(tables, job, c.state, c.detail, stampMicros));
}

/** Ends a task without an operation. */
export function settleTask(tables: Tables, c: CommandOf<"job.task">, stampMicros: number): Applied {
  const job = tables.state.jobs.get(c.id);
  const task = job?.tasks[c.task];
  if (job?.state !== "running" || task?.state !== "waiting") return refused(`task ${c.task} does not wait`);
  putTask(tables, job, c.task, { ...task, state: c.state, ...(c.detail === "" ? {} : { detail: c.detail }) });
  if (c.state === "done") return done(c.id);
  const reason = `shard ${task.shard}: ${c.detail}`;
  return done(c.id, { atMicros: stampMicros, kind: `${job.kind}_step_failed`, reason, shard: task.shard });
}

function putTask(tables: Tables, job: JobRow, at: number, task: Task): void {
  tables.putJob({ ...job, tasks: job.tasks.map((other, i) => (i === at ? task : other)) });
}

/** Marks the task that operation `id` is about to carry out. @returns why it cannot */
export function taskBegun(tables: Tables, c: CommandOf<"operation.begin">, id: number): string | undefined {
  if (c.job === undefined || c.task === undefined) return undefined;
  const job = tables.state.jobs.get(c.job);
  const task = job?.tasks[c.task];
  if (job?.state !== "running" || task?.state !== "waiting") return `task ${c.task} does not wait`;
  putTask(tables, job, c.task, { ...task, state: "running", attempts: task.attempts + 1, operation: id });
  return undefined;
}

/** The operation of a task has ended; what failed waits to be tried again, a few times. */
export function taskEnded(
  tables: Tables,
  { id, job: jobId }: OperationRow,
  state: Exclude<OperationState, "running">,
  detail: string,
): void {
  const job = jobId === undefined ? undefined : tables.state.jobs.get(jobId);
  const at = job?.tasks.findIndex((task) => task.operation === id && task.state === "running") ?? -1;
  const task = job?.tasks[at];
  if (job === undefined || task === undefined) return;
  const again = state === "failed" && task.attempts < taskAttemptsMax;
  const next = state === "done" ? "done" : again ? "waiting" : "failed";
  putTask(tables, job, at, { ...task, state: next, ...(detail === "" ? {} : { detail }) });
}
