import type { Condition, KvOperation, WriteResult } from "#proto";
import { unreachable } from "#runtime";
import { conditionHolds } from "./conditions.ts";
import type { RowTx } from "./tx.ts";
import { encodeValueRow, revisionOfRow } from "./value-row.ts";

export interface OperationContext {
  readonly tx: RowTx;
  /** Row of the key in `data`. */
  readonly row: Uint8Array;
  /** The command's own stamp. */
  readonly revision: number;
}

/** What an operation answers once dedup, deadline and epoch let it through: these are recorded. */
export type Effect = Extract<WriteResult, { kind: "put" | "deleted" | "precondition_failed" }>;

/** Carries out one operation. Its condition is decided here, in log order, so nothing needs a lock. */
export function applyOperation(operation: KvOperation, context: OperationContext): Effect {
  switch (operation.kind) {
    case "put":
      return put(operation, context);
    case "delete":
      return remove(operation, context);
    default:
      return unreachable(operation);
  }
}

type Put = Extract<KvOperation, { kind: "put" }>;
type Delete = Extract<KvOperation, { kind: "delete" }>;

/** Blind without a condition: nothing is read on the way. */
function put(operation: Put, { tx, row, revision }: OperationContext): Effect {
  const { contentType, value, condition } = operation;
  const failed = condition && refusal(condition, revisionOfRow(tx.get("data", row)));
  if (failed !== undefined) return failed;
  tx.put("data", row, encodeValueRow({ revision, contentType, value }));
  return { kind: "put", revision };
}

/** Leaves no row; that a later put of the key gets a larger revision is the shard's clock's doing. */
function remove(operation: Delete, { tx, row, revision }: OperationContext): Effect {
  const present = revisionOfRow(tx.get("data", row));
  const failed = operation.condition && refusal(operation.condition, present);
  if (failed !== undefined) return failed;
  if (present !== 0) tx.delete("data", row);
  return { kind: "deleted", deleted: present !== 0, revision };
}

function refusal(condition: Condition, present: number): Effect | undefined {
  return conditionHolds(condition, present) ? undefined : { kind: "precondition_failed", revision: present };
}
