import type { NodeId } from "#proto";
import type { Command } from "../commands.ts";
import { isCaughtUp, isStaying, isVoter, type Model, nameOf } from "../model.ts";
import { groupsOn, type JobRow, type Task } from "../state.ts";
import { draftOf, isIdle } from "./board.ts";
import type { Checker } from "./decision.ts";
import { MoveRoom } from "./limits.ts";
import { beginMove, beginTransfer } from "./moves.ts";
import { evacuate } from "./replica-moves.ts";

/** Leader transfers of jobs under way at once. */
const transfersMax = 8;

/** Moves every running job on: begins the tasks whose turn has come, and ends what is done. */
export const checkJobs: Checker = (model) => {
  const commands: Command[] = [];
  const room = new MoveRoom(model);
  for (const job of model.state.jobs.values()) {
    if (job.state === "running") commands.push(...progress(model, job, room));
  }
  return commands;
};

function progress(model: Model, job: JobRow, room: MoveRoom): Command[] {
  const { id } = job;
  const over: Command = { name: "job.end", id, state: "done", detail: "" };
  const isFixed = job.kind === "rebalance" || job.kind === "scatter";
  // What is under way ends by itself: a membership may be complete before its last steps are.
  const underWay = job.tasks.some((task) => task.state === "running");
  if (!isFixed && !underWay && leftOf(model, job) === 0) return [over];
  const begun = beginTasks(model, job, room);
  if (begun.length > 0 || job.tasks.some((task) => !isOver(task))) return begun;
  if (job.kind === "decommission") return planRest(model, job);
  if (!isFixed) return [];
  const failures = job.tasks.filter((task) => task.state === "failed");
  const [first] = failures;
  if (first === undefined) return [over];
  const why = first.detail === undefined ? "" : `, such as shard ${first.shard}: ${first.detail}`;
  const detail = `${failures.length} of ${job.tasks.length} steps failed${why}`;
  return [{ name: "job.end", id, state: "failed", detail }];
}

function isOver({ state }: Task): boolean {
  return state === "done" || state === "failed";
}

/** What a job still has to do: leaders to give away, replicas to move off or to destroy, tasks. */
export function leftOf(model: Model, job: JobRow): number {
  const { node } = job;
  switch (job.kind) {
    case "drain":
      return node === undefined ? 0 : leadersToGive(model, node);
    case "decommission":
      return node === undefined ? 0 : groupsOn(model.state, node).length;
    case "delete_keyspace": {
      const shards = new Set(job.shards);
      const replicas = [...model.nodes.values()].flatMap((n) => [...(n.heard?.replicas.keys() ?? [])]);
      return replicas.filter((group) => shards.has(group)).length;
    }
    default:
      return job.tasks.filter((task) => !isOver(task)).length;
  }
}

/** Groups led there that another voter could lead. */
export function leadersToGive(model: Model, node: NodeId): number {
  const led = [model.placement, ...model.shards.values()].filter((group) => group.leader?.nodeId === node);
  return led.filter(({ descriptor }) =>
    descriptor.replicas.some((r) => {
      if (r.nodeId === node || !isVoter(r)) return false;
      const there = model.nodes.get(r.nodeId);
      return there?.liveness === "up" && there.row.membership !== "draining";
    }),
  ).length;
}

function beginTasks(model: Model, job: JobRow, room: MoveRoom): Command[] {
  const commands: Command[] = [];
  // Steps of one shard follow each other; those of others need not wait.
  const busy = new Set<number>();
  let transfers = job.tasks.filter((t) => t.state === "running" && t.action === "transfer_leader").length;
  for (const [at, task] of job.tasks.entries()) {
    if (isOver(task)) continue;
    const first = !busy.has(task.shard);
    busy.add(task.shard);
    if (!first || task.state !== "waiting") continue;
    const settled = settle(model, task);
    if (settled !== undefined) {
      commands.push({ name: "job.task", id: job.id, task: at, ...settled });
      continue;
    }
    if (waitsFor(model, task, room) !== undefined) continue;
    if (task.action === "transfer_leader" && transfers >= transfersMax) continue;
    const command = commandOf(model, job, at, task);
    if (command === undefined) continue;
    commands.push(command);
    if (task.action === "move") room.take(task);
    else transfers += 1;
  }
  return commands;
}

