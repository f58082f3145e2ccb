import { type ChildProcess, fork } from "node:child_process";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { Histogram } from "../histogram.ts";
import type { LoadSpec } from "./generator.ts";
import type { FromLoad, LoadResult, ToLoad } from "./process.ts";

export interface LoadRun {
  readonly spec: LoadSpec;
  /** The connections are divided among so many processes. */
  readonly processes: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** Called when measuring begins and when it has ended. */
  readonly onMeasure: (phase: "begin" | "end") => void;
}

export interface LoadSummary {
  readonly operations: number;
  readonly failures: number;
  readonly lastFailure: string;
  readonly seconds: number;
  readonly latencies: Histogram;
  /** Of the generator's processes. */
  readonly cpuUs: number;
}

/** Generates load from processes of its own, so that the one that measures does nothing meanwhile. */
export async function runLoad({
  spec,
  processes,
  warmUpMs,
  measureMs,
  onMeasure,
}: LoadRun): Promise<LoadSummary> {
  const count = spec.workload === "fill" ? 1 : Math.min(processes, spec.connections);
  const loads = Array.from({ length: count }, (_, at) => {
    const connections = Math.floor((spec.connections + at) / count);
    return new LoadProcess({ ...spec, connections, seed: `${spec.seed}/${at}` }, warmUpMs);
  });
  try {
    if (spec.workload !== "fill") {
      await Promise.all(loads.map((load) => load.warm));
      onMeasure("begin");
      for (const load of loads) load.measure(measureMs);
    }
    const results = await Promise.all(loads.map((load) => load.measured));
    onMeasure("end");
    return summarize(results);
  } finally {
    for (const load of loads) load.kill();
  }
}

function summarize(results: readonly LoadResult[]): LoadSummary {
  const sum = (of: (result: LoadResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  const latencies = new Histogram();
  for (const result of results) latencies.add(new Histogram(result.latencies));
  return {
    operations: sum(({ operations }) => operations),
    failures: sum(({ failures }) => failures),
    lastFailure: results.find(({ lastFailure }) => lastFailure !== "")?.lastFailure ?? "",
    seconds: sum(({ elapsedMs }) => elapsedMs) / results.length / 1000,
    latencies,
    cpuUs: sum(({ cpuUs }) => cpuUs),
  };
}

class LoadProcess {
  readonly warm: Promise<void>;
  readonly measured: Promise<LoadResult>;
  readonly #child: ChildProcess;

  constructor(spec: LoadSpec, warmUpMs: number) {
    const program = new URL(`./process${extname(fileURLToPath(import.meta.url))}`, import.meta.url);
    this.#child = fork(fileURLToPath(program), { serialization: "advanced", stdio: ["ignore", 2, 2, "ipc"] });
    this.warm = this.#expect("warm").then(() => {});
    this.measured = this.#expect("measured").then(({ result }) => result);
    // Whoever waits for one of them hears of a failure; the other must not be an unhandled one.
    this.warm.catch(() => {});
    this.measured.catch(() => {});
    this.#say({ kind: "spec", spec, warmUpMs });
  }

  measure(forMs: number): void {
    this.#say({ kind: "measure", forMs });
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #say(message: ToLoad): void {
    this.#child.send(message);
  }

  #expect<K extends FromLoad["kind"]>(kind: K): Promise<Extract<FromLoad, { kind: K }>> {
    return new Promise((resolve, reject) => {
      this.#child.on("message", (message: FromLoad) => {
        if (message.kind === kind) resolve(message as Extract<FromLoad, { kind: K }>);
        else if (message.kind === "failed") reject(new Error(`the load failed: ${message.reason}`));
      });
      this.#child.once("exit", (code, signal) => {
        reject(new Error(`the load generator ended before its time (${signal ?? code})`));
      });
    });
  }
}
