import type { OperationRow } from "../state.ts";
import { type AdminContext, type Answer, carryOut } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";
import { jobView, operationView } from "./views.ts";

/** From its freeze on a merge ends only when what it did is undone. */
function mustTakeBack({ kind, steps, at }: OperationRow): boolean {
  const under = steps[at]?.kind;
  return kind === "merge" && (under === "freeze" || under === "merge");
}

/**
 * `{id}`: ends it where it stands. What is half done is tidied up: a learner is removed, a joint change is
 * completed, a node that was leaving stays.
 */
export function cancelOperation(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { state } = context.model;
  const id = parameters.whole("id", 1) ?? 0;
  parameters.end();
  const row = state.operations.get(id) ?? state.jobs.get(id);
  if (row === undefined) throw new Refusal("not_found", `there is no operation ${id}`);
  if (row.state !== "running") throw new Refusal("conflict", `operation ${id} is ${row.state}`);
  if ("rollback" in row) throw new Refusal("conflict", `operation ${id} is being taken back`);
  const detail = "cancelled by an operator";
  const end = { state: "cancelled", finishedMicros: context.model.wallMicros, detail } as const;
  const isJob = "tasks" in row;
  const body = isJob
    ? jobView(context.model, { ...row, ...end })
    : operationView(context.model, mustTakeBack(row) ? row : { ...row, ...end });
  const command = { name: isJob ? "job.end" : "operation.end", id, state: "cancelled", detail } as const;
  carryOut(context, { command, status: 200, body, isOperation: false }, answer);
}
