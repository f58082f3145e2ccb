import { type AdminContext, type Answer, carryOut } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";

/**
 * `{shard?}`: each replica's log is forgotten up to what it has applied, so that who needs more of it gets a
 * snapshot of now. Answers how many replicas did; those on nodes that are not up do not count.
 */
export function takeSnapshots(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const shard = parameters.whole("shard", 1);
  parameters.end();
  if (shard !== undefined && !model.shards.has(shard)) {
    throw new Refusal("not_found", `there is no shard ${shard}`);
  }
  const shards = shard === undefined ? [...model.shards.keys()] : [shard];
  context.compact(shards, (snapshots) => {
    const what = shard === undefined ? "all shards" : `shard ${shard}`;
    const reason = `an operator had the logs of ${snapshots} replicas of ${what} compacted behind snapshots`;
    const command = {
      name: "logs.compacted",
      count: snapshots,
      reason,
      ...(shard === undefined ? {} : { shard }),
    } as const;
    carryOut(context, { command, status: 200, body: { snapshots }, isOperation: false }, answer);
  });
}
