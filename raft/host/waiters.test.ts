import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type EntryWaiter, Waiters } from "./waiters.ts";

const waiter = (index: number, term: number): EntryWaiter => ({ index, term, done: [] });
const at = ({ index, term }: EntryWaiter): string => `${index}@${term}`;

describe("waiters", () => {
  it("of two leaderships at one index are both kept until an entry there is applied", () => {
    const waiters = new Waiters();
    waiters.add(waiter(22, 5));
    waiters.add(waiter(22, 7));
    // The entry of term 5 was overwritten here, lived on elsewhere, and won in the end.
    const { applied, dropped } = waiters.settle(22, 5);
    expect(applied && at(applied)).toBe("22@5");
    expect(dropped.map(at)).toEqual(["22@7"]);
    expect(waiters.size).toBe(0);
  });

  it("of an older term are dropped as soon as a newer one is committed before them", () => {
    const waiters = new Waiters();
    waiters.add(waiter(20, 5));
    waiters.add(waiter(25, 5));
    waiters.add(waiter(21, 6));
    expect(waiters.settle(20, 6).dropped.map(at)).toEqual(["20@5", "25@5"]);
    expect(waiters.settle(21, 6).applied).toBeDefined();
    expect(waiters.size).toBe(0);
  });

  it("cannot be told what a snapshot jumped over", () => {
    const waiters = new Waiters();
    for (const index of [20, 21, 22, 23]) waiters.add(waiter(index, 5));
    waiters.add(waiter(24, 6));
    const { unknown, dropped } = waiters.jump(21, 6);
    expect(unknown.map(at)).toEqual(["20@5", "21@5"]);
    expect(dropped.map(at)).toEqual(["22@5", "23@5"]);
    expect(waiters.takeAll().map(at)).toEqual(["24@6"]);
  });

  it("are each told once, right, and soon, whatever the terms", () => {
    const waits = fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 5 })), {
      maxLength: 12,
    });
    const rises = fc.array(fc.nat(2), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(waits, rises, (list, steps) => {
        const waiters = new Waiters();
        const all = [...new Map(list.map(([i, t]) => [`${i}@${t}`, waiter(i, t)])).values()];
        for (const one of all) waiters.add(one);
        const told = new Map<string, string>();
        const tell = (one: EntryWaiter, what: string): void => {
          expect(told.has(at(one))).toBe(false);
          told.set(at(one), what);
        };
        let term = 1;
        const log: number[] = [];
        for (const [i, rise] of steps.entries()) {
          term += rise;
          log.push(term);
          const { applied, dropped } = waiters.settle(i + 1, term);
          if (applied !== undefined) tell(applied, "applied");
          for (const one of dropped) tell(one, "dropped");
          for (const one of all) if (one.term < term) expect(told.has(at(one))).toBe(true);
        }
        for (const one of all) {
          expect(told.get(at(one))).toBe(log[one.index - 1] === one.term ? "applied" : "dropped");
        }
      }),
    );
  });
});
