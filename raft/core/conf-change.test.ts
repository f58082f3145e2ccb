import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ConfChangeError,
  changeConf,
  confProblem,
  entersJoint,
  leavesJoint,
  sameConf,
} from "./conf-change.ts";
import { decodeConfChange, encodeConfChange } from "./conf-codec.ts";
import { confOf } from "./testing/cluster.ts";
import type { ConfChange, ConfState, MemberChange } from "./types.ts";

const none = new Uint8Array(0);
const leave: ConfChange = { transition: "auto", changes: [], context: none };

function change(text: string, transition: ConfChange["transition"] = "auto"): ConfChange {
  const kinds = { v: "voter", l: "learner", r: "remove" } as const;
  const changes = text
    .split(" ")
    .filter((word) => word !== "")
    .map((word): MemberChange => ({ kind: kinds[word[0] as "v" | "l" | "r"], id: Number(word.slice(1)) }));
  return { transition, changes, context: none };
}

const joint: ConfState = {
  voters: [1, 2, 4],
  outgoing: [1, 2, 3],
  learners: [],
  learnersNext: [],
  autoLeave: true,
};

describe("configuration changes (thesis 4.1, 4.3)", () => {
  it.each([
    { name: "adds a voter", from: confOf([1]), by: "v2", want: confOf([1, 2]) },
    { name: "adds a learner", from: confOf([1, 2]), by: "l3", want: confOf([1, 2], [3]) },
    { name: "promotes a learner", from: confOf([1, 2], [3]), by: "v3", want: confOf([1, 2, 3]) },
    { name: "demotes a voter", from: confOf([1, 2, 3]), by: "l3", want: confOf([1, 2], [3]) },
    { name: "removes a voter", from: confOf([1, 2, 3]), by: "r3", want: confOf([1, 2]) },
    { name: "removes a learner", from: confOf([1], [2]), by: "r2", want: confOf([1]) },
    { name: "removing nobody changes nothing", from: confOf([1, 2]), by: "r7", want: confOf([1, 2]) },
    { name: "adding twice is adding once", from: confOf([1, 2]), by: "v2", want: confOf([1, 2]) },
    { name: "several go through a joint configuration", from: confOf([1, 2, 3]), by: "v4 r3", want: joint },
    {
      name: "a voter of the outgoing half becomes a learner only when that is left",
      from: confOf([1, 2, 3]),
      by: "r3 l2",
      want: { voters: [1], outgoing: [1, 2, 3], learners: [], learnersNext: [2], autoLeave: true },
    },
  ])("$name", ({ from, by, want }) => expect(changeConf(from, change(by)).conf).toEqual(want));

  it.each([
    { name: "auto, several members", it: change("v4 v5"), joint: true, auto: true },
    { name: "implicit, one member", it: change("v4", "implicit"), joint: true, auto: true },
    { name: "explicit, one member", it: change("v4", "explicit"), joint: true, auto: false },
  ])("$name: joint, leaves by itself $auto", ({ it: by, auto }) => {
    expect(entersJoint(by)).toBe(true);
    const next = changeConf(confOf([1, 2, 3]), by).conf;
    expect(next.outgoing).toEqual([1, 2, 3]);
    expect(next.autoLeave).toBe(auto);
  });

  it("leaving a joint configuration turns next learners into learners and drops the outgoing half", () => {
    const entered = changeConf(confOf([1, 2, 3]), change("r3 l2")).conf;
    expect(changeConf(entered, leave).conf).toEqual(confOf([1], [2]));
  });

  it.each([
    { name: "no voter would be left", from: confOf([1]), by: change("r1") },
    { name: "no voter would be left in the incoming half", from: confOf([1, 2]), by: change("r1 l2") },
    { name: "not joint, so nothing to leave", from: confOf([1]), by: leave },
    { name: "joint already: a member", from: joint, by: change("v5") },
    { name: "joint already: several members", from: joint, by: change("v5 v6") },
    { name: "joint already: an explicit change of nobody", from: joint, by: change("", "explicit") },
    { name: "no voters to be joint with", from: confOf([]), by: change("v1 v2") },
    { name: "no replica has id 0", from: confOf([1]), by: change("v0") },
  ])("refused: $name", ({ from, by }) => expect(() => changeConf(from, by)).toThrow(ConfChangeError));

  it("who is removed and added again by one change begins anew, unless the outgoing half knows it", () => {
    expect([...changeConf(confOf([1], [4]), change("r4 l4")).renewed]).toEqual([4]);
    expect([...changeConf(confOf([1, 4]), change("r4 v4")).renewed]).toEqual([]);
  });
});

