import { equalBytes, type ShardDescriptor } from "#proto";
import type { Command } from "../commands.ts";
import type { GroupModel, Model } from "../model.ts";
import type { OperationRow, Step } from "../state.ts";
import { isIdle } from "./board.ts";
import type { Checker } from "./decision.ts";

/** Shards that split by themselves at once: each costs every node that has it an opening. */
const splitsMax = 4;
/** A shard that could not be split is asked again only after this, ms. */
const restAfterFailureMs = 300_000;

/** A leader reports a newer range than the log has: the split ordered for the present one was applied. */
export const recordSplits: Checker = (model) => {
  const commands: Command[] = [];
  for (const { id, descriptor, lead } of model.shards.values()) {
    if (lead === undefined || lead.descriptor.epoch.version <= descriptor.epoch.version) continue;
    // An operation given up on counts too: its order may have been in the shard's log by then.
    const operation = [...model.state.operations.values()].find(
      (row) => row.group === id && isDoneBy(splitStep(row), descriptor, lead.descriptor),
    );
    if (operation !== undefined) commands.push({ name: "shards.split", id: operation.id });
  }
  return commands;
};

/** Merges move versions on too: the parent ends where the first child begins. */
function isDoneBy(
  step: ReturnType<typeof splitStep>,
  before: ShardDescriptor,
  after: ShardDescriptor,
): boolean {
  const [end] = step?.boundaries ?? [];
  return (
    step?.expected.version === before.epoch.version &&
    end !== undefined &&
    equalBytes(after.end, end) &&
    equalBytes(after.start, before.start)
  );
}

export function splitStep({ steps }: OperationRow): Extract<Step, { kind: "split" }> | undefined {
  return steps.find((step) => step.kind === "split");
}

/** Splits shards that have grown beyond `split_bytes`, or serve more than `split_qps`. */
export const checkSplits: Checker = (model) => {
  const { split_bytes: bytesMax, split_qps: rateMax } = model.settings;
  const running = [...model.state.operations.values()].filter(
    (row) => row.kind === "split" && row.state === "running",
  ).length;
  const commands: Command[] = [];
  for (const shard of model.shards.values()) {
    if (running + commands.length >= splitsMax) break;
    const { lead } = shard;
    if (lead === undefined || !isIdle(shard) || isOneSlot(shard) || couldNot(model, shard)) continue;
    const rate = lead.writesPerSecond + lead.readsPerSecond;
    if (lead.bytes > bytesMax) {
      const reason = `shard ${shard.id} has ${lead.bytes} bytes, split_bytes is ${bytesMax}`;
      commands.push(beginSplit(shard, reason, { kind: "suggest", by: "size", ways: 2 }));
    } else if (rate > rateMax) {
      const reason = `shard ${shard.id} serves ${Math.round(rate)} requests/s, split_qps is ${rateMax}`;
      commands.push(beginSplit(shard, reason, { kind: "suggest", by: "load", ways: 2 }));
    }
  }
  return commands;
};

export function beginSplit(shard: GroupModel, reason: string, step: Step): Command {
  return { name: "operation.begin", kind: "split", group: shard.id, reason, steps: [step] };
}

/** Split at known boundaries. */
export function splitAt(shard: GroupModel, boundaries: readonly Uint8Array[]): Step {
  return { kind: "split", expected: shard.descriptor.epoch, boundaries, children: [] };
}

function couldNot(model: Model, { id }: GroupModel): boolean {
  return [...model.state.operations.values()].some(
    (row) =>
      row.group === id &&
      row.kind === "split" &&
      row.state === "failed" &&
      (model.wallMicros - (row.finishedMicros ?? 0)) / 1000 < restAfterFailureMs,
  );
}

/** Slots of a hash keyspace's shard: [first, end). */
export function slotsOf({ descriptor, keyspace }: GroupModel): {
  readonly first: number;
  readonly end: number;
} {
  const at = (key: Uint8Array): number => ((key[0] ?? 0) << 8) | (key[1] ?? 0);
  const { start, end } = descriptor;
  return { first: at(start), end: end.length === 0 ? (keyspace?.slots ?? 0) : at(end) };
}

export function isOneSlot(shard: GroupModel): boolean {
  if (shard.keyspace?.partition !== "hash") return false;
  const { first, end } = slotsOf(shard);
  return end - first < 2;
}
