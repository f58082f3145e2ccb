import { Worker } from "node:worker_threads";

/**
 * An endless loop inside one event never comes back to whoever counts events, so that a thread of its own has to
 * notice. It cannot say where the loop is: the replay under `node --cpu-prof` can.
 */
const watching = `
const { workerData } = require("node:worker_threads");
const { writeSync } = require("node:fs");
const { shared, afterMs } = workerData;
let runs = 0;
let sinceMs = Date.now();
setInterval(() => {
  const seen = Atomics.load(shared, 0);
  if (seen !== runs) {
    runs = seen;
    sinceMs = Date.now();
  }
  if (Date.now() - sinceMs < afterMs) return;
  const seed = Atomics.load(shared, 1);
  writeSync(1, "seed " + seed + " FAILED: it hangs, for " + Math.round(afterMs / 1000) + " s by now\\n" +
    "  replay: npm run sim -- --seeds 1 --from " + seed + "\\n");
  process.kill(process.pid, "SIGKILL");
}, Math.min(1000, afterMs / 4));
`;

/**
 * Ends the process, naming the seed, when a run goes on for `afterMs`.
 * @returns what is to be told of each run that begins
 */
export function watchRuns(afterMs: number): (seed: number) => void {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  new Worker(watching, { eval: true, workerData: { shared, afterMs } }).unref();
  return (seed) => {
    Atomics.store(shared, 1, seed);
    Atomics.add(shared, 0, 1);
  };
}
