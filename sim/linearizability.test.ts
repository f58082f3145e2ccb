import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isLinearizableByBruteForce } from "./brute-force.ts";
import type { Answer, Call, HistoryCondition, Operation } from "./history.ts";
import { checkRegister } from "./linearizability.ts";

let id = 0;
/** `span` in ms; without an end the call never returned. */
function op(call: Call, answer: Answer | undefined, span: readonly [number, number?]): Operation {
  const [from, to] = span;
  return {
    id: id++,
    client: "c",
    key: "k",
    call,
    called: { ms: from, order: 0 },
    ...(to === undefined ? {} : { returned: { ms: to, order: 1 } }),
    ...(answer === undefined ? {} : { answer }),
  };
}
const put = (value: string, revision: number, from: number, to: number) =>
  op({ kind: "put", value }, { kind: "put", revision }, [from, to]);
const putUnknown = (value: string, from: number) => op({ kind: "put", value }, { kind: "unknown" }, [from]);
const found = (value: string, revision: number, from: number, to: number) =>
  op({ kind: "get" }, { kind: "found", revision, value }, [from, to]);
const gone = (from: number, to: number) => op({ kind: "get" }, { kind: "absent" }, [from, to]);
const staleFound = (value: string, revision: number, stalenessMs: number, from: number, to: number) =>
  op({ kind: "staleGet" }, { kind: "found", revision, value, stalenessMs }, [from, to]);

describe("histories that must pass", () => {
  it.each<{ name: string; history: Operation[] }>([
    { name: "nothing", history: [] },
    { name: "a read of the first state", history: [gone(0, 1)] },
    { name: "a put and its read", history: [put("a", 5, 0, 1), found("a", 5, 2, 3)] },
    {
      name: "a read beside a put sees either",
      history: [put("a", 5, 0, 9), gone(1, 2), found("a", 5, 3, 4)],
    },
    {
      name: "a put of unknown outcome shows up late",
      history: [putUnknown("a", 0), gone(5, 6), found("a", 3, 7, 8)],
    },
    {
      name: "a deletion of unknown outcome explains absence",
      history: [put("a", 5, 0, 1), op({ kind: "delete" }, { kind: "unknown" }, [2]), gone(9, 10)],
    },
    {
      name: "a failed condition tells the revision of a put of unknown outcome",
      history: [
        putUnknown("a", 0),
        op(
          { kind: "put", value: "b", condition: { noneMatch: "any" } },
          { kind: "conditionFailed", revision: 7 },
          [1, 2],
        ),
        found("a", 7, 3, 4),
      ],
    },
    {
      name: "a stale read as old as it says",
      history: [put("a", 5, 0, 1), put("b", 6, 10, 11), staleFound("a", 5, 20, 25, 26)],
    },
    {
      name: "deleting what a put of unknown outcome left, then another again",
      history: [
        putUnknown("a", 0),
        putUnknown("b", 0),
        op({ kind: "delete" }, { kind: "deleted", deleted: true, revision: 3 }, [1, 2]),
        op({ kind: "delete" }, { kind: "deleted", deleted: true, revision: 5 }, [3, 4]),
      ],
    },
  ])("$name", ({ history }) => expect(checkRegister(history)).toEqual({ ok: true }));
});

describe("canaries: histories that must fail", () => {
  it.each<{ name: string; history: Operation[] }>([
    { name: "a lost write", history: [put("a", 5, 0, 1), gone(2, 3)] },
    { name: "a read from the past", history: [put("a", 5, 0, 1), put("b", 6, 2, 3), found("a", 5, 4, 5)] },
    {
      name: "reads that go back",
      history: [put("a", 5, 0, 1), put("b", 6, 2, 9), found("b", 6, 3, 4), found("a", 5, 5, 6)],
    },
    {
      name: "a value out of nowhere",
      history: [found("a", 5, 0, 1)],
    },
    {
      name: "a write applied twice",
      history: [putUnknown("a", 0), found("a", 5, 1, 2), put("b", 6, 3, 4), found("a", 7, 5, 6)],
    },
    {
      name: "a write that was said not to be applied (R24)",
      history: [op({ kind: "put", value: "a" }, { kind: "notApplied" }, [0, 1]), found("a", 5, 2, 3)],
    },
    {
      name: "412 for one's own success (R22)",
      history: [
        op(
          { kind: "put", value: "a", condition: { noneMatch: "any" } },
          { kind: "conditionFailed", revision: 5 },
          [0, 1],
        ),
        found("a", 5, 2, 3),
      ],
    },
    {
      name: "two winners of one condition",
      history: [
        put("a", 5, 0, 1),
        op({ kind: "put", value: "b", condition: { match: [5] } }, { kind: "put", revision: 6 }, [2, 3]),
        op({ kind: "put", value: "c", condition: { match: [5] } }, { kind: "put", revision: 7 }, [2, 3]),
      ],
    },
    {
      name: "a revision given in the wrong order",
      history: [put("a", 6, 0, 1), put("b", 5, 2, 3)],
    },
    {
      name: "a stale read older than it says",
      history: [put("a", 5, 0, 1), put("b", 6, 10, 11), staleFound("a", 5, 5, 25, 26)],
    },
    {
      name: "a stale read behind the revision it had to reach",
      history: [
        put("a", 5, 0, 1),
        put("b", 6, 10, 11),
        op(
          { kind: "staleGet", minRevision: 7 },
          { kind: "found", revision: 5, value: "a", stalenessMs: 20 },
          [25, 26],
        ),
      ],
    },
    {
      name: "a failed condition that would have held",
      history: [
        put("a", 5, 0, 1),
        op(
          { kind: "put", value: "b", condition: { match: [5] } },
          { kind: "conditionFailed", revision: 5 },
          [2, 3],
        ),
      ],
    },
    {
      name: "a deletion that found what had never been written",
      history: [op({ kind: "delete" }, { kind: "deleted", deleted: true, revision: 3 }, [0, 1])],
    },
  ])("$name", ({ history }) => {
    const verdict = checkRegister(history);
    expect(verdict).toMatchObject({ ok: false, undecided: false });
  });
});