function commandOf(model: Model, { id: job }: JobRow, at: number, task: Task): Command | undefined {
  const shard = model.shards.get(task.shard);
  if (shard === undefined) return undefined;
  const parts = { reason: task.reason, job, task: at };
  const { from, to } = task;
  return task.action === "move"
    ? beginMove(shard, { from, to }, { kind: "move_replica", ...parts })
    : beginTransfer(shard, to, parts);
}

/** A task that needs no operation any more, or cannot have one. */
function settle(
  model: Model,
  { action, shard: id, from, to }: Task,
): { readonly state: "done" | "failed"; readonly detail: string } | undefined {
  const shard = model.shards.get(id);
  if (shard === undefined) return { state: "failed", detail: "the shard is no more" };
  const held = shard.descriptor.replicas.map((r) => r.nodeId);
  const target = model.nodes.get(to);
  // What is under way there may be what the plan counted with, or the very same by other hands: its end tells.
  const idle = isIdle(shard);
  if (action === "transfer_leader") {
    if (shard.leader?.nodeId === to) return { state: "done", detail: "" };
    if (idle && !held.includes(to)) return failed(`${nameOf(model, to)} has no replica of it`);
  } else if (idle && !held.includes(from)) {
    if (held.includes(to)) return { state: "done", detail: "" };
    return failed(`${nameOf(model, from)} has no replica of it any more`);
  } else if (idle && held.includes(to)) {
    return failed(`${nameOf(model, to)} has a replica of it already`);
  }
  if (target === undefined || target.liveness === "down" || !isStaying(target.row.membership)) {
    return failed(`${nameOf(model, to)} is ${target === undefined ? "no more" : target.row.membership}`);
  }
  return undefined;
}

function failed(detail: string): { readonly state: "failed"; readonly detail: string } {
  return { state: "failed", detail };
}

/** What a waiting task waits for, in words; undefined when it may begin. */
export function waitsFor(model: Model, task: Task, room: MoveRoom): string | undefined {
  const shard = model.shards.get(task.shard);
  if (shard === undefined) return undefined;
  if (shard.leader === undefined) return `shard ${task.shard} has no leader`;
  if (shard.operation !== undefined)
    return `operation ${shard.operation.id} is at work on shard ${task.shard}`;
  if (!isIdle(shard)) return `the membership of shard ${task.shard} is changing`;
  const target = model.nodes.get(task.to);
  if (target?.usable !== true) return `${nameOf(model, task.to)} is ${target?.liveness ?? "gone"}`;
  if (task.action === "move") {
    const full = room.full(task).map((node) => nameOf(model, node));
    return full.length === 0 ? undefined : `${full.join(" and ")} have as many moves under way as they may`;
  }
  const replica = shard.descriptor.replicas.find((r) => r.nodeId === task.to);
  const level = replica !== undefined && isCaughtUp(shard, replica.replicaId);
  return level ? undefined : `the replica of shard ${task.shard} on ${nameOf(model, task.to)} is behind`;
}

/** What is left when all steps of a decommissioning are over, because some failed or shards were added. */
function planRest(model: Model, { id, node }: JobRow): Command[] {
  if (node === undefined) return [];
  const { moves } = evacuate(draftOf(model, { background: true }), new Set([node]));
  if (moves.length === 0) return [];
  const reason = `${nameOf(model, node)} is being decommissioned`;
  const tasks = moves.map((move): Task => ({ ...move, ...newTask, reason, action: "move" }));
  return [{ name: "job.extend", id, tasks }];
}

export const newTask: Pick<Task, "state" | "attempts"> = { state: "waiting", attempts: 0 };