const memberChange = fc.record({
  kind: fc.constantFrom("voter", "learner", "remove"),
  id: fc.integer({ min: 1, max: 8 }),
}) satisfies fc.Arbitrary<MemberChange>;

/** The members of a configuration at rest, in the words of the definition. */
function expected(start: ConfState, changes: readonly MemberChange[]): ConfState {
  const role = new Map<number, "voter" | "learner">();
  for (const id of start.voters) role.set(id, "voter");
  for (const id of start.learners) role.set(id, "learner");
  for (const { kind, id } of changes) {
    if (kind === "remove") role.delete(id);
    else role.set(id, kind);
  }
  const of = (wanted: string) => [...role].filter(([, is]) => is === wanted).map(([id]) => id);
  return confOf(
    of("voter").sort((a, b) => a - b),
    of("learner").sort((a, b) => a - b),
  );
}

describe("joint and simple steps", () => {
  it("reach the same configuration, which is the one asked for", () => {
    fc.assert(
      fc.property(fc.array(memberChange, { minLength: 1, maxLength: 8 }), (changes) => {
        const start = confOf([1, 2, 3], [4]);
        let simple: ConfState = start;
        for (const it of changes) {
          const next = expected(simple, [it]);
          fc.pre(next.voters.length > 0);
          simple = changeConf(simple, { transition: "auto", changes: [it], context: none }).conf;
          expect(simple).toEqual(next);
        }
        for (const transition of ["implicit", "explicit"] as const) {
          const entered = changeConf(start, { transition, changes, context: none }).conf;
          expect(confProblem(entered)).toBeUndefined();
          expect(entered.outgoing).toEqual(start.voters);
          expect(changeConf(entered, leave).conf).toEqual(simple);
        }
      }),
    );
  });

  it("every configuration on the way is sound", () => {
    fc.assert(
      fc.property(fc.array(fc.array(memberChange, { maxLength: 4 }), { maxLength: 6 }), (rounds) => {
        let conf = confOf([1, 2, 3]);
        for (const changes of rounds) {
          const by: ConfChange = { transition: "auto", changes, context: none };
          try {
            conf = changeConf(conf, by).conf;
          } catch (error) {
            expect(error).toBeInstanceOf(ConfChangeError);
          }
          expect(confProblem(conf)).toBeUndefined();
        }
      }),
    );
  });
});

describe("the encoding of a change", () => {
  it("is read back as it was", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("auto", "implicit", "explicit"),
        fc.array(memberChange),
        fc.uint8Array(),
        (transition, changes, context) => {
          const by = { transition, changes, context } satisfies ConfChange;
          const read = decodeConfChange(encodeConfChange(by));
          expect({ ...read, context: [...read.context] }).toEqual({ ...by, context: [...context] });
        },
      ),
    );
  });

  it("leaving a joint configuration costs no bytes", () => {
    expect(encodeConfChange(leave)).toHaveLength(0);
    expect(leavesJoint(decodeConfChange(none))).toBe(true);
  });

  it("R12: any bytes at all are decoded or refused, nothing else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          decodeConfChange(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfChangeError);
        }
      }),
    );
  });
});

describe("a configuration from outside", () => {
  it.each([
    { name: "not sorted", conf: { ...confOf([2, 1]) } },
    { name: "twice the same", conf: { ...confOf([1, 1]) } },
    { name: "a voter that is a learner", conf: confOf([1, 2], [2]) },
    { name: "a next learner that was no voter", conf: { ...joint, learnersNext: [7] } },
    { name: "leaving by itself what is not joint", conf: { ...confOf([1]), autoLeave: true } },
    { name: "joint with no incoming half", conf: { ...joint, voters: [] } },
    { name: "an id that is none", conf: confOf([0]) },
  ])("unsound: $name", ({ conf }) => expect(confProblem(conf)).toBeDefined());

  it("is the same only if all of it is", () => {
    expect(sameConf(joint, { ...joint })).toBe(true);
    expect(sameConf(joint, { ...joint, autoLeave: false })).toBe(false);
    expect(sameConf(confOf([1, 2]), confOf([1]))).toBe(false);
  });
});