const condition = fc.option(
  fc.oneof(
    fc.constant({ noneMatch: "any" as const }),
    fc.constant({ match: "any" as const }),
    fc.integer({ min: 1, max: 4 }).map((r) => ({ match: [r] })),
  ),
  { nil: undefined },
);
const revision = fc.integer({ min: 1, max: 4 });
const values = ["a", "b", "c"] as const;
const when = (c: HistoryCondition | undefined) => (c === undefined ? {} : { condition: c });

/** One operation with any answer its kind can have; values of puts are made unique afterwards. */
const anyOperation = fc
  .tuple(
    fc.oneof(
      fc.tuple(
        condition.map((c): Call => ({ kind: "put", value: "", ...when(c) })),
        fc.oneof(
          revision.map((r): Answer => ({ kind: "put", revision: r })),
          fc.constant<Answer>({ kind: "unknown" }),
          fc.constant<Answer>({ kind: "unknown" }),
          fc.integer({ min: 0, max: 4 }).map((r): Answer => ({ kind: "conditionFailed", revision: r })),
        ),
      ),
      fc.tuple(
        condition.map((c): Call => ({ kind: "delete", ...when(c) })),
        fc.oneof(
          fc
            .tuple(revision, fc.boolean())
            .map(([r, deleted]): Answer => ({ kind: "deleted", revision: r, deleted })),
          fc.constant<Answer>({ kind: "unknown" }),
        ),
      ),
      fc.tuple(
        fc.constant<Call>({ kind: "get" }),
        fc.oneof(
          fc
            .tuple(revision, fc.constantFrom(...values))
            .map(([r, value]): Answer => ({ kind: "found", revision: r, value })),
          fc.constant<Answer>({ kind: "absent" }),
        ),
      ),
    ),
    fc.integer({ min: 0, max: 6 }),
    fc.integer({ min: 1, max: 8 }),
  )
  .map(([[call, answer], from, length]) => ({ call, answer, from, length }));

const anyHistory = fc.array(anyOperation, { maxLength: 6 }).map((parts) => {
  let puts = 0;
  return parts.map(({ call, answer, from, length }, i): Operation => {
    const value = values[puts] ?? `v${puts}`;
    if (call.kind === "put") puts += 1;
    // A conditional answer without a condition cannot be: the generator does not waste time on it.
    const bare = answer.kind === "conditionFailed" && (call.kind !== "put" || call.condition === undefined);
    return {
      id: i,
      client: "c",
      key: "k",
      call: call.kind === "put" ? { ...call, value } : call,
      called: { ms: from, order: i * 2 },
      returned: { ms: from + length, order: i * 2 + 1 },
      answer: bare ? { kind: "unknown" } : answer,
    };
  });
});

describe("against trying every order", () => {
  it("agrees on tiny histories", () => {
    const seen = { yes: 0, no: 0 };
    fc.assert(
      fc.property(anyHistory, (history) => {
        const expected = isLinearizableByBruteForce(history);
        seen[expected ? "yes" : "no"] += 1;
        const verdict = checkRegister(history);
        expect(verdict.ok, JSON.stringify(verdict)).toBe(expected);
      }),
      { numRuns: 20_000, seed: 7 },
    );
    expect(seen.yes).toBeGreaterThan(500);
    expect(seen.no).toBeGreaterThan(500);
  });
});

describe("size", () => {
  it("takes thousands of operations on one key, a tenth of them of unknown outcome, at once", () => {
    const history: Operation[] = [];
    for (let i = 0; i < 6000; i++) {
      const at = i * 2;
      if (i % 10 === 0) history.push(putUnknown(`u${i}`, at));
      else if (i % 2 === 0) history.push(put(`v${i}`, i + 1, at, at + 5));
      else history.push(found(`v${i - 1}`, i, at + 5.5, at + 5.6));
    }
    const sane = history.filter((o, i) => o.call.kind !== "get" || history[i - 1]?.answer?.kind === "put");
    // Reads overlap the next put's call, which ends later.
    expect(checkRegister(sane, { maxStates: 100_000 })).toMatchObject({ ok: true });
  });
});
