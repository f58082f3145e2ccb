import { describe, expect, it } from "vitest";
import type { Model } from "../model.ts";
import type { Task } from "../state.ts";
import { modelOf, operationOf } from "./fixture.ts";
import { checkJobs, newTask } from "./jobs.ts";

const task: Task = { ...newTask, action: "transfer_leader", shard: 1, from: 1, to: 4, reason: "", bytes: 0 };

/** Shard 1 on these nodes, and a rebalancing that would have node 4 lead it. */
function rebalancing(on: readonly number[]): Model {
  const model = modelOf(4, [{ id: 1, on }]);
  model.state.jobs.set(7, {
    id: 7,
    kind: "rebalance",
    reason: "",
    shards: [],
    total: 1,
    tasks: [task],
    state: "running",
    startedMicros: 0,
  });
  return model;
}

/** The replica on node 3 is on its way to node 4. */
function moving(model: Model): Model {
  const operation = operationOf({
    id: 6,
    kind: "move_replica",
    steps: [{ kind: "caughtUp", replicas: [14] }],
    move: { from: 3, to: 4, bytes: 0 },
  });
  const shard = model.shards.get(1);
  if (shard !== undefined) Object.assign(shard, { operation });
  return model;
}

/** Shard 1 is to go from node 3 to node 4. */
function toMove(on: readonly number[]): Model {
  const model = rebalancing(on);
  const job = model.state.jobs.get(7);
  if (job !== undefined) model.state.jobs.set(7, { ...job, tasks: [{ ...task, action: "move", from: 3 }] });
  return model;
}

describe("a move that somebody else has begun", () => {
  it.each([
    { stands: "the new replica is not there yet", on: [1, 2, 3] },
    { stands: "both are there", on: [1, 2, 3, 4] },
    { stands: "the old replica has left the membership, and is being destroyed", on: [1, 2, 4] },
  ])("waits for its end while $stands", ({ on }) => {
    expect(checkJobs(moving(toMove(on)))).toEqual([]);
  });

  it("is done when it has ended well", () => {
    expect(checkJobs(toMove([1, 2, 4]))).toMatchObject([{ name: "job.task", state: "done" }]);
  });

  it.each([
    { on: [1, 2], detail: "n3 has no replica of it any more" },
    { on: [1, 3, 4], detail: "n4 has a replica of it already" },
  ])("fails when the shard is on $on", ({ on, detail }) => {
    expect(checkJobs(toMove(on))).toMatchObject([{ name: "job.task", state: "failed", detail }]);
  });
});

it("a rebalancing that failed says why", () => {
  const model = toMove([1, 2, 3]);
  const job = model.state.jobs.get(7);
  const failed = { ...task, state: "failed", detail: "n3 is down" } as const;
  if (job !== undefined) model.state.jobs.set(7, { ...job, tasks: [failed] });
  expect(checkJobs(model)).toEqual([
    { name: "job.end", id: 7, state: "failed", detail: "1 of 1 steps failed, such as shard 1: n3 is down" },
  ]);
});

describe("a leader that goes to a node whose replica is planned, too", () => {
  it("waits for the replica while it is on its way", () => {
    expect(checkJobs(moving(rebalancing([1, 2, 3])))).toEqual([]);
  });

  it("goes once it is there", () => {
    expect(checkJobs(rebalancing([1, 2, 4]))).toMatchObject([
      { name: "operation.begin", kind: "transfer_leader", group: 1, job: 7 },
    ]);
  });

  it("fails when it never came", () => {
    expect(checkJobs(rebalancing([1, 2, 3]))).toMatchObject([{ name: "job.task", id: 7, state: "failed" }]);
  });
});
