import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isQuorum, jointVote, majority, majorityValue, majorityVote, type VoteOutcome } from "./quorum.ts";

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 7 });
const answers = fc.dictionary(fc.integer({ min: 1, max: 9 }).map(String), fc.boolean());

/** All subsets, by definition of a majority. */
function subsets(voters: readonly number[]): number[][] {
  return voters.reduce<number[][]>((sets, id) => sets.concat(sets.map((set) => [...set, id])), [[]]);
}

function majorities(voters: readonly number[]): number[][] {
  return subsets(voters).filter((set) => set.length * 2 > voters.length);
}

/** By definition: won if some majority said yes; lost if none still can. */
function bruteVote(voters: readonly number[], of: (id: number) => boolean | undefined): VoteOutcome {
  if (voters.length === 0) return "won";
  if (majorities(voters).some((set) => set.every((id) => of(id) === true))) return "won";
  if (majorities(voters).some((set) => set.every((id) => of(id) !== false))) return "pending";
  return "lost";
}

/** By definition: the highest value that all of some majority have reached. */
function bruteValue(voters: readonly number[], of: (id: number) => number): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  return Math.max(...majorities(voters).map((set) => Math.min(...set.map(of))));
}

describe("majorities (figure 2; thesis 3.4, 4.3)", () => {
  it.each([
    { size: 1, want: 1 },
    { size: 2, want: 2 },
    { size: 3, want: 2 },
    { size: 4, want: 3 },
    { size: 5, want: 3 },
    { size: 6, want: 4 },
    { size: 7, want: 4 },
  ])("$size voters need $want", ({ size, want }) => expect(majority(size)).toBe(want));

  it.each([
    { name: "nobody to ask agrees with everything", values: [], want: Number.POSITIVE_INFINITY },
    { name: "one voter is its own quorum", values: [7], want: 7 },
    { name: "one of three behind", values: [7, 7, 3], want: 7 },
    { name: "one of three ahead", values: [9, 3, 3], want: 3 },
    { name: "four voters need three", values: [9, 9, 4, 1], want: 4 },
    { name: "five voters, two behind", values: [1, 2, 5, 5, 8], want: 5 },
  ])("$name", ({ values, want }) => expect(majorityValue([...values])).toBe(want));

  it("the value is what some majority has reached, by brute force", () => {
    fc.assert(
      fc.property(ids, fc.array(fc.nat(20), { minLength: 10, maxLength: 10 }), (voters, values) => {
        const of = (id: number) => values[id] as number;
        expect(majorityValue(voters.map(of))).toBe(bruteValue(voters, of));
      }),
    );
  });

  it("a vote is won, lost or pending as the definition says, by brute force", () => {
    fc.assert(
      fc.property(ids, answers, (voters, said) => {
        const of = (id: number) => said[String(id)];
        expect(majorityVote(voters, of)).toBe(bruteVote(voters, of));
      }),
    );
  });

  it("a joint vote needs both halves and is lost with either, by brute force", () => {
    fc.assert(
      fc.property(ids, ids, answers, (incoming, outgoing, said) => {
        const of = (id: number) => said[String(id)];
        const both = [bruteVote(incoming, of), bruteVote(outgoing, of)];
        const want = both.includes("lost") ? "lost" : both.includes("pending") ? "pending" : "won";
        // A half that is already lost may be reported before the other is known, never the other way round.
        expect(jointVote(incoming, outgoing, of)).toBe(want);
      }),
    );
  });

  it("two quorums of one joint configuration always share a member of each half", () => {
    fc.assert(
      fc.property(ids, ids, fc.uniqueArray(fc.integer({ min: 1, max: 9 })), (incoming, outgoing, set) => {
        fc.pre(incoming.length > 0);
        const rest = (id: number) => !set.includes(id);
        const inSet = (id: number) => set.includes(id);
        expect(isQuorum(incoming, outgoing, inSet) && isQuorum(incoming, outgoing, rest)).toBe(false);
      }),
    );
  });
});
