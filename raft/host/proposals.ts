import type { ConfChange } from "#raft/core";
import { handOver, judgeConfChange, preview } from "./conf-guard.ts";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";
import type { ProposeOutcome } from "./types.ts";
import type { ProposeDone } from "./waiters.ts";

type Reason = Extract<ProposeOutcome, { kind: "refused" }>["reason"];

/** Proposes what waited for this group: the commands of a turn share entries up to their size limit. */
export function stepCommands(shared: Shared, group: Group): void {
  if (group.commands.length === 0) return;
  const { commands } = group;
  group.commands = [];
  if (group.core.role !== "leader") {
    const done = commands.map((queued) => queued.done);
    refuse(shared, group, done, group.core.leader === 0 ? "no_leader" : "not_leader");
    return;
  }
  for (let from = 0; from < commands.length; ) {
    const taken = takeUpTo(commands, from, shared.limits.maxEntryBytes);
    from += taken.length;
    const done = taken.map((queued) => queued.done);
    const data = group.machine.encodeEntry(taken.map((queued) => queued.command));
    const result = group.core.step({ kind: "propose", data: [data] });
    if (result !== "ok") refuse(shared, group, done, result === "ignored" ? "no_leader" : result);
    else group.waiters.add({ index: group.core.lastIndex, term: group.core.term, done });
  }
}

export function stepConfChanges(shared: Shared, group: Group): void {
  if (group.confChanges.length === 0) return;
  const changes = group.confChanges;
  group.confChanges = [];
  for (const { change, done } of changes) {
    const problem = refusal(shared, group, change);
    if (problem !== undefined) {
      refuse(shared, group, [done], problem);
      continue;
    }
    const result = group.core.step({ kind: "proposeConfChange", change });
    if (result !== "ok") refuse(shared, group, [done], result === "ignored" ? "no_leader" : result);
    else group.waiters.add({ index: group.core.lastIndex, term: group.core.term, done: [done] });
  }
}

/** R10: a change that would end this leader's membership starts a hand-over instead; ask the next leader. */
function refusal(shared: Shared, group: Group, change: ConfChange): Reason | undefined {
  if (group.core.role !== "leader") return undefined;
  const next = preview(group, change);
  if (next === undefined) return "conf_change_invalid";
  const verdict = judgeConfChange(group, next, (replica) => shared.isLive(group, replica));
  if (verdict.kind === "fine") return undefined;
  shared.options.logger.info({ group: group.group, ...verdict }, "membership change refused");
  if (verdict.kind === "refused") return "conf_change_invalid";
  if (group.core.transferTarget === 0) handOver(shared, group, next);
  return "transferring";
}

function refuse(shared: Shared, group: Group, done: readonly ProposeDone[], reason: Reason): void {
  const leaderNode = group.leaderNode;
  const outcome: ProposeOutcome = {
    kind: "refused",
    reason,
    ...(leaderNode === undefined ? {} : { leaderNode }),
  };
  for (const answer of done) shared.answer(() => answer(outcome));
}

/** Commands from position `from` on that fit one entry, at least one. */
function takeUpTo<T extends { readonly command: Uint8Array }>(
  queue: readonly T[],
  from: number,
  maxBytes: number,
): readonly T[] {
  let bytes = 0;
  let end = from;
  for (; end < queue.length; end++) {
    bytes += queue[end]?.command.length ?? 0;
    if (end > from && bytes > maxBytes) break;
  }
  return from === 0 && end === queue.length ? queue : queue.slice(from, end);
}
