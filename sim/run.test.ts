import { expect, it } from "vitest";
import { type Mutant, type Plan, productAssembly, runSeed } from "./mod.ts";

/** Nothing goes wrong and little is asked, so that only what the mutant does is seen. */
const quiet = (plan: Plan): Plan => ({ ...plan, nodes: 3, statelessRouters: 0, faults: [], faultMs: 100 });

function spinning(stepMs: number): Mutant {
  return {
    name: "spins",
    about: "a timer that sets itself again and again",
    plan: quiet,
    clock: (clock, { node }) => {
      const spin = (): void => void clock.after(stepMs, spin);
      if (node === "n1") spin();
      return clock;
    },
  };
}

it("ends a run in which time does not go on", () => {
  const { violation } = runSeed(1, { assembly: productAssembly, mutant: spinning(0) });
  expect(violation?.message).toMatch(/^time goes on/);
});

it("ends a run that goes on in ever so small steps", () => {
  const { violation } = runSeed(1, { assembly: productAssembly, mutant: spinning(0.0001) });
  expect(violation?.message).toMatch(/^a run ends/);
});
