import type { Code, GroupId, NodeId, Outcome, StoredValue } from "#proto";

/** Who answered, and how hard it was. */
export interface Served {
  /** Absent when no shard could be told. */
  readonly shard?: GroupId;
  /** The node whose answer this is; absent when none was reached. */
  readonly servedBy?: NodeId;
  /** Requests sent for it. */
  readonly attempts: number;
}

export interface Failure extends Served {
  readonly kind: "failed";
  readonly code: Code;
  readonly detail: string;
  /** On writes (R24). */
  readonly outcome?: Outcome;
  readonly retryAfterMs?: number;
}

export type WriteOutcome =
  | (Served & { readonly kind: "put"; readonly revision: number })
  | (Served & { readonly kind: "deleted"; readonly deleted: boolean; readonly revision: number })
  | (Served & {
      readonly kind: "precondition_failed";
      /** The present one, 0 when absent. */
      readonly revision: number;
    })
  | Failure;

export type ReadOutcome =
  /** `stalenessMs` when a stale read was asked for: an upper bound, 0 when it was served as linearizable. */
  | (Served & { readonly kind: "found"; readonly stored: StoredValue; readonly stalenessMs?: number })
  | (Served & { readonly kind: "absent"; readonly stalenessMs?: number })
  | Failure;

export interface RouterStats {
  writes: number;
  reads: number;
  admin: number;
  /** Requests to shards, first ones included. */
  attempts: number;
  /** Reads asked of a second replica since the first was silent. */
  hedges: number;
  /** Writes tried on a replica that may not lead, to find the leader. */
  scouts: number;
  redirects: number;
  epochMismatches: number;
  /** Proposed again with a new deadline, the shard's clock being ahead (R23). */
  deadlinesRenewed: number;
  staleFallbacks: number;
  tooBusy: number;
  unavailable: number;
  timeouts: number;
  /** Failed writes that may have been applied. */
  unknownOutcomes: number;
  malformed: number;
}

export function emptyRouterStats(): RouterStats {
  return {
    writes: 0,
    reads: 0,
    admin: 0,
    attempts: 0,
    hedges: 0,
    scouts: 0,
    redirects: 0,
    epochMismatches: 0,
    deadlinesRenewed: 0,
    staleFallbacks: 0,
    tooBusy: 0,
    unavailable: 0,
    timeouts: 0,
    unknownOutcomes: 0,
    malformed: 0,
  };
}
