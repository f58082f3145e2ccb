import { describe, expect, it } from "vitest";
import type { Model } from "../model.ts";
import type { OperationRow } from "../state.ts";
import { modelOf, operationOf } from "./fixture.ts";
import { checkOperations, orderOf } from "./operations.ts";

/** Shard 1 on nodes 1 to 3, whose leader on node 1 is to hand over to node 2 for so long already. */
function transferring(ageMs: number, liveness: "up" | "suspect" | "down"): [Model, OperationRow] {
  const startedMicros = 1e12 - ageMs * 1_000;
  const row = operationOf({
    kind: "transfer_leader",
    steps: [{ kind: "transfer", to: 12 }],
    stepStartedMicros: startedMicros,
    startedMicros,
  });
  const model = modelOf(3, [{ id: 1, on: [1, 2, 3] }], { operations: [row] });
  const target = model.nodes.get(2);
  if (target !== undefined) Object.assign(target, { liveness, usable: liveness === "up" });
  return [model, row];
}

describe("a leader that is to go to a node", () => {
  it.each([
    { name: "that is up, goes", ageMs: 0, liveness: "up", ordered: true, fails: false },
    { name: "silent for a moment, waits", ageMs: 500, liveness: "suspect", ordered: false, fails: false },
    { name: "silent for long, stays", ageMs: 2_000, liveness: "suspect", ordered: false, fails: true },
    { name: "that is down, stays at once", ageMs: 0, liveness: "down", ordered: false, fails: true },
  ] as const)("$name", ({ ageMs, liveness, ordered, fails }) => {
    const [model, row] = transferring(ageMs, liveness);
    expect(orderOf(model, row) !== undefined).toBe(ordered);
    const ended = fails ? [{ name: "operation.end", id: 5, state: "failed", detail: "n2 is not up" }] : [];
    expect(checkOperations(model)).toEqual(ended);
  });
});

describe("a copy that takes long", () => {
  const gibibyte = 2 ** 30;
  // 1 GiB at 1 MiB/s: 1,024 s at full rate, 8 times that where it gives way to users.
  const fullRateS = 1_024;
  it.each([
    { name: "at the rate of one that gives way to users, is waited for", ageS: 8 * fullRateS, fails: false },
    { name: "that shares this rate with another, too", ageS: 16 * fullRateS, fails: false },
    { name: "without an end fails", ageS: 40 * fullRateS, fails: true },
  ])("$name", ({ ageS, fails }) => {
    const startedMicros = 1e12 - ageS * 1e6;
    const row = operationOf({
      kind: "move_replica",
      steps: [{ kind: "caughtUp", replicas: [12] }],
      move: { from: 3, to: 2, bytes: gibibyte },
      stepStartedMicros: startedMicros,
      startedMicros,
    });
    const settings = { move_bytes_per_s: 2 ** 20 };
    const model = modelOf(3, [{ id: 1, on: [1, 2, 3] }], { operations: [row], settings });
    const behind = { replicaId: 12, lag: 9, active: true, state: "Snapshot" };
    const shard = model.shards.get(1);
    if (shard?.lead !== undefined) Object.assign(shard.lead, { peers: [behind] });
    expect(checkOperations(model)).toMatchObject(fails ? [{ name: "operation.end", state: "failed" }] : []);
  });
});
