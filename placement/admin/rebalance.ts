import type { NodeId } from "#proto";
import { type Model, nameOf } from "../model.ts";
import type { Blocker, Plan } from "../plan/book.ts";
import { planRebalance, tasksOf } from "../plan/plans.ts";
import { type AdminContext, type Answer, carryOut } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";

type Json = Readonly<Record<string, unknown>>;

/** `{dry_run?, plan?}` */
export function rebalance(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model, plans } = context;
  const dryRun = parameters.truth("dry_run") ?? false;
  const asked = parameters.text("plan");
  parameters.end();
  const plan = asked === undefined ? planRebalance(model) : takePlan(context, asked, "rebalance");
  const planId = asked ?? plans.remember(plan, model);
  const body = planView(model, planId, plan);
  if (dryRun) return answerPlan(body, answer);
  const running = [...model.state.jobs.values()].find(
    (job) => job.kind === "rebalance" && job.state === "running",
  );
  if (running !== undefined) throw new Refusal("conflict", `operation ${running.id} rebalances already`);
  const tasks = tasksOf(plan.steps);
  const { reason } = plan;
  const job = { kind: "rebalance", reason, shards: [], total: tasks.length, tasks, plan: planId } as const;
  carryOut(context, { command: { name: "job.begin", job }, status: 202, body, isOperation: true }, answer);
}

export function answerPlan(body: Json, answer: Answer): void {
  answer({ kind: "ok", status: 200, body });
}

/** A plan that was shown, still of the cluster as it is. @throws Refusal */
export function takePlan(context: AdminContext, id: string, kind: Plan["kind"], node?: NodeId): Plan {
  const found = context.plans.find(id, context.model);
  if (found.kind === "changed") throw new Refusal("conflict", found.detail);
  if (found.kind === "unknown" || found.plan.kind !== kind || found.plan.node !== node) {
    throw new Refusal("not_found", `there is no such plan ${id}`);
  }
  return found.plan;
}

export function planView(model: Model, id: string, plan: Plan): Json {
  return {
    plan: id,
    steps: plan.steps.map(({ shard, action, from, to, reason, bytes, etaMs }) => ({
      shard,
      action,
      from: nameOf(model, from),
      to: nameOf(model, to),
      reason,
      bytes,
      eta_ms: etaMs,
    })),
    blockers: blockersView(model, plan.blockers),
    imbalance: plan.imbalance,
    eta_ms: plan.etaMs,
    reason: plan.reason,
  };
}

export function blockersView(model: Model, blockers: readonly Blocker[]): Json[] {
  return blockers.map(({ shard, node, reason }) => ({
    ...(shard === undefined ? {} : { shard }),
    ...(node === undefined ? {} : { node: nameOf(model, node) }),
    reason,
  }));
}
