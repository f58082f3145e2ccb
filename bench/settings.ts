/** The command line of `npm run bench`. @module */
import { Command, InvalidArgumentError } from "commander";
import { keysMax, type System, type Workload } from "./load/requests.ts";
import type { ReshapePart } from "./reshape/measure.ts";

export type Part = Workload | "shards" | "reshape";

export interface Settings {
  readonly only: readonly Part[];
  readonly systems: readonly System[];
  readonly repetitions: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly connections: readonly number[];
  readonly keys: number;
  readonly valueBytes: number;
  readonly shards: number;
  readonly shardCounts: readonly number[];
  readonly kills: number;
  readonly idleSeconds: number;
  readonly loadProcesses: number;
  readonly reshapeParts: readonly ReshapePart[];
  readonly reshapeMib: number;
  readonly reshapeShards: number;
  readonly reshapeLimitMib: number;
  readonly reshapeValueKib: number;
  readonly reshapeQuietSeconds: number;
  readonly seed: number;
  /** Where the servers' data goes for the time of the run. */
  readonly data: string;
  /** Whether docs/benchmarks.md is written. */
  readonly docs: boolean;
}

export const workloads: readonly Workload[] = ["put", "get", "stale"];
const parts: readonly Part[] = [...workloads, "shards", "reshape"];
const reshapeParts: readonly ReshapePart[] = ["work", "growth"];
const systems: readonly System[] = ["kvorum", "etcd"];

/** @throws CommanderError for what it does not know, after it has said so; and for --help */
export function parseSettings(argv: readonly string[]): Settings {
  const command = new Command("npm run bench --")
    .description("measures Kvorum, beside etcd where it is installed, and writes docs/benchmarks.md")
    .option("--only <PARTS>", `some of ${parts.join(", ")}`, someOf(parts), parts)
    .option("--systems <NAMES>", `some of ${systems.join(", ")}`, someOf(systems), systems)
    .option("--repetitions <N>", "of each measurement", count, 5)
    .option("--seconds <N>", "length of each measurement", positive, 5)
    .option("--warm-up-seconds <N>", "of load before each measurement", positive, 1)
    .option("--connections <N,…>", "over the three nodes", counts, [64, 256])
    .option("--keys <N>", `at most ${keysMax}`, atMost(keysMax), 100_000)
    .option("--value-bytes <N>", "size of the values", count, 128)
    .option("--shards <N>", "of the cluster that put, get and stale run against", count, 16)
    .option("--shard-counts <N,…>", "clusters that are measured for part shards", counts, [16, 1000])
    .option("--kills <N>", "of part shards, for each cluster", count, 5)
    .option("--idle-seconds <N>", "of part shards", positive, 20)
    .option("--load-processes <N>", "that make the load", count, 1)
    .option(
      "--reshape-parts <NAMES>",
      `some of ${reshapeParts.join(", ")}`,
      someOf(reshapeParts),
      reshapeParts,
    )
    .option("--reshape-mib <N>", "of data that part reshape moves", count, 1024)
    .option("--reshape-shards <N>", "that hold it", count, 64)
    .option("--reshape-limit-mib <N>", "move_bytes_per_s meanwhile", count, 16)
    .option("--reshape-value-kib <N>", "size of its values", count, 64)
    .option("--reshape-quiet-seconds <N>", "without work before each work", positive, 5)
    .option("--seed <N>", "of keys, values and ports", count, 1)
    .option(
      "--data <DIR>",
      "for the servers' data, on the disk that is to be measured; removed at the end",
      "data/bench",
    )
    .option("--no-docs", "print only; without it, each complete section of docs/benchmarks.md is written")
    .exitOverride();
  return command.parse(argv, { from: "user" }).opts<Settings>();
}

/** Whether a run shows what its section in the document says it does. */
export function isCompleteThroughput({ only, connections }: Settings): boolean {
  return (
    workloads.every((workload) => only.includes(workload)) && [64, 256].every((n) => connections.includes(n))
  );
}

export function isCompleteShards({ only, shardCounts }: Settings): boolean {
  return only.includes("shards") && [16, 1000].every((count) => shardCounts.includes(count));
}

export function isCompleteReshape(settings: Settings): boolean {
  const { only, reshapeParts: parts, reshapeMib, reshapeShards } = settings;
  const whole = reshapeParts.every((part) => parts.includes(part));
  return only.includes("reshape") && whole && reshapeMib >= 1024 && reshapeShards >= 64;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError("expected a number above 0");
  return value;
}

function count(text: string): number {
  const value = positive(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("expected a whole number above 0");
  return value;
}

function counts(text: string): readonly number[] {
  return text.split(",").map(count);
}

function atMost(most: number): (text: string) => number {
  return (text) => {
    const value = count(text);
    if (value > most) throw new InvalidArgumentError(`expected at most ${most}`);
    return value;
  };
}

function someOf<T extends string>(names: readonly T[]): (text: string) => readonly T[] {
  return (text) => {
    const wanted = text.split(",");
    const unknown = wanted.find((name) => !names.some((known) => known === name));
    if (unknown !== undefined) throw new InvalidArgumentError(`expected some of ${names.join(",")}`);
    return names.filter((name) => wanted.includes(name));
  };
}
