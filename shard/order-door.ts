import type { GroupId } from "#proto";
import type { GroupHost, ProposeOutcome } from "#raft/host";
import type { LocalShards, ReadyShard } from "./shards.ts";

/** `refused`: it stands in no log. `unknown`: it may yet be applied; asking again is harmless. */
export type Undecided = { readonly kind: "refused"; readonly reason: string } | { readonly kind: "unknown" };

/** A change of a shard that placement orders. */
export interface ShardOrder<Result> {
  /** Why it can change nothing in this shard; undefined: it can. */
  readonly voidIn: (shard: ReadyShard) => Result | undefined;
  readonly encode: () => Uint8Array;
  /** What it came to, of what `apply` answers. */
  readonly resultOf: (applied: unknown) => Result;
}

/** The leader's door for such changes: what cannot be carried out is refused before the log (R12). */
export function carryOutOrder<Result>(
  host: GroupHost | undefined,
  shards: LocalShards,
  group: GroupId,
  order: ShardOrder<Result>,
  done: (outcome: Result | Undecided) => void,
): void {
  if (host === undefined) return done({ kind: "refused", reason: "the node is starting" });
  const shard = shards.get(group);
  if (shard === undefined) return done({ kind: "refused", reason: "there is no replica of it here" });
  if (!shard.machine.leadership.isLeader) return done({ kind: "refused", reason: "its leader is not here" });
  const nothing = order.voidIn(shard);
  if (nothing !== undefined) return done(nothing);
  host.propose(group, order.encode(), (outcome) =>
    done(outcome.kind === "applied" ? order.resultOf(outcome.result) : undecided(outcome)),
  );
}

function undecided(outcome: Exclude<ProposeOutcome, { kind: "applied" }>): Undecided {
  switch (outcome.kind) {
    case "refused":
      return { kind: "refused", reason: outcome.reason };
    case "dropped":
      return { kind: "refused", reason: "leadership was lost" };
    default:
      return { kind: "unknown" };
  }
}
