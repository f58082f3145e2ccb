import type { OverlayBatch } from "#storage";

/** What applying needs of the turn's batch: it reads what was applied before, written or not. */
export type RowTx = Pick<OverlayBatch, "get" | "put" | "delete">;
