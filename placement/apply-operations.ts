import type { GroupId, NodeId, ReplicaId, ShardDescriptor, SplitChild } from "#proto";
import { type Applied, type CommandOf, done, refused } from "./applied.ts";
import { taskBegun, taskEnded } from "./apply-jobs.ts";
import { rollBack } from "./apply-merges.ts";
import type { NewEvent } from "./events.ts";
import type { Tables } from "./rows.ts";
import { type OperationRow, operationOf, type PlacementState, type Step } from "./state.ts";

/** Commands about operations: work on one group. @module */

/** Finished operations that are kept to be looked at. */
export const finishedOperationsMax = 400;

export function beginOperation(
  tables: Tables,
  c: CommandOf<"operation.begin">,
  stampMicros: number,
): Applied {
  const { state } = tables;
  if (c.group !== 0 && !state.shards.has(c.group)) return refused(`there is no shard ${c.group}`);
  const running = operationOf(state, c.group);
  const givesWay = running?.background === true && c.background !== true;
  if (running !== undefined && !givesWay) {
    return refused(`operation ${running.id} is at work on the same group`);
  }
  if (c.target !== undefined) {
    if (!state.shards.has(c.target)) return refused(`there is no shard ${c.target}`);
    const other = operationOf(state, c.target);
    if (other !== undefined) return refused(`operation ${other.id} is at work on shard ${c.target}`);
  }
  const id = state.counters.operation;
  const wrong = taskBegun(tables, c, id);
  if (wrong !== undefined) return refused(wrong);
  const why = "what was asked for goes first";
  const ended = running === undefined ? [] : finish(tables, running, "cancelled", why, stampMicros).events;
  const steps = giveIds(tables, c.group, c.steps);
  tables.putCounters({ ...state.counters, operation: id + 1 });
  tables.putOperation({
    id,
    kind: c.kind,
    group: c.group,
    reason: c.reason,
    steps,
    ...(c.target === undefined ? {} : { target: c.target }),
    ...(c.move === undefined ? {} : { move: c.move }),
    ...(c.job === undefined ? {} : { job: c.job }),
    ...(c.background === true ? { background: true } : {}),
    at: 0,
    stepStartedMicros: stampMicros,
    state: "running",
    startedMicros: stampMicros,
  });
  tables.noteDecision(c.group, { atMicros: stampMicros, kind: c.kind, reason: c.reason });
  return done(id, ...ended, operationEvent(c.kind, c.group, c.reason, stampMicros));
}

function operationEvent(kind: string, shard: GroupId, reason: string, atMicros: number): NewEvent {
  return { atMicros, kind, reason, ...(shard === 0 ? {} : { shard }) };
}

/**
 * New replicas stand in a plan as minus their node's id, since ids are given only here, in the log; all
 * mentions of one node become one replica. A split's children get theirs here too.
 */
function giveIds(tables: Tables, group: GroupId, steps: readonly Step[]): Step[] {
  const given = new Map<NodeId, ReplicaId>();
  const next = (): ReplicaId => {
    const { counters } = tables.state;
    tables.putCounters({ ...counters, replica: counters.replica + 1 });
    return counters.replica;
  };
  const resolve = (id: number): ReplicaId => {
    if (id >= 0) return id;
    const replica = given.get(-id) ?? next();
    given.set(-id, replica);
    return replica;
  };
  return steps.map((step): Step => {
    switch (step.kind) {
      case "transfer":
        return { ...step, to: resolve(step.to) };
      case "caughtUp":
        return { ...step, replicas: step.replicas.map(resolve) };
      case "conf":
        return {
          ...step,
          added: step.added.map((site) => ({ ...site, replicaId: resolve(site.replicaId) })),
          changes: step.changes.map((change) => ({ ...change, id: resolve(change.id) })),
        };
      case "split": {
        const parent = tables.state.shards.get(group)?.descriptor;
        if (parent === undefined) return step;
        return { ...step, children: step.boundaries.map(() => giveChild(tables, parent, next)) };
      }
      default:
        return step;
    }
  });
}

