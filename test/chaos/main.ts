/**
 * `npm run chaos -- --minutes M --seed S`: a real cluster under load, broken over and over in ways drawn from
 * the seed; what clients were told is checked after each round. Real processes do not replay: the seed gives
 * the same faults, not the same run.
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { cryptoRandom, seededRandom } from "#runtime";
import { Cluster } from "../integration/support/cluster.ts";
import { Scope } from "../integration/support/scope.ts";
import { loggedErrors, runRound } from "./round.ts";

const usage = "usage: npm run chaos -- [--minutes M] [--seed S] [--nodes N] [--shards N]";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "2" },
      seed: { type: "string", default: String(cryptoRandom().below(1_000_000)) },
      nodes: { type: "string", default: "3" },
      shards: { type: "string", default: "16" },
    },
  });
  const minutes = Number(values.minutes);
  const nodes = Number(values.nodes);
  const shards = Number(values.shards);
  if (!(minutes > 0) || !(nodes >= 3) || !(shards >= 1)) throw new Error("numbers are expected");
  const scope = new Scope();
  let failed = true;
  const stop = (): void => void scope.end("chaos").finally(() => process.exit(130));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  try {
    say(`seed ${values.seed}, ${minutes} min, ${nodes} nodes, ${shards} shards`);
    const options = {
      nodes,
      shards,
      folder: scope.folder(),
      defer: (end: () => Promise<void>) => scope.defer(end),
    };
    failed = !(await rounds(await Cluster.whole(options), minutes, values.seed));
  } finally {
    await scope.end(failed ? "chaos" : undefined);
    if (failed) say("logs: .cache/test/integration/chaos");
  }
  return failed ? 1 : 0;
}

/** @returns whether all went well */
async function rounds(cluster: Cluster, minutes: number, seed: string): Promise<boolean> {
  const router = cluster.router(1);
  router.start();
  await router.untilReady();
  const random = seededRandom(seed);
  const endMs = performance.now() + minutes * 60_000;
  let faults = 0;
  let calls = 0;
  for (let number = 1; performance.now() < endMs; number++) {
    const result = await runRound(number, cluster, router, random.fork(`round ${number}`));
    faults += result.faults.length;
    calls += result.calls;
    say(
      `round ${number}: ${result.calls} calls, ${result.acknowledged} writes acknowledged; ${result.faults.join(", ")}`,
    );
    if (result.wrong.length === 0) continue;
    for (const line of result.wrong) say(`WRONG: ${line}`);
    return false;
  }
  for (const [what, count] of loggedErrors([...cluster.members, router]))
    say(`logged ${count} times: ${what}`);
  say(`${faults} faults, ${calls} calls checked, nothing wrong`);
  return true;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}\n`);
  process.exitCode = 2;
}
