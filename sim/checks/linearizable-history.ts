import { describeOperation, type History } from "../history.ts";
import { checkRegister } from "../linearizability.ts";
import { Violation } from "./violation.ts";

/** Every acknowledged write is read by later linearizable reads, and all that a register owes its clients. */
export function checkHistory(history: History, clockDriftMax: number): void {
  for (const key of history.keys) {
    const verdict = checkRegister(history.of(key), { clockDriftMax });
    if (verdict.ok) continue;
    const lines = verdict.around.map((line) => `\n    ${line}`).join("");
    const what = verdict.undecided ? "no verdict" : "not linearizable";
    throw new Violation(
      "linearizable history",
      `key ${JSON.stringify(key)}: ${what}: ${verdict.why}${lines}`,
    );
  }
}

/**
 * Revisions of one shard only grow (R25): a write called after another was answered has the larger one, on
 * whatever keys.
 */
export function checkRevisionOrder(history: History, shardOf: (key: string) => number | undefined): void {
  const highest = new Map<number, { revision: number; what: string }>();
  const ends = history.operations
    .flatMap((operation) => {
      const { answer, returned } = operation;
      if (returned === undefined || (answer?.kind !== "put" && answer?.kind !== "deleted")) return [];
      return { operation, revision: answer.revision, order: returned.order };
    })
    .sort((a, b) => a.order - b.order);
  let at = 0;
  for (const operation of history.operations) {
    for (let end = ends[at]; end !== undefined && end.order < operation.called.order; end = ends[++at]) {
      const shard = shardOf(end.operation.key);
      if (shard === undefined || (highest.get(shard)?.revision ?? 0) >= end.revision) continue;
      highest.set(shard, { revision: end.revision, what: describeOperation(end.operation) });
    }
    const { answer } = operation;
    if (answer?.kind !== "put" && answer?.kind !== "deleted") continue;
    const before = highest.get(shardOf(operation.key) ?? -1);
    if (before === undefined || answer.revision > before.revision) continue;
    const both = `\n    ${before.what}\n    ${describeOperation(operation)}`;
    throw new Violation("revisions grow", `a later write of a shard has the smaller revision:${both}`);
  }
}
