import { halves, isVoter, type Model, type NodeModel } from "../model.ts";
import { leadersToGive } from "../plan/jobs.ts";
import { planDecommission, tasksOf } from "../plan/plans.ts";
import { groupsOn } from "../state.ts";
import { type AdminContext, type Answer, carryOut, takeNode } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";
import { answerPlan, blockersView, planView, takePlan } from "./rebalance.ts";

const labelsMax = 32;
const labelTextMax = 128;
const weightMax = 1_000;

/** `{name, labels?, weight?}`; labels replace those there are. */
export function patchNode(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { row } = takeNode(context.model, parameters);
  const labels = readLabels(parameters.take("labels"));
  const weight = readWeight(parameters.take("weight"));
  parameters.end();
  if (labels === undefined && weight === undefined) {
    throw new Refusal("bad_request", "nothing to change: labels or weight");
  }
  const command = {
    name: "node.update",
    id: row.id,
    ...(labels === undefined ? {} : { labels }),
    ...(weight === undefined ? {} : { weight }),
  } as const;
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

function readLabels(value: unknown): Record<string, string> | undefined {
  if (value === undefined) return undefined;
  const wrong = (why: string): never => {
    throw new Refusal("bad_parameter", `labels: ${why}`);
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return wrong("must be an object");
  const entries = Object.entries(value);
  if (entries.length > labelsMax) return wrong(`at most ${labelsMax}`);
  const labels: Record<string, string> = {};
  for (const [name, text] of entries) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/.test(name))
      return wrong(`${JSON.stringify(name)} is no label's name`);
    if (typeof text !== "string" || text.length > labelTextMax) return wrong(`${name} must be a short text`);
    labels[name] = text;
  }
  return labels;
}

function readWeight(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "number" && value > 0 && value <= weightMax) return value;
  throw new Refusal("bad_parameter", `weight: must be a number above 0, at most ${weightMax}`);
}

/** `{name, for?}`: leaders leave, replicas stay; until `for` is over its being down starts no repair. */
export function drainNode(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const node = takeNode(model, parameters);
  const forMs = parameters.durationMs("for");
  parameters.end();
  const { id, name, membership } = node.row;
  if (membership !== "active" && membership !== "draining") {
    throw new Refusal("conflict", `${name} is ${membership}`);
  }
  const blockers = drainBlockers(model, node);
  if (blockers.length > 0) {
    throw new Refusal("blocked", `${name} cannot be drained now`, {
      blockers: blockersView(model, blockers),
    });
  }
  const until = forMs === undefined ? "" : `, and its being down starts no repair for ${forMs / 1000} s`;
  const reason = `${name} is drained: its leaders leave${until}`;
  const total = leadersToGive(model, id);
  const command = {
    name: "node.membership",
    id,
    membership: "draining",
    ...(forMs === undefined ? {} : { untilMicros: model.wallMicros + forMs * 1_000 }),
    job: { kind: "drain", reason, node: id, shards: [], total, tasks: [] },
  } as const;
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

/** Groups that would have fewer than a quorum of voters on nodes that neither drain nor are down. */
function drainBlockers(model: Model, { row }: NodeModel): { shard?: number; node: number; reason: string }[] {
  const stays = (id: number): boolean => {
    const node = model.nodes.get(id);
    return (
      id !== row.id && node !== undefined && node.liveness !== "down" && node.row.membership !== "draining"
    );
  };
  const short = [model.placement, ...model.shards.values()].filter(({ descriptor }) => {
    if (!descriptor.replicas.some((r) => isVoter(r) && r.nodeId === row.id)) return false;
    return halves(descriptor).some(
      (half) => half.length > 1 && half.filter((r) => stays(r.nodeId)).length * 2 <= half.length,
    );
  });
  const [first] = short;
  if (first === undefined) return [];
  const what = first.id === 0 ? "placement" : `shard ${first.id}`;
  const more = short.length === 1 ? "" : ` and ${short.length - 1} more`;
  const reason = `${what}${more} would have too few voters on nodes that neither drain nor are down: undrain another node, or start those that are down`;
  return [{ ...(first.id === 0 ? {} : { shard: first.id }), node: row.id, reason }];
}

/** `{name}` */
export function undrainNode(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { row } = takeNode(context.model, parameters);
  parameters.end();
  if (row.membership !== "active" && row.membership !== "draining") {
    throw new Refusal("conflict", `${row.name} is ${row.membership}`);
  }
  activate(context, row.id, "undrain", `${row.name} may lead again`, answer);
}

/** `{name}`: it may have replicas again; those that have left come back as the balance asks for. */
export function recommissionNode(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { row } = takeNode(context.model, parameters);
  parameters.end();
  if (row.membership !== "decommissioning" && row.membership !== "decommissioned") {
    throw new Refusal("conflict", `${row.name} is ${row.membership}`);
  }
  activate(context, row.id, "recommission", `${row.name} may have replicas again`, answer);
}

function activate(
  context: AdminContext,
  id: number,
  kind: "undrain" | "recommission",
  reason: string,
  answer: Answer,
): void {
  const job = { kind, reason, node: id, shards: [], total: 0, tasks: [] } as const;
  const command = { name: "node.membership", id, membership: "active", job } as const;
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

/** `{name, dry_run?, plan?}`: every replica leaves; nothing is begun while something is in the way. */
export function decommissionNode(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const { row } = takeNode(model, parameters);
  const dryRun = parameters.truth("dry_run") ?? false;
  const asked = parameters.text("plan");
  parameters.end();
  if (row.membership !== "active" && row.membership !== "draining") {
    throw new Refusal("conflict", `${row.name} is ${row.membership}`);
  }
  const plan =
    asked === undefined ? planDecommission(model, row.id) : takePlan(context, asked, "decommission", row.id);
  const planId = asked ?? context.plans.remember(plan, model);
  const body = planView(model, planId, plan);
  if (dryRun) return answerPlan(body, answer);
  if (plan.blockers.length > 0) throw new Refusal("blocked", plan.reason, body);
  const tasks = tasksOf(plan.steps);
  const total = groupsOn(model.state, row.id).length;
  const reason = `${row.name} is decommissioned: its ${total} replicas leave`;
  const command = {
    name: "node.membership",
    id: row.id,
    membership: "decommissioning",
    job: { kind: "decommission", reason, node: row.id, shards: [], total, tasks, plan: planId },
  } as const;
  carryOut(context, { command, status: 202, body, isOperation: true }, answer);
}

/** `{name, force?}`: its id is never given again, its name may be. */
export function deleteNode(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const { row, liveness } = takeNode(model, parameters);
  const force = parameters.truth("force") ?? false;
  parameters.end();
  const replicas = groupsOn(model.state, row.id).length;
  const isEmpty = row.membership === "decommissioned" && replicas === 0;
  const isLost = force && liveness === "down" && row.downSinceMicros !== undefined;
  if (!isEmpty && !isLost) {
    const how = force ? "only a node that is down can be deleted by force" : "decommission it first";
    throw new Refusal(
      "conflict",
      `${row.name} is ${row.membership}, ${liveness}, with ${replicas} replicas: ${how}`,
    );
  }
  const reason = isEmpty
    ? `${row.name} was deleted after its decommissioning`
    : replicas === 0
      ? `${row.name} was deleted while down: its replicas had been made again elsewhere`
      : `${row.name} was deleted while down: its ${replicas} replicas are made again elsewhere`;
  const command = { name: "node.delete", id: row.id, force, reason } as const;
  const body = { name: row.name, id: row.id, deleted: true };
  carryOut(context, { command, status: 200, body, isOperation: false }, answer);
}
