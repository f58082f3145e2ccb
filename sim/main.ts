/**
 * The command `npm run sim`: searches seeds for bugs, or shows that deliberate ones are found.
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { cryptoRandom, realClock } from "#runtime";
import { watchRuns } from "./main-watchdog.ts";
import { hunt } from "./mutants/hunt.ts";
import { mutants } from "./mutants/mod.ts";
import { productAssembly } from "./product.ts";
import { describeFailure, describePlan } from "./report.ts";
import { type RunResult, runSeed } from "./run.ts";

/** A run takes seconds. */
const hangsAfterMs = 240_000;

const usage = `usage: npm run sim -- [--seeds N] [--from S] [--minutes M] [--fresh N] [--verbose]
       npm run sim -- --mutants [--only NAME] [--seeds N] [--from S]`;

function main(): number {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string" },
      from: { type: "string" },
      minutes: { type: "string" },
      fresh: { type: "string" },
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
  const fresh = values.fresh === undefined ? 0 : wholeNumber(values.fresh, "--fresh");
  const fixed = seeds ?? (minutes === undefined ? 10 : Number.POSITIVE_INFINITY);
  return search(chooseSeeds(from, fixed, fresh), seeds === 1, minutes, values.verbose === true);
}

/** `count` seeds from `from` on, then some that nobody has run before. */
function* chooseSeeds(from: number, count: number, fresh: number): Generator<number> {
  for (let seed = from; seed < from + count; seed++) yield seed;
  const random = cryptoRandom();
  for (let i = 0; i < fresh; i++) yield 1_000_000 + random.below(1_000_000_000);
}

function search(
  seeds: Iterable<number>,
  hashing: boolean,
  minutes: number | undefined,
  verbose: boolean,
): number {
  const clock = realClock();
  const endMs = minutes === undefined ? Number.POSITIVE_INFINITY : clock.nowMs() + minutes * 60_000;
  const total = new Totals();
  const begins = watchRuns(hangsAfterMs);
  for (const seed of seeds) {
    if (clock.nowMs() >= endMs) break;
    begins(seed);
    const startMs = clock.nowMs();
    const result = runSeed(seed, { assembly: productAssembly, hashing });
    total.add(result);
    const ms = Math.round(clock.nowMs() - startMs);
    if (verbose)
      say(`${describePlan(result.plan)}: ${result.operations} operations, ${result.events} events, ${ms} ms`);
    if (result.violation !== undefined) say(describeFailure(result));
    if (result.trace !== undefined) say(`trace ${result.trace}`);
  }
  if (verbose) say(`faults: ${JSON.stringify(total.faults)}`);
  if (total.failed > 0) say(`${total.failed} seeds failed`);
  say(total.describe());
  return total.failed === 0 ? 0 : 1;
}

class Totals {
  readonly faults: Record<string, number> = {};
  run = 0;
  operations = 0;
  failed = 0;

  add(result: RunResult): void {
    this.run += 1;
    this.operations += result.operations;
    if (result.violation !== undefined) this.failed += 1;
    for (const [kind, count] of Object.entries(result.faults)) {
      this.faults[kind] = (this.faults[kind] ?? 0) + count;
    }
  }

  describe(): string {
    const faults = Object.values(this.faults).reduce((sum, count) => sum + count, 0);
    return `${this.run} seeds run, ${faults} faults injected, ${this.operations} operations checked`;
  }
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
