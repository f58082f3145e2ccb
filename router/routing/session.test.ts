import fc from "fast-check";
import { expect, it } from "vitest";
import { seededRandom } from "#runtime";
import { Session } from "./session.ts";

it("R23: the lowest unanswered number is the least that is open, or the next one", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(20)), { maxLength: 100 }), (steps) => {
      const session = new Session(seededRandom(1));
      const open: number[] = [];
      let next = 1;
      for (const step of steps) {
        if (step === null) {
          expect(session.open()).toBe(next);
          open.push(next++);
        } else {
          const [closed] = open.splice(step, 1);
          if (closed !== undefined) session.close(closed);
        }
        expect(session.lowestUnanswered).toBe(open.length === 0 ? next : Math.min(...open));
        expect(session.unanswered).toBe(open.length);
      }
    }),
  );
});

it("two sessions have different ids of 16 hex digits", () => {
  const ids = [1, 2].map((seed) => new Session(seededRandom(seed)).id);
  expect(ids[0]).toMatch(/^[0-9a-f]{16}$/);
  expect(ids[0]).not.toBe(ids[1]);
});
