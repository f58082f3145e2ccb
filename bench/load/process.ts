/**
 * The load generator's process: takes a spec, says when it is warm, measures when told to, reports.
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { Generator, type LoadSpec } from "./generator.ts";

export type ToLoad =
  | { readonly kind: "spec"; readonly spec: LoadSpec; readonly warmUpMs: number }
  | { readonly kind: "measure"; readonly forMs: number };

export type FromLoad =
  | { readonly kind: "warm" }
  | { readonly kind: "measured"; readonly result: LoadResult }
  | { readonly kind: "failed"; readonly reason: string };

export interface LoadResult {
  readonly operations: number;
  readonly failures: number;
  readonly lastFailure: string;
  readonly elapsedMs: number;
  /** Of a `Histogram`. */
  readonly latencies: Uint32Array;
  /** This process's own. */
  readonly cpuUs: number;
}

let generator: Generator | undefined;

function say(message: FromLoad, then?: () => void): void {
  process.send?.(message, undefined, undefined, then);
}

function fail(error: unknown): void {
  say({ kind: "failed", reason: error instanceof Error ? error.message : String(error) }, () =>
    process.exit(1),
  );
}

/** "fill" is its own measurement: it is over when every key is there. */
async function warmUp(spec: LoadSpec, warmUpMs: number): Promise<void> {
  const made = new Generator(spec);
  generator = made;
  made.finished.catch(fail);
  made.start();
  if (spec.workload === "fill") {
    await made.finished;
    report(made, { user: 0, system: 0 });
    return;
  }
  await delay(warmUpMs);
  say({ kind: "warm" });
}

async function measure(running: Generator, forMs: number): Promise<void> {
  running.reset();
  const before = process.cpuUsage();
  await delay(forMs);
  report(running, process.cpuUsage(before));
  running.stop();
}

function report(done: Generator, cpu: NodeJS.CpuUsage): void {
  const { latencies, ...count } = done.count();
  const result = { ...count, latencies: latencies.counts, cpuUs: cpu.user + cpu.system };
  say({ kind: "measured", result }, () => process.disconnect());
}

process.on("message", (message: ToLoad) => {
  if (message.kind === "spec") warmUp(message.spec, message.warmUpMs).catch(fail);
  else if (generator !== undefined) measure(generator, message.forMs).catch(fail);
});
// A load without anybody to report to is of no use.
process.on("disconnect", () => process.exit());
