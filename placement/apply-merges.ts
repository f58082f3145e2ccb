import { type Applied, type CommandOf, done, refused } from "./applied.ts";
import type { Tables } from "./rows.ts";
import type { OperationRow, Step } from "./state.ts";

/** Commands about merges. @module */

/** What the target is to take over stands still: that becomes the step under way, logged whole (R32). */
export function decideMerge(tables: Tables, c: CommandOf<"operation.merge">, stampMicros: number): Applied {
  const { state } = tables;
  const row = state.operations.get(c.id);
  const target = row?.target === undefined ? undefined : state.shards.get(row.target)?.descriptor;
  if (row?.state !== "running" || row.steps[row.at]?.kind !== "freeze" || target === undefined)
    return refused(`operation ${c.id} does not wait for a shard to stand still`);
  const step: Step = { kind: "merge", expected: target.epoch, source: c.source, frozen: c.frozen };
  const steps = [...row.steps.slice(0, row.at + 1), step];
  tables.putOperation({ ...row, steps, at: row.at + 1, stepStartedMicros: stampMicros });
  const reason = `shard ${row.group} stands still for shard ${target.id}: ${row.reason}`;
  return done(row.id, { atMicros: stampMicros, kind: "merge_progress", reason, shard: row.group });
}

/**
 * From its freeze on a merge cannot just be left: whoever ends it has it taken back. Undefined: there is nothing
 * to take back.
 */
export function rollBack(
  tables: Tables,
  row: OperationRow,
  { state, detail }: CommandOf<"operation.end">,
  stampMicros: number,
): Applied | undefined {
  const under = row.steps[row.at];
  const source = tables.state.shards.get(row.group)?.descriptor;
  if (row.kind !== "merge" || source === undefined || under === undefined) return undefined;
  if (row.rollback !== undefined) return refused(`operation ${row.id} is being taken back`);
  if (under.kind !== "freeze" && under.kind !== "merge") return undefined;
  // Without a merge's step nothing can stand in the target's log.
  const seal: Step[] = under.kind === "merge" ? [{ kind: "seal", version: under.expected.version }] : [];
  const steps: Step[] = [
    ...row.steps.slice(0, row.at + 1),
    ...seal,
    { kind: "thaw", version: source.epoch.version },
  ];
  const rollback = { state: state === "cancelled" ? "cancelled" : "failed", detail } as const;
  tables.putOperation({ ...row, steps, at: row.at + 1, stepStartedMicros: stampMicros, rollback });
  const reason = `the merge is taken back: ${detail}`;
  return done(row.id, { atMicros: stampMicros, kind: "merge_rollback", reason, shard: row.group });
}
