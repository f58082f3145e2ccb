import { encodeSplit, type GroupId, type SplitCommand } from "#proto";
import type { GroupHost, ProposeOutcome } from "#raft/host";
import type { LocalShards } from "./shards.ts";
import { type SplitApplied, type SplitResult, splitProblem } from "./split.ts";

/**
 * What became of an ordered split. `refused`: it stands in no log. `unknown`: it may yet be applied; asking
 * again is harmless.
 */
export type SplitOutcome =
  | SplitResult
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "unknown" };

/** The leader's door for splits: what cannot be carried out is refused before the log (R12). */
export class SplitDoor {
  readonly #host: GroupHost;
  readonly #shards: LocalShards;

  constructor(host: GroupHost, shards: LocalShards) {
    this.#host = host;
    this.#shards = shards;
  }

  split(group: GroupId, request: SplitCommand, done: (outcome: SplitOutcome) => void): void {
    const shard = this.#shards.get(group);
    if (shard === undefined) return done({ kind: "refused", reason: "there is no replica of it here" });
    if (!shard.machine.leadership.isLeader)
      return done({ kind: "refused", reason: "its leader is not here" });
    const reason = splitProblem(request, shard.descriptor);
    if (reason !== undefined) return done({ kind: "void", reason, current: shard.descriptor });
    this.#host.propose(group, encodeSplit(request), (outcome) => done(outcomeOf(outcome)));
  }
}

function outcomeOf(outcome: ProposeOutcome): SplitOutcome {
  switch (outcome.kind) {
    case "applied":
      return (outcome.result as SplitApplied).split;
    case "refused":
      return { kind: "refused", reason: outcome.reason };
    case "dropped":
      return { kind: "refused", reason: "leadership was lost" };
    default:
      return { kind: "unknown" };
  }
}
