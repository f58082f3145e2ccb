import { encodeKey, inRange, slotBoundary, slotOf } from "#proto";
import { type GroupModel, isCaughtUp, isVoter, type Model, type NodeModel } from "../model.ts";
import { draftOf } from "../plan/board.ts";
import { areNeighbours, beginMerge } from "../plan/merges.ts";
import { beginMove, beginTransfer } from "../plan/moves.ts";
import { planScatter, tasksOf } from "../plan/plans.ts";
import { beginSplit, isOneSlot, slotsOf, splitAt } from "../plan/splits.ts";
import type { Step } from "../state.ts";
import { type AdminContext, type Answer, carryOut, takeNode, takeShard } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";

/** Shards of one split, at most. */
const waysMax = 64;

/** Only one operation at a time works on a shard; what evens out leaders gives way. @throws Refusal */
function demandFree({ id, operation, birth }: GroupModel): void {
  if (operation !== undefined && operation.background !== true) {
    throw new Refusal("conflict", `operation ${operation.id} is at work on shard ${id}: ${operation.reason}`);
  }
  if (birth !== undefined) throw new Refusal("conflict", `shard ${id} is being created`);
}

/** `{id, from, to}` */
export function moveReplica(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const shard = takeShard(model, parameters);
  const from = takeNode(model, parameters, "from");
  const to = takeNode(model, parameters, "to");
  parameters.end();
  const held = shard.descriptor.replicas;
  if (!held.some((r) => r.nodeId === from.row.id && isVoter(r))) {
    throw new Refusal("conflict", `${from.row.name} has no replica of shard ${shard.id}`);
  }
  if (held.some((r) => r.nodeId === to.row.id)) {
    throw new Refusal("conflict", `${to.row.name} has a replica of shard ${shard.id} already`);
  }
  demandFree(shard);
  demandTarget(model, shard, to);
  const reason = `an operator moves shard ${shard.id} from ${from.row.name} to ${to.row.name}`;
  const move = { from: from.row.id, to: to.row.id };
  const command = beginMove(shard, move, { kind: "move_replica", reason, turn: true });
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

function demandTarget(model: Model, shard: GroupModel, { row, usable, liveness }: NodeModel): void {
  const blocked = (reason: string): never => {
    throw new Refusal("blocked", reason, { blockers: [{ shard: shard.id, node: row.name, reason }] });
  };
  if (!usable) {
    const state = row.membership === "active" ? liveness : row.membership;
    return blocked(`${row.name} is ${state} and takes no replicas`);
  }
  const draft = draftOf(model, { background: false });
  const piece = draft.shards.get(shard.id);
  if (piece !== undefined && !draft.fits(piece, row.id)) {
    blocked(`${row.name} has no room for the ${piece.bytes} bytes of shard ${shard.id}`);
  }
}

/** `{id, to}` */
export function transferLeader(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const shard = takeShard(model, parameters);
  const to = takeNode(model, parameters, "to");
  parameters.end();
  const { id: nodeId, name } = to.row;
  demandFree(shard);
  const reason = `an operator lets ${name} lead shard ${shard.id}`;
  const command = beginTransfer(shard, nodeId, { reason });
  if (command === undefined) throw new Refusal("conflict", `${name} has no voter of shard ${shard.id}`);
  const target = shard.descriptor.replicas.find((r) => r.nodeId === nodeId);
  const blocked = (why: string): never => {
    const blockers = [{ shard: shard.id, node: name, reason: why }];
    throw new Refusal("blocked", why, { blockers });
  };
  if (to.row.membership === "draining") blocked(`${name} is draining: it may not lead`);
  if (to.liveness !== "up") blocked(`${name} is ${to.liveness}`);
  if (shard.leader === undefined) blocked(`shard ${shard.id} has no leader`);
  if (target !== undefined && !isCaughtUp(shard, target.replicaId))
    blocked(`the replica on ${name} is behind`);
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

/** `{id}` */
export function scatterShard(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const shard = takeShard(model, parameters);
  parameters.end();
  demandFree(shard);
  const tasks = tasksOf(planScatter(model, shard));
  const reason =
    tasks.length === 0
      ? `shard ${shard.id} is where a scattering would put it`
      : `an operator scatters shard ${shard.id}: ${tasks.length} steps`;
  const job = { kind: "scatter", reason, shards: [shard.id], total: tasks.length, tasks } as const;
  const command = { name: "job.begin", job } as const;
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

/** `{id, at?, ways?}`: at a user's key, or in so many parts of about equal size. */
export function splitShard(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const shard = takeShard(model, parameters);
  const at = parameters.key("at");
  const ways = parameters.whole("ways", 2, waysMax);
  parameters.end();
  if (at !== undefined && ways !== undefined)
    throw new Refusal("bad_parameter", "ways: not together with at");
  demandFree(shard);
  if (isOneSlot(shard)) {
    const reason = `shard ${shard.id} is one slot already`;
    throw new Refusal("blocked", reason, { blockers: [{ shard: shard.id, reason }] });
  }
  const step: Step =
    at === undefined
      ? { kind: "suggest", by: "size", ways: ways ?? 2 }
      : splitAt(shard, [boundaryAt(shard, at)]);
  const how = at === undefined ? `in ${ways ?? 2}` : "at a key";
  const command = beginSplit(shard, `an operator splits shard ${shard.id} ${how}`, step);
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

/** `{id, with}`: shard `id` takes over the range of its neighbour `with`. */
export function mergeShards(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const target = takeShard(model, parameters);
  const other = parameters.whole("with", 1) ?? 0;
  parameters.end();
  const source = model.shards.get(other);
  if (source === undefined) throw new Refusal("not_found", `there is no shard ${other}`);
  if (!areNeighbours(source, target))
    throw new Refusal("conflict", `shard ${other} is not a neighbour of shard ${target.id}`);
  demandFree(source);
  demandFree(target);
  for (const shard of [source, target]) demandWhole(shard);
  const reason = `an operator merges shard ${source.id} into shard ${target.id}`;
  const command = beginMerge(source, target, reason);
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

/** A merge waits for every replica: begun without one, it could only fail. */
function demandWhole({ id, health, descriptor }: GroupModel): void {
  const whole = health === "healthy" && descriptor.replicas.every((r) => r.role === "voter");
  if (whole) return;
  const reason = `shard ${id} has not all its replicas: a merge needs every one of both shards`;
  throw new Refusal("blocked", reason, { blockers: [{ shard: id, reason }] });
}

/** In a hash keyspace the boundary of the key's slot, or the next one inside the shard. */
function boundaryAt(shard: GroupModel, key: Uint8Array): Uint8Array {
  const { descriptor, keyspace } = shard;
  const { partition, slots } = keyspace ?? { partition: "range", slots: 0 };
  const encoded = encodeKey(key, partition, slots);
  if (!inRange(encoded, descriptor.start, descriptor.end)) {
    throw new Refusal("bad_parameter", `at: the key is not in shard ${shard.id}`);
  }
  if (partition === "hash") {
    const { first, end } = slotsOf(shard);
    return slotBoundary(Math.min(Math.max(slotOf(key, slots), first + 1), end - 1));
  }
  if (Buffer.compare(encoded, descriptor.start) === 0) {
    throw new Refusal("bad_parameter", `at: shard ${shard.id} begins with that key`);
  }
  return encoded;
}
