import {
  type ConfChange,
  ConfChangeError,
  type ConfState,
  decodeConfChange,
  type Entry,
  type Ready,
} from "#raft/core";
import { invariant } from "#runtime";
import { OverlayBatch } from "#storage";
import type { Absorption } from "./absorption.ts";
import type { Births } from "./births.ts";
import { beforeChange, rememberRemoved } from "./farewell.ts";
import type { Group } from "./group.ts";
import { confirmRead, serveReads } from "./reads.ts";
import { appliedRow, appliedValue } from "./rows.ts";
import { beginSettling } from "./settling.ts";
import type { Shared } from "./shared.ts";

/**
 * Applies what is committed, for all groups in one unsynced batch, and makes the answers ready. Early: entries
 * that were durable before this turn's write, so that their answers leave before the sync; late: those that
 * this turn's write has made durable (R2).
 */
export function applyCommitted(
  shared: Shared,
  ready: readonly Group[],
  when: "early" | "late",
  births: Births,
  absorption: Absorption,
): void {
  let tx: OverlayBatch | undefined;
  for (const group of ready) {
    const duties = group.ready;
    if (duties === undefined || group.installing || group.closed) continue;
    const entries = partOf(duties, when);
    if (entries.length > 0) {
      tx ??= new OverlayBatch(shared.options.engine);
      applyEntries(shared, group, entries, tx, births, absorption);
    }
    if (when === "early") for (const read of duties.readStates) confirmRead(group, read.context, read.index);
  }
  // In the middle of an install that was to be finished first, the disk may have failed (R8).
  if (shared.stopped) return;
  if (tx !== undefined && tx.size > 0) shared.writeUnsynced(tx.batch);
  births.open("new");
  for (const group of ready) if (!group.installing && !group.closed) serveReads(shared, group);
}

function partOf(duties: Ready, when: "early" | "late"): readonly Entry[] {
  if (duties.snapshot !== undefined) return when === "early" ? [] : duties.committed;
  const stable = duties.stableIndex;
  const last = duties.committed[duties.committed.length - 1];
  if (last === undefined || last.index <= stable) return when === "early" ? duties.committed : [];
  return duties.committed.filter((entry) => (when === "early") === entry.index <= stable);
}

export function applyEntries(
  shared: Shared,
  group: Group,
  entries: readonly Entry[],
  tx: OverlayBatch,
  births: Births,
  absorption: Absorption,
): void {
  const absorb = absorption.into(tx);
  let { conf } = group.log.applied;
  for (const entry of entries) {
    invariant(entry.index === group.log.applied.index + 1, `group ${group.group}: applied out of order`);
    let results: readonly unknown[] = [];
    if (entry.kind === "conf") {
      results = [applyConfChange(shared, group, entry, tx)];
      conf = group.core.conf;
    } else if (entry.data.length > 0) {
      results = group.machine.apply(entry, tx, absorb);
      births.write(group, tx);
    }
    group.log.setApplied({ index: entry.index, term: entry.term, conf });
    queueAnswers(shared, group, entry, results);
  }
  shared.stats.entriesApplied += entries.length;
  tx.put("meta", appliedRow(group.group), appliedValue(group.log.applied));
}

/** @returns whether the change is in force; a void one changes nothing, on every replica alike */
function applyConfChange(shared: Shared, group: Group, entry: Entry, tx: OverlayBatch): boolean {
  const change = decodeConfChange(entry.data);
  const conf = nextConf(group, change);
  const known = conf === undefined ? undefined : beforeChange(group);
  const accepted = conf !== undefined && group.machine.applyConfChange(entry, change, conf, tx);
  if (accepted) {
    const before = group.conf;
    group.core.applyConfChange(change);
    beginSettling(shared, group, before);
    if (known !== undefined) rememberRemoved(shared, group, known, entry.index);
  }
  shared.peersDirty = true;
  return accepted;
}

/** Undefined for a change that this configuration cannot take, since an earlier one was void. */
function nextConf(group: Group, change: ConfChange): ConfState | undefined {
  try {
    return group.core.previewConfChange(change);
  } catch (error) {
    if (error instanceof ConfChangeError) return undefined;
    throw error;
  }
}

function queueAnswers(shared: Shared, group: Group, entry: Entry, results: readonly unknown[]): void {
  if (group.waiters.size === 0) return;
  const { index, term } = entry;
  const { applied, dropped } = group.waiters.settle(index, term);
  for (const { done } of dropped) for (const answer of done) shared.answer(() => answer({ kind: "dropped" }));
  if (applied === undefined) return;
  const { done } = applied;
  invariant(done.length === results.length, `group ${group.group}: an entry's results are not one a command`);
  // Who asked that a member leave hears of it when it is not needed any more (R10).
  const settling = entry.kind === "conf" ? group.settling : undefined;
  for (const [i, tell] of done.entries()) {
    const answer = (): void => tell({ kind: "applied", result: results[i], index });
    if (settling === undefined) shared.answer(answer);
    else settling.answers.push(answer);
  }
}
