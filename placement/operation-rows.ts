import { FieldReader } from "#proto";
import {
  type Decision,
  type JobRow,
  jobKinds,
  type MoveInfo,
  type OnceRow,
  type OperationRow,
  operationKinds,
  operationStates,
} from "./state.ts";
import { readStep, readTask, stepFields, taskFields } from "./steps.ts";

/** Rows of what is under way, what was done, and why. @module */

export function moveFields(move: MoveInfo | undefined): unknown {
  return move === undefined ? null : [move.from ?? null, move.to ?? null, move.bytes];
}

/** @throws ProtocolError */
export function readMove(value: unknown): MoveInfo {
  const f = new FieldReader(value, "move");
  const from = f.optional((r) => r.integer(1));
  const to = f.optional((r) => r.integer(1));
  const bytes = f.integer();
  return { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }), bytes };
}

export function operationFields(row: OperationRow): unknown[] {
  return [
    row.id,
    row.kind,
    row.group,
    row.reason,
    row.steps.map(stepFields),
    row.at,
    row.stepStartedMicros,
    row.state,
    row.startedMicros,
    row.finishedMicros ?? null,
    row.detail ?? null,
    moveFields(row.move),
    row.job ?? null,
    row.background ?? false,
    row.target ?? null,
    row.rollback === undefined ? null : [row.rollback.state, row.rollback.detail],
  ];
}

/** @throws ProtocolError */
export function readOperation(f: FieldReader): OperationRow {
  const row = {
    id: f.integer(1),
    kind: f.choice(operationKinds),
    group: f.integer(),
    reason: f.text(),
    steps: f.list(readStep),
    at: f.integer(),
    stepStartedMicros: f.integer(),
    state: f.choice(operationStates),
    startedMicros: f.integer(),
  };
  const ending = readEnding(f);
  const move = f.optional((r) => readMove(r.any()));
  const job = f.optional((r) => r.integer(1));
  const background = f.optional((r) => r.boolean()) ?? false;
  const target = f.optional((r) => r.integer(1));
  const rollback = f.optional((r) => readRollback(r.any()));
  return {
    ...row,
    ...ending,
    ...(move === undefined ? {} : { move }),
    ...(job === undefined ? {} : { job }),
    ...(background ? { background } : {}),
    ...(target === undefined ? {} : { target }),
    ...(rollback === undefined ? {} : { rollback }),
  };
}

function readRollback(value: unknown): NonNullable<OperationRow["rollback"]> {
  const f = new FieldReader(value, "rollback");
  return { state: f.choice(["failed", "cancelled"] as const), detail: f.text() };
}

function readEnding(f: FieldReader): { finishedMicros?: number; detail?: string } {
  const finishedMicros = f.optional((r) => r.integer());
  const detail = f.optional((r) => r.text());
  return {
    ...(finishedMicros === undefined ? {} : { finishedMicros }),
    ...(detail === undefined ? {} : { detail }),
  };
}

export function jobFields(row: JobRow): unknown[] {
  return [
    row.id,
    row.kind,
    row.reason,
    row.node ?? null,
    row.shards,
    row.total,
    row.tasks.map(taskFields),
    row.plan ?? null,
    row.state,
    row.startedMicros,
    row.finishedMicros ?? null,
    row.detail ?? null,
  ];
}

/** @throws ProtocolError */
export function readJob(f: FieldReader): JobRow {
  const head = { id: f.integer(1), kind: f.choice(jobKinds), reason: f.text() };
  const node = f.optional((r) => r.integer(1));
  const work = {
    shards: f.list((id) => new FieldReader([id], "shard id").integer(1)),
    total: f.integer(),
    tasks: f.list(readTask),
  };
  const plan = f.optional((r) => r.text());
  const state = { state: f.choice(operationStates), startedMicros: f.integer() };
  return {
    ...head,
    ...(node === undefined ? {} : { node }),
    ...work,
    ...(plan === undefined ? {} : { plan }),
    ...state,
    ...readEnding(f),
  };
}

/** @throws ProtocolError */
export function readDecisions(fields: unknown): Decision[] {
  return new FieldReader([fields], "decisions").list((element) => {
    const f = new FieldReader(element, "decision");
    return { atMicros: f.integer(), kind: f.text(), reason: f.text() };
  });
}

export function onceFields(row: OnceRow): unknown[] {
  return [row.key, row.sequence, row.atMicros, row.fingerprint, row.status, row.body, row.value];
}

/** @throws ProtocolError */
export function readOnce(f: FieldReader): OnceRow {
  return {
    key: f.text(),
    sequence: f.integer(),
    atMicros: f.integer(),
    fingerprint: f.text(),
    status: f.integer(),
    body: f.any(),
    value: f.integer(),
  };
}
