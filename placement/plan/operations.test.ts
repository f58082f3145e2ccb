import { describe, expect, it } from "vitest";
import type { Model } from "../model.ts";
import type { OperationRow } from "../state.ts";
import { modelOf } from "./fixture.ts";
import { checkOperations, orderOf } from "./operations.ts";

/** Shard 1 on nodes 1 to 3, whose leader on node 1 is to hand over to node 2 for so long already. */
function transferring(ageMs: number, liveness: "up" | "suspect" | "down"): [Model, OperationRow] {
  const startedMicros = 1e12 - ageMs * 1_000;
  const row: OperationRow = {
    id: 5,
    kind: "transfer_leader",
    group: 1,
    reason: "",
    steps: [{ kind: "transfer", to: 12 }],
    at: 0,
    stepStartedMicros: startedMicros,
    state: "running",
    startedMicros,
  };
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
