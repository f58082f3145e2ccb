import {
  type Answer,
  type Call,
  conditionHolds,
  type HistoryCondition,
  isRead,
  type Operation,
} from "./history.ts";

/** A register with revisions, between two operations. */
export interface Register {
  readonly present: boolean;
  /** Of the present value; 0 when absent, `unresolvedRevision` after a write that nobody saw the revision of. */
  readonly revision: number;
  /** The highest revision known to have been given so far, deletes' too. Revisions only grow (R25). */
  readonly last: number;
}

export const unresolvedRevision = -1;
export const absentRegister: Register = { present: false, revision: 0, last: 0 };

/** An instant on the time line of a history: `order` decides within the same ms. */
export interface Instant {
  readonly ms: number;
  readonly order: number;
}

/** An operation whose effect is known, to be placed once between `from` and `to`. */
export interface Step {
  readonly operation: Operation;
  readonly from: Instant;
  /** Absent: at any later time. */
  readonly to: Instant | undefined;
  readonly effect: "put" | "delete" | "none";
  /** Writes: given to it. Observations of a present value: seen. Absent where absence was seen. */
  readonly revision: number | undefined;
  readonly condition: HistoryCondition | undefined;
  /** Observations: what they demand. Failed conditions demand that `condition` fails. */
  readonly demands: "present" | "absent" | "nothing";
  readonly conditionFails: boolean;
  /** It stands behind the write with this revision; 0: anywhere. */
  readonly floor: number;
}

/** Writes of unknown outcome that can replace each other, in order of their calls: each takes effect once or never. */
export interface Unresolved {
  readonly effect: "put" | "delete";
  readonly condition: HistoryCondition | undefined;
  readonly calls: readonly Operation[];
  taken: number;
}

export interface Steps {
  /** In order of `from`. */
  readonly steps: readonly Step[];
  /** Those with an effect, in order of their revisions. */
  readonly writes: readonly Step[];
  readonly unresolved: readonly Unresolved[];
}

export interface Contradiction {
  readonly why: string;
  readonly around: readonly Operation[];
}

/**
 * Finds out what each operation did. A put of unknown outcome whose value was read by anybody is known to have
 * happened, and with which revision. Answers that contradict each other whatever the order are found here.
 */
export function stepsOf(operations: readonly Operation[], clockDriftMax: number): Steps | Contradiction {
  const seen = valuesSeen(operations);
  if ("why" in seen) return seen;
  const steps: Step[] = [];
  const classes = new Map<string, Unresolved & { readonly calls: Operation[] }>();
  for (const operation of [...operations].sort((a, b) => compareInstants(a.called, b.called))) {
    const answer: Answer = operation.answer ?? { kind: "unknown" };
    if (answer.kind === "noAnswer" || answer.kind === "notApplied") continue;
    if (answer.kind !== "unknown") {
      steps.push(stepOf(operation, operation.call, answer, clockDriftMax));
      continue;
    }
    const { call } = operation;
    if (isRead(call)) continue;
    const revision = call.kind === "put" ? seen.revisions.get(call.value) : undefined;
    if (revision !== undefined) {
      steps.push({ ...stepOf(operation, call, { kind: "put", revision }, clockDriftMax), to: undefined });
      continue;
    }
    const name = `${call.kind} ${JSON.stringify(call.condition ?? null)}`;
    const known = classes.get(name);
    if (known !== undefined) known.calls.push(operation);
    else classes.set(name, { effect: call.kind, condition: call.condition, calls: [operation], taken: 0 });
  }
  return sorted(steps, [...classes.values()]);
}

function sorted(steps: Step[], unresolved: Unresolved[]): Steps | Contradiction {
  steps.sort((a, b) => compareInstants(a.from, b.from));
  const writes = steps.filter((step) => step.effect !== "none");
  writes.sort((a, b) => (a.revision ?? 0) - (b.revision ?? 0));
  for (let i = 1; i < writes.length; i++) {
    const [a, b] = [writes[i - 1], writes[i]];
    if (a !== undefined && b !== undefined && a.revision === b.revision) {
      return { why: `two writes have revision ${a.revision}`, around: [a.operation, b.operation] };
    }
  }
  const floored = steps.map((step) =>
    step.floor === 0 ? step : { ...step, floor: lastUpTo(step.floor, writes) },
  );
  return { steps: floored, writes, unresolved };
}

/** A revision of the shard as a revision of this key. */
function lastUpTo(floor: number, writes: readonly Step[]): number {
  return writes.reduce((last, { revision = 0 }) => (revision <= floor ? revision : last), 0);
}

