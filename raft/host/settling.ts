import type { ConfState } from "#raft/core";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

/**
 * R10: when members leave, they are needed until those who stay know so for good. What a group has committed is
 * known to each replica by a row that is written unsynced (R38): if all lose power, they are back in the joint
 * configuration, and need a majority of its outgoing half too. An entry that is appended after the change was
 * applied brings the knowledge along, since the log store writes down a commit index that passes a membership
 * change: once that entry is committed, a majority of the new configuration has both on disk, and whoever left
 * may be destroyed.
 */
export interface Settling {
  /** The first entry that is appended after the change was applied. */
  readonly index: number;
  /** Those who asked for the change. */
  readonly answers: (() => void)[];
}

/** A change was applied: `before` is the configuration it ended. */
export function beginSettling(shared: Shared, group: Group, before: ConfState): void {
  const { core } = group;
  if (core.role !== "leader") return;
  const stay = new Set([...core.conf.voters, ...core.conf.outgoing]);
  if ([...before.voters, ...before.outgoing].every((replica) => stay.has(replica))) return;
  group.settling = { index: core.lastIndex + 1, answers: group.settling?.answers ?? [] };
  shared.markDirty(group);
}

/** Once a turn, behind all else that is proposed: an entry of users does as well as an empty one. */
export function stepSettling(shared: Shared, group: Group): void {
  const { core, settling } = group;
  if (settling === undefined) return;
  if (core.role !== "leader" || core.commit >= settling.index) {
    group.settling = undefined;
    for (const answer of settling.answers) shared.answer(answer);
  } else if (core.lastIndex < settling.index) {
    // Refused while leadership is being transferred, say: asked again in the next turn.
    core.step({ kind: "propose", data: [new Uint8Array(0)] });
  }
}
