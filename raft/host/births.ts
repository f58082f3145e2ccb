import type { GroupId, ReplicaId } from "#proto";
import type { OverlayBatch } from "#storage";
import type { Failover } from "./failover.ts";
import type { Group } from "./group.ts";
import { writeTruncated } from "./log-store.ts";
import type { Replicas } from "./replicas.ts";
import {
  appliedRow,
  appliedValue,
  hardStateRow,
  hardStateValue,
  readReplica,
  replicaRow,
  replicaValue,
} from "./rows.ts";
import type { Shared } from "./shared.ts";
import { markRow } from "./snapshot-receive.ts";
import type { Birth } from "./types.ts";

interface Unopened {
  readonly group: GroupId;
  readonly replica: ReplicaId;
  /** This node leads the parent: its replica begins at once, so that the keys hardly lack a leader. */
  readonly campaign: boolean;
}

/** Ticks after which a child that still has no leader asks again: its other voters apply the split later. */
const campaignTicks = [0, 1, 2, 4, 8] as const;

/**
 * The children of splits (R5). Their first states go into the batch that also holds the parent's change, so
 * that a crash leaves both or neither; then they open, in the same turn. Where this node is not to have a
 * child (any more), the rows that the parent gives up are nobody's and go.
 */
export class Births {
  readonly #shared: Shared;
  readonly #replicas: Replicas;
  readonly #failover: Failover;
  readonly #opened: (group: Group) => void;
  #unopened: Unopened[] = [];

  constructor(shared: Shared, replicas: Replicas, failover: Failover, opened: (group: Group) => void) {
    this.#shared = shared;
    this.#replicas = replicas;
    this.#failover = failover;
    this.#opened = opened;
  }

  /** The parent's entry was applied into `tx`. */
  write(parent: Group, tx: OverlayBatch): void {
    for (const birth of parent.machine.takeBirths?.() ?? []) this.#write(parent, birth, tx);
  }

  #write(parent: Group, birth: Birth, tx: OverlayBatch): void {
    const { group, replica, index, term, conf, rows, ranges } = birth;
    const { logger } = this.#shared.options;
    const stored = tx.get("meta", replicaRow(group));
    const record = stored === undefined ? undefined : readReplica(stored);
    if (this.#hasState(group, tx)) {
      // It came by a snapshot: its rows are its own, and its log goes on from there.
      logger.warn({ group, replica, record }, "a split met a replica that has its state already");
      return;
    }
    const higher = record !== undefined && (replica === undefined || record.replica > replica);
    if (replica === undefined || higher || record?.state === "tombstone") {
      logger.info({ group, replica, record }, "a split's child is not for this node");
      this.#replicas.leave(tx, group, ranges);
      return;
    }
    tx.put("meta", replicaRow(group), replicaValue({ replica, state: "live" }));
    writeTruncated(tx, group, { index, term });
    // A leader's message may have come before: then its term is there, and must not be forgotten (R5).
    if (tx.get("raft", hardStateRow(group)) === undefined)
      tx.put("raft", hardStateRow(group), hardStateValue({ term, vote: 0, commit: index }));
    tx.put("meta", appliedRow(group), appliedValue({ index, term, conf }));
    rows(tx);
    this.#unopened.push({ group, replica, campaign: parent.core.role === "leader" });
    // The child elects nobody before the followers have applied the split too.
    parent.core.shareCommit();
  }

  /** Whether a replica here has been given its state, or is about to be. */
  #hasState(group: GroupId, tx: OverlayBatch): boolean {
    const open = this.#shared.groups.get(group);
    if (open !== undefined && (open.initialised || open.installing || open.ready?.snapshot !== undefined))
      return true;
    const isLive = open !== undefined || readLive(tx.get("meta", replicaRow(group)));
    return (
      isLive &&
      (tx.get("meta", appliedRow(group)) !== undefined || tx.get("meta", markRow(group)) !== undefined)
    );
  }

  /**
   * Opens what has been written.
   * @param which - "new" leaves those that a leader's message has met before: their cores may have something
   *   under way in this turn, so they are replaced at its end
   */
  open(which: "new" | "all"): void {
    const waiting = this.#unopened;
    if (waiting.length === 0) return;
    this.#unopened = [];
    for (const unopened of waiting) {
      if (which === "new" && this.#shared.groups.has(unopened.group)) this.#unopened.push(unopened);
      else this.#open(unopened);
    }
  }

  #open({ group: id, replica, campaign }: Unopened): void {
    const group = this.#replicas.openBorn(id, replica);
    if (group === undefined) return;
    this.#shared.markDirty(group);
    this.#opened(group);
    if (campaign) for (const ticks of campaignTicks) this.#failover.campaignLater(group, ticks);
  }
}

function readLive(stored: Uint8Array | undefined): boolean {
  return stored !== undefined && readReplica(stored).state === "live";
}
