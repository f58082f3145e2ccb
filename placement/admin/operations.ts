import { type AdminContext, type Answer, carryOut } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";
import { jobView, operationView } from "./views.ts";

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
  const detail = "cancelled by an operator";
  const end = { state: "cancelled", finishedMicros: context.model.wallMicros, detail } as const;
  const isJob = "tasks" in row;
  const body = isJob
    ? jobView(context.model, { ...row, ...end })
    : operationView(context.model, { ...row, ...end });
  const command = { name: isJob ? "job.end" : "operation.end", id, state: "cancelled", detail } as const;
  carryOut(context, { command, status: 200, body, isOperation: false }, answer);
}
