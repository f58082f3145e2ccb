/** Times of the host, in ms. All scale together (R17: leaseMs stays below electionMinMs). */
export interface HostTiming {
  readonly tickMs: number;
  readonly heartbeatMs: number;
  /** Election timeouts are drawn from [electionMinMs, electionMaxMs) for each election. */
  readonly electionMinMs: number;
  readonly electionMaxMs: number;
  /** L of R17. */
  readonly leaseMs: number;
  /** A leader with nothing to do for this long quiesces its group (R20). */
  readonly quiesceAfterMs: number;
  /** A read index request unanswered for this long is asked again under a new id (R18). */
  readonly readRetryMs: number;
  /** A write outstanding for longer silences the node's heartbeat and gives up leases (R8). */
  readonly slowWriteMs: number;
}

export const defaultTiming: HostTiming = {
  tickMs: 50,
  heartbeatMs: 100,
  electionMinMs: 600,
  electionMaxMs: 1200,
  leaseMs: 200,
  quiesceAfterMs: 500,
  readRetryMs: 300,
  slowWriteMs: 1000,
};

/** Sizes of the host; each at least twice the largest value (R29). */
export interface HostLimits {
  readonly maxEntriesBytesPerMessage: number;
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
  readonly maxUncommittedBytes: number;
  readonly maxCommittedBytesPerReady: number;
  /** Commands of one turn beyond this start another entry. */
  readonly maxEntryBytes: number;
  /** Log bytes of a group above which it is compacted. */
  readonly compactLogBytes: number;
  /** A live but slow follower holds compaction back up to this many log bytes (R9). */
  readonly compactCapBytes: number;
  readonly snapshotChunkBytes: number;
  /** Chunks under way at once. */
  readonly snapshotWindowChunks: number;
  readonly snapshotBytesPerS: number;
  /** Rows deleted or installed in one slice (R13). */
  readonly sliceRows: number;
  /** Groups that may begin a campaign in one tick because a node is suspected (R20). */
  readonly campaignsPerTick: number;
}

const mebibyte = 1024 * 1024;

export const defaultLimits: HostLimits = {
  maxEntriesBytesPerMessage: 2 * mebibyte,
  maxInflightMessages: 256,
  maxInflightBytes: 8 * mebibyte,
  maxUncommittedBytes: 64 * mebibyte,
  maxCommittedBytesPerReady: 4 * mebibyte,
  maxEntryBytes: 2 * mebibyte,
  compactLogBytes: 8 * mebibyte,
  compactCapBytes: 64 * mebibyte,
  snapshotChunkBytes: 64 * 1024,
  snapshotWindowChunks: 8,
  snapshotBytesPerS: 32 * mebibyte,
  sliceRows: 1000,
  campaignsPerTick: 64,
};
