import type { Refusal } from "#raft/core";
import type { Group, ReadWaiter } from "./group.ts";
import type { Shared } from "./shared.ts";
import type { ReadOutcome } from "./types.ts";

/** ReadIndex ids: boot id and counter, so that none is ever used twice (R18). */
export class ReadIds {
  readonly #boot: string;
  #counter = 0;

  constructor(boot: string) {
    this.#boot = boot;
  }

  next(): string {
    this.#counter += 1;
    return `${this.#boot}:${this.#counter}`;
  }
}

/** Asks one read index for all reads queued in this turn, leased ones first served. */
export function askReads(shared: Shared, group: Group, nowMs: number): void {
  if (group.readsQueued.length === 0) return;
  let waiters = group.readsQueued;
  group.readsQueued = [];
  if (group.core.leaseHeld(nowMs)) {
    const leased = waiters.filter((waiter) => waiter.lease);
    waiters = waiters.filter((waiter) => !waiter.lease);
    if (leased.length > 0) confirm(group, leased, nowMs, group.core.commit);
  }
  if (waiters.length > 0) ask(shared, group, waiters, nowMs);
}

function ask(shared: Shared, group: Group, waiters: readonly ReadWaiter[], nowMs: number): void {
  const context = shared.readIds.next();
  const result = group.core.step({ kind: "readIndex", context, nowMs });
  if (result === "ok") group.readsSent.set(context, { waiters, sentAtMs: nowMs });
  else refuse(shared, group, waiters, result === "ignored" ? "no_leader" : result);
}

function refuse(shared: Shared, group: Group, waiters: readonly ReadWaiter[], reason: Refusal): void {
  const leaderNode = group.leaderNode;
  const outcome: ReadOutcome = {
    kind: "refused",
    reason,
    ...(leaderNode === undefined ? {} : { leaderNode }),
  };
  for (const { done } of waiters) shared.answer(() => done(outcome));
}

function confirm(group: Group, waiters: readonly ReadWaiter[], sentAtMs: number, index: number): void {
  group.readsConfirmed.push({ waiters, sentAtMs, index });
}

/** The core learned a read's index: it waits here until that index is applied. */
export function confirmRead(group: Group, context: string, index: number): void {
  const sent = group.readsSent.get(context);
  if (sent === undefined) return;
  group.readsSent.delete(context);
  confirm(group, sent.waiters, sent.sentAtMs, index);
}

/** Serves the reads whose index is applied. Their moment is when they were asked (R19). */
export function serveReads(shared: Shared, group: Group): void {
  if (group.readsConfirmed.length === 0) return;
  const applied = group.log.applied.index;
  const due = group.readsConfirmed.filter((read) => read.index <= applied);
  if (due.length === 0) return;
  group.readsConfirmed = group.readsConfirmed.filter((read) => read.index > applied);
  for (const read of due) {
    group.confirmedMs = Math.max(group.confirmedMs ?? 0, read.sentAtMs);
    for (const { done } of read.waiters) shared.answer(() => done({ kind: "ready" }));
  }
}

/** Asks again, under a new id, what got no answer in time; ends what is past its deadline. */
export function retryReads(shared: Shared, group: Group, nowMs: number): void {
  if (group.readsSent.size === 0 && group.readsConfirmed.length === 0) return;
  const { readRetryMs } = shared.timing;
  for (const [context, read] of [...group.readsSent]) {
    const alive = expire(shared, read.waiters, nowMs);
    const late = nowMs - read.sentAtMs >= readRetryMs;
    if (late || alive.length === 0) group.readsSent.delete(context);
    else if (alive !== read.waiters) group.readsSent.set(context, { ...read, waiters: alive });
    if (late && alive.length > 0) ask(shared, group, alive, nowMs);
  }
  if (group.readsConfirmed.length === 0) return;
  group.readsConfirmed = group.readsConfirmed
    .map((read) => ({ ...read, waiters: expire(shared, read.waiters, nowMs) }))
    .filter((read) => read.waiters.length > 0);
}

function expire(shared: Shared, waiters: readonly ReadWaiter[], nowMs: number): readonly ReadWaiter[] {
  const late = waiters.filter((waiter) => waiter.deadlineMs <= nowMs);
  if (late.length === 0) return waiters;
  for (const { done } of late) shared.answer(() => done({ kind: "refused", reason: "timeout" }));
  return waiters.filter((waiter) => waiter.deadlineMs > nowMs);
}