function giveChild(tables: Tables, parent: ShardDescriptor, next: () => ReplicaId): SplitChild {
  const { shard } = tables.state.counters;
  tables.putCounters({ ...tables.state.counters, shard: shard + 1 });
  const replicas = parent.replicas.map(({ replicaId }) => ({ parent: replicaId, child: next() }));
  return { id: shard, replicas };
}

export function advanceOperation(
  tables: Tables,
  c: CommandOf<"operation.advance">,
  stampMicros: number,
): Applied {
  const row = tables.state.operations.get(c.id);
  if (row?.state !== "running" || row.at + 1 !== c.at) return refused(`operation ${c.id} is not there`);
  if (c.at >= row.steps.length) {
    const { state, detail } = row.rollback ?? { state: "done", detail: "" };
    return finish(tables, row, state, detail, stampMicros);
  }
  tables.putOperation({ ...row, at: c.at, stepStartedMicros: stampMicros });
  const reason = `step ${c.at} of ${row.steps.length}: ${row.reason}`;
  return done(0, operationEvent(`${row.kind}_progress`, row.group, reason, stampMicros));
}

/** The leader has said where: the children get their ids, and the split itself becomes the step under way. */
export function decideSplit(tables: Tables, c: CommandOf<"operation.split">, stampMicros: number): Applied {
  const { state } = tables;
  const row = state.operations.get(c.id);
  const parent = row === undefined ? undefined : state.shards.get(row.group)?.descriptor;
  if (row?.state !== "running" || row.steps[row.at]?.kind !== "suggest" || parent === undefined) {
    return refused(`operation ${c.id} does not wait for boundaries`);
  }
  const split = { kind: "split", expected: parent.epoch, boundaries: c.boundaries, children: [] } as const;
  const [step] = giveIds(tables, row.group, [split]);
  if (step === undefined) return refused("no split");
  const steps = row.steps.map((other, at) => (at === row.at ? step : other));
  tables.putOperation({ ...row, steps, stepStartedMicros: stampMicros });
  return done(row.id);
}

export function endOperation(tables: Tables, c: CommandOf<"operation.end">, stampMicros: number): Applied {
  const row = tables.state.operations.get(c.id);
  if (row?.state !== "running") return refused(`operation ${c.id} is not running`);
  return rollBack(tables, row, c, stampMicros) ?? finish(tables, row, c.state, c.detail, stampMicros);
}

export function finish(
  tables: Tables,
  row: OperationRow,
  state: Exclude<OperationRow["state"], "running">,
  detail: string,
  stampMicros: number,
): Applied {
  const at = state === "done" ? row.steps.length : row.at;
  tables.putOperation({
    ...row,
    at,
    state,
    finishedMicros: stampMicros,
    ...(detail === "" ? {} : { detail }),
  });
  taskEnded(tables, row, state, detail);
  trimOperations(tables);
  const reason = detail === "" ? row.reason : `${row.reason}: ${detail}`;
  if (state !== "done") {
    tables.noteDecision(row.group, { atMicros: stampMicros, kind: `${row.kind}_${state}`, reason });
  }
  return done(row.id, operationEvent(`${row.kind}_${state}`, row.group, reason, stampMicros));
}

function trimOperations(tables: Tables): void {
  const { state } = tables;
  const finished = [...state.operations.values()]
    .filter((row) => row.state !== "running" && !mayStillSplit(state, row))
    .map((row) => row.id)
    .sort((a, b) => a - b);
  for (const id of finished.slice(0, Math.max(0, finished.length - finishedOperationsMax))) {
    tables.deleteOperation(id);
  }
}

/** A split given up on may stand in its shard's log all the same: until the epoch moves on, its ids are needed. */
export function mayStillSplit(state: PlacementState, row: OperationRow): boolean {
  const step = row.steps[row.at];
  if (step?.kind !== "split") return false;
  const epoch = state.shards.get(row.group)?.descriptor.epoch;
  return epoch?.version === step.expected.version && epoch.confVersion === step.expected.confVersion;
}