/** The revision under which each value was read, after checks that need no order. */
function valuesSeen(
  operations: readonly Operation[],
): { readonly revisions: ReadonlyMap<string, number> } | Contradiction {
  const putters = new Map<string, Operation>();
  for (const operation of operations) {
    if (operation.call.kind === "put") putters.set(operation.call.value, operation);
  }
  const revisions = new Map<string, number>();
  for (const operation of operations) {
    const { answer } = operation;
    if (answer?.kind !== "found") continue;
    const putter = putters.get(answer.value);
    if (putter === undefined) return { why: "a value was read that nobody wrote", around: [operation] };
    const around = [putter, operation];
    if (putter.answer?.kind === "notApplied") {
      return { why: "a value was read whose write was said not to be applied (R24)", around };
    }
    if (putter.answer?.kind === "conditionFailed") {
      return { why: "a value was read whose write was said to have failed its condition", around };
    }
    const revision = putter.answer?.kind === "put" ? putter.answer.revision : revisions.get(answer.value);
    if (revision !== undefined && revision !== answer.revision) {
      return { why: "one write was seen under two revisions, so it was applied twice", around };
    }
    revisions.set(answer.value, answer.revision);
  }
  return { revisions };
}

function stepOf(operation: Operation, call: Call, answer: Answer, clockDriftMax: number): Step {
  const condition = call.kind === "put" || call.kind === "delete" ? call.condition : undefined;
  const base = {
    operation,
    from: operation.called,
    to: operation.returned,
    effect: "none" as const,
    revision: undefined,
    condition,
    conditionFails: false,
    demands: "nothing" as const,
    floor: call.kind === "staleGet" ? (call.minRevision ?? 0) : 0,
  };
  switch (answer.kind) {
    case "put":
      return { ...base, effect: "put", revision: answer.revision };
    case "deleted":
      return {
        ...base,
        effect: "delete",
        revision: answer.revision,
        demands: answer.deleted ? "present" : "absent",
      };
    case "conditionFailed":
      if (answer.revision === 0) return { ...base, demands: "absent", conditionFails: true };
      return { ...base, demands: "present", revision: answer.revision, conditionFails: true };
    case "found":
      return {
        ...base,
        ...staleFrom(operation, answer, clockDriftMax),
        demands: "present",
        revision: answer.revision,
      };
    default:
      return { ...base, ...staleFrom(operation, answer, clockDriftMax), demands: "absent" };
  }
}

/** A stale answer may be as old as it says: its span begins that much earlier. */
function staleFrom(operation: Operation, answer: Answer, clockDriftMax: number): { readonly from: Instant } {
  const stalenessMs = answer.kind === "found" || answer.kind === "absent" ? (answer.stalenessMs ?? 0) : 0;
  if (stalenessMs <= 0) return { from: operation.called };
  return { from: { ms: operation.called.ms - stalenessMs * (1 + clockDriftMax), order: -1 } };
}

export function compareInstants(a: Instant, b: Instant): number {
  return a.ms - b.ms || a.order - b.order;
}

/**
 * May `step` happen now?
 * @param isGhost - tells whether a revision belongs to no known write, so that an unresolved one may have it
 * @returns false, true, or the revision that the present unresolved value must have for it
 */
export function accepts(
  step: Step,
  state: Register,
  isGhost: (revision: number) => boolean,
): boolean | number {
  if (state.last < step.floor) return false;
  if (step.demands !== "nothing" && (step.demands === "present") !== state.present) return false;
  if (step.effect === "none") return observes(step, state, isGhost);
  const revision = step.revision ?? 0;
  return revision > state.last && meets(step.condition, state, (ghost) => ghost < revision && isGhost(ghost));
}

function observes(step: Step, state: Register, isGhost: (revision: number) => boolean): boolean | number {
  const revision = step.revision ?? 0;
  if (step.conditionFails && conditionHolds(step.condition, revision)) return false;
  if (!state.present || state.revision === revision) return true;
  return state.revision === unresolvedRevision && revision > state.last && isGhost(revision)
    ? revision
    : false;
}

/** Does a write's condition hold now? As `accepts`. */
export function meets(
  condition: HistoryCondition | undefined,
  state: Register,
  isGhost: (revision: number) => boolean,
): boolean | number {
  if (state.revision !== unresolvedRevision) return conditionHolds(condition, state.revision);
  if (condition?.noneMatch === "any") return false;
  if (condition?.match === undefined || condition.match === "any") return true;
  return condition.match.find((revision) => revision > state.last && isGhost(revision)) ?? false;
}

/** The register after an effect. */
export function after(effect: "put" | "delete", revision: number | undefined, state: Register): Register {
  const last = Math.max(state.last, revision ?? 0);
  if (effect === "delete") return { present: false, revision: 0, last };
  return { present: true, revision: revision ?? unresolvedRevision, last };
}

/** The register once its unresolved value is known to have `revision`. */
export function learn(revision: number): Register {
  return { present: true, revision, last: revision };
}
