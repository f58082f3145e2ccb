import type { ConfChange, ConfState } from "#raft/core";
import { confChangeProblem } from "./conf-guard.ts";
import type { Group, ProposeDone } from "./group.ts";
import type { Shared } from "./shared.ts";
import type { ProposeOutcome } from "./types.ts";

type Reason = Extract<ProposeOutcome, { kind: "refused" }>["reason"];

/** Proposes what waited for this group: the commands of a turn share entries up to their size limit. */
export function stepCommands(shared: Shared, group: Group): void {
  while (group.commands.length > 0) {
    const taken = takeUpTo(group.commands, shared.limits.maxEntryBytes);
    const done = taken.map((queued) => queued.done);
    if (group.core.role !== "leader") {
      refuse(group, done, group.core.leader === 0 ? "no_leader" : "not_leader");
      continue;
    }
    const data = group.machine.encodeEntry(taken.map((queued) => queued.command));
    const result = group.core.step({ kind: "propose", data: [data] });
    if (result !== "ok") refuse(group, done, result === "ignored" ? "no_leader" : result);
    else group.waiters.set(group.core.lastIndex, { term: group.core.term, done });
  }
}

export function stepConfChanges(shared: Shared, group: Group): void {
  if (group.confChanges.length === 0) return;
  const changes = group.confChanges;
  group.confChanges = [];
  for (const { change, done } of changes) {
    const problem = problemOf(shared, group, change);
    if (problem !== undefined) {
      shared.options.logger.info({ group: group.group, problem }, "membership change refused");
      refuse(group, [done], "conf_change_invalid");
      continue;
    }
    const result = group.core.step({ kind: "proposeConfChange", change });
    if (result !== "ok") refuse(group, [done], result === "ignored" ? "no_leader" : result);
    else group.waiters.set(group.core.lastIndex, { term: group.core.term, done: [done] });
  }
}

function problemOf(shared: Shared, group: Group, change: ConfChange): string | undefined {
  if (group.core.role !== "leader") return undefined;
  let next: ConfState;
  try {
    next = group.core.previewConfChange(change);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return confChangeProblem(group, next, (replica) => shared.isLive(group, replica));
}

function refuse(group: Group, done: readonly ProposeDone[], reason: Reason): void {
  const leaderNode = group.leaderNode;
  const outcome: ProposeOutcome = {
    kind: "refused",
    reason,
    ...(leaderNode === undefined ? {} : { leaderNode }),
  };
  for (const answer of done) answer(outcome);
}

function takeUpTo<T extends { readonly command: Uint8Array }>(queue: T[], maxBytes: number): T[] {
  let bytes = 0;
  let count = 0;
  for (const { command } of queue) {
    bytes += command.length;
    if (count > 0 && bytes > maxBytes) break;
    count += 1;
  }
  return queue.splice(0, count);
}
