/**
 * The command `npm run sim`: searches seeds for bugs, or shows that deliberate ones are found.
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { realClock } from "#runtime";
import { hunt } from "./mutants/hunt.ts";
import { mutants } from "./mutants/mod.ts";
import { productAssembly } from "./product.ts";
import { describeFailure, describePlan } from "./report.ts";
import { runSeed } from "./run.ts";

const usage = `usage: npm run sim -- [--seeds N] [--from S] [--minutes M] [--verbose]
       npm run sim -- --mutants [--only NAME] [--seeds N] [--from S]`;

function main(): number {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string" },
      from: { type: "string" },
      minutes: { type: "string" },
      mutants: { type: "boolean" },
      only: { type: "string" },
      verbose: { type: "boolean" },
    },
  });
  const from = wholeNumber(values.from ?? "1", "--from");
  const seeds = values.seeds === undefined ? undefined : wholeNumber(values.seeds, "--seeds");
  if (values.mutants === true) return showMutants(from, seeds ?? 300, values.only, values.verbose === true);
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes);
  if (minutes !== undefined && !(minutes > 0)) throw new Error("--minutes: expected a number above 0");
  return search(
    from,
    seeds ?? (minutes === undefined ? 10 : Number.POSITIVE_INFINITY),
    minutes,
    values.verbose === true,
  );
}

function search(from: number, seeds: number, minutes: number | undefined, verbose: boolean): number {
  const clock = realClock();
  const endMs = minutes === undefined ? Number.POSITIVE_INFINITY : clock.nowMs() + minutes * 60_000;
  const faults: Record<string, number> = {};
  let run = 0;
  let operations = 0;
  let failed = 0;
  let trace: string | undefined;
  for (let seed = from; seed < from + seeds && clock.nowMs() < endMs; seed++) {
    const startMs = clock.nowMs();
    const result = runSeed(seed, { assembly: productAssembly, hashing: seeds === 1 });
    run += 1;
    operations += result.operations;
    for (const [kind, count] of Object.entries(result.faults)) faults[kind] = (faults[kind] ?? 0) + count;
    trace = result.trace;
    if (verbose)
      say(
        `${describePlan(result.plan)}: ${result.operations} operations, ${result.events} events, ${Math.round(clock.nowMs() - startMs)} ms`,
      );
    if (result.violation === undefined) continue;
    failed += 1;
    say(describeFailure(result));
  }
  const total = Object.values(faults).reduce((sum, count) => sum + count, 0);
  if (verbose) say(`faults: ${JSON.stringify(faults)}`);
  if (seeds === 1 && trace !== undefined) say(`trace ${trace}`);
  if (failed > 0) say(`${failed} seeds failed`);
  say(`${run} seeds run, ${total} faults injected, ${operations} operations checked`);
  return failed === 0 ? 0 : 1;
}

function showMutants(from: number, seedsMax: number, only: string | undefined, verbose: boolean): number {
  const chosen = mutants.filter((mutant) => only === undefined || mutant.name === only);
  if (chosen.length === 0) throw new Error(`--only: no mutant ${only}`);
  let missed = 0;
  for (const mutant of chosen) {
    const found = hunt(mutant, { from, seedsMax, assembly: productAssembly });
    if (found === undefined) missed += 1;
    else if (verbose) say(describeFailure(found.result));
    say(
      found === undefined
        ? `mutant ${mutant.name}: missed`
        : `mutant ${mutant.name}: caught (seed ${found.seed})`,
    );
  }
  return missed === 0 ? 0 : 1;
}

function wholeNumber(text: string, flag: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${flag}: expected a whole number above 0`);
  return value;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  process.exitCode = main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}\n`);
  process.exitCode = 2;
}
