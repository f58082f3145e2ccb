import { Inflights } from "./inflights.ts";
import type { ProgressStatus } from "./types.ts";

/**
 * What the leader knows of one replica, itself included, and how it may send to it:
 * - Probe: one append at a time, since where the logs meet is not known
 * - Replicate: appends are sent ahead of their acknowledgements, within the window
 * - Snapshot: nothing, until the snapshot on its way has arrived or failed
 */
export class Progress {
  readonly id: number;
  /** Everything up to here is known to be durable there. */
  match = 0;
  /** Next entry to send; entries in (match, next) are on their way. Always above `match`. */
  next: number;
  state: "Probe" | "Replicate" | "Snapshot" = "Probe";
  /** Index of the snapshot on its way; 0 outside of Snapshot. */
  pendingSnapshot = 0;
  /** No more appends until an answer: a probe is out, or the window is full. */
  flowPaused = false;
  /** Heard of since the last check-quorum round. */
  recentActive = false;
  isLearner: boolean;
  /** Highest commit index sent that it can make use of. */
  sentCommit = 0;
  /** Latest send time, by the leader's clock, of a message of this term that it has answered (R17). */
  answeredSentAtMs: number = Number.NEGATIVE_INFINITY;
  /** Latest read batch it has confirmed in this term (R18). */
  confirmedRead = 0;
  readonly inflights: Inflights;

  constructor(id: number, next: number, isLearner: boolean, inflightLimit: number, inflightBytes: number) {
    this.id = id;
    this.next = next;
    this.isLearner = isLearner;
    this.inflights = new Inflights(inflightLimit, inflightBytes);
  }

  /** Forgets everything but the membership: a new term begins. */
  restart(next: number, match: number): void {
    this.match = match;
    this.next = next;
    this.#enter("Probe");
    this.recentActive = false;
    this.sentCommit = 0;
    this.answeredSentAtMs = Number.NEGATIVE_INFINITY;
    this.confirmedRead = 0;
  }

  becomeProbe(): void {
    // A snapshot that was sent is taken for installed: then the probe begins behind it.
    const sent = this.state === "Snapshot" ? this.pendingSnapshot : 0;
    this.#enter("Probe");
    this.next = Math.max(this.match, sent) + 1;
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  becomeReplicate(): void {
    this.#enter("Replicate");
    this.next = this.match + 1;
  }

  becomeSnapshot(index: number): void {
    this.#enter("Snapshot");
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.sentCommit = index;
  }

  #enter(state: Progress["state"]): void {
    this.flowPaused = false;
    this.pendingSnapshot = 0;
    this.state = state;
    this.inflights.reset();
  }

  /** Notes an append of `entries` entries, `bytes` of data, from `next` on. */
  sentEntries(entries: number, bytes: number): void {
    if (this.state === "Replicate") {
      if (entries > 0) {
        this.next += entries;
        this.inflights.add(this.next - 1, bytes);
      }
      this.flowPaused = this.inflights.full;
    } else if (entries > 0) {
      this.flowPaused = true;
    }
  }

  /** Whether sending `commit` now could let the follower commit more than was sent before. */
  canBumpCommit(commit: number): boolean {
    return commit > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** An acknowledgement of `index`. False when it says nothing new. */
  acknowledge(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.flowPaused = false;
    return true;
  }

  /**
   * A rejection of the append behind `rejected`; the logs may meet at `hint`. False when it is stale: a
   * reordered or doubled message.
   */
  rejectedAt(rejected: number, hint: number): boolean {
    if (this.state === "Replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
    } else {
      if (this.next - 1 !== rejected) return false;
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
      this.flowPaused = false;
    }
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    return true;
  }

  get paused(): boolean {
    return this.state === "Snapshot" || this.flowPaused;
  }

  status(): ProgressStatus {
    return {
      match: this.match,
      next: this.next,
      state: this.state,
      paused: this.paused,
      isLearner: this.isLearner,
      recentActive: this.recentActive,
      pendingSnapshot: this.pendingSnapshot,
    };
  }
}
