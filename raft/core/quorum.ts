/**
 * Majorities, and pairs of majorities (joint consensus, thesis 4.3). Pure functions over numbers.
 * An empty half agrees with everything, so that a configuration that is not joint has one half to satisfy.
 * @module
 */

export type VoteOutcome = "won" | "lost" | "pending";

/** Members that make a majority of `size`. */
export function majority(size: number): number {
  return (size >> 1) + 1;
}

/**
 * The highest value that a majority has reached (figure 2: "a majority of matchIndex[i] ≥ N").
 * Sorts `values` in place; Infinity for no values.
 */
export function majorityValue(values: number[]): number {
  const size = values.length;
  if (size === 0) return Number.POSITIVE_INFINITY;
  // Insertion sort: groups are 3 to 7 strong, and Array.prototype.sort would compare through a closure.
  for (let i = 1; i < size; i++) {
    const value = values[i] as number;
    let at = i - 1;
    while (at >= 0 && (values[at] as number) > value) {
      values[at + 1] = values[at] as number;
      at--;
    }
    values[at + 1] = value;
  }
  return values[size - majority(size)] as number;
}

/** What a vote among `voters` has come to; `voteOf` gives undefined while one has not answered. */
export function majorityVote(
  voters: readonly number[],
  voteOf: (id: number) => boolean | undefined,
): VoteOutcome {
  if (voters.length === 0) return "won";
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = voteOf(id);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = majority(voters.length);
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}

/** A vote of both halves: won if both are, lost as soon as one is. */
export function jointVote(
  voters: readonly number[],
  outgoing: readonly number[],
  voteOf: (id: number) => boolean | undefined,
): VoteOutcome {
  const incoming = majorityVote(voters, voteOf);
  if (outgoing.length === 0 || incoming === "lost") return incoming;
  const leaving = majorityVote(outgoing, voteOf);
  return leaving === "won" ? incoming : leaving;
}

/** Whether those for whom `has` holds are a quorum of both halves. */
export function isQuorum(
  voters: readonly number[],
  outgoing: readonly number[],
  has: (id: number) => boolean,
): boolean {
  return jointVote(voters, outgoing, has) === "won";
}
