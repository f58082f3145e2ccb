/** All that is measured of a cluster that changes its shape. @module */
import { join } from "node:path";
import { seededRandom } from "#runtime";
import { Admin } from "../servers/kvorum.ts";
import { Nodes } from "../servers/nodes.ts";
import type { Keep } from "../servers/served.ts";
import { fill } from "./fill.ts";
import { type GrowthResult, measureGrowth } from "./growth.ts";
import { type LostNodeResult, measureLostNode } from "./lost-node.ts";
import { Operator } from "./operator.ts";
import { Pauses } from "./pauses.ts";
import { measureWork, type WorkResult } from "./work.ts";

export interface ReshapeOptions {
  readonly parts: readonly ReshapePart[];
  readonly root: string;
  readonly directory: string;
  readonly seed: number;
  /** Of the part that grows and shrinks; the others have a sixteenth of it. */
  readonly bytes: number;
  readonly valueBytes: number;
  /** Of the part that grows and shrinks. */
  readonly shards: number;
  readonly limitBytesPerS: number;
  readonly quietMs: number;
  readonly say: (line: string) => void;
  readonly keep: Keep;
  readonly stopAll: () => Promise<void>;
}

/** `work`: on four nodes, one of which dies in the end. `growth`: from three nodes to five and back. */
export type ReshapePart = "work" | "growth";

export interface ReshapeResult {
  /** The longest that the benchmark itself was kept waiting for the CPU. */
  readonly pauseMs: number;
  readonly work?: { readonly bytes: number; readonly users: WorkResult; readonly lostNode: LostNodeResult };
  readonly growth?: GrowthResult & { readonly bytes: number };
}

const workShards = 16;

export async function measureReshape(options: ReshapeOptions): Promise<ReshapeResult> {
  const { parts } = options;
  const pauses = new Pauses();
  const work = parts.includes("work") ? { work: await measureFour(options) } : {};
  const growth = parts.includes("growth") ? { growth: await measureThreeToFive(options) } : {};
  pauses.stop();
  return { pauseMs: pauses.longestMs, ...work, ...growth };
}

async function measureFour(options: ReshapeOptions): Promise<ReshapeResult["work"] & object> {
  const { seed, valueBytes, say, stopAll } = options;
  const bytes = Math.ceil(options.bytes / 16);
  const nodes = await begin(options, "work", 4, 4, workShards);
  say(`four nodes, ${workShards} shards: writing ${mib(bytes)}`);
  const random = seededRandom(seed).fork("work");
  await fill({ hosts: nodes.hosts, bytes, valueBytes, random });
  const users = await measureWork(nodes, { ...options, shards: workShards });
  const lostNode = await measureLostNode(nodes, say);
  await stopAll();
  return { bytes, users, lostNode };
}

async function measureThreeToFive(options: ReshapeOptions): Promise<ReshapeResult["growth"] & object> {
  const { seed, bytes, valueBytes, say, stopAll } = options;
  const nodes = await begin(options, "growth", 3, 5, options.shards);
  say(`three nodes, ${options.shards} shards: writing ${mib(bytes)}`);
  const random = seededRandom(seed).fork("growth");
  const bytesOf = await fill({ hosts: nodes.hosts, bytes, valueBytes, random });
  say("written");
  const growth = await measureGrowth(nodes, { ...options, bytesOf });
  await stopAll();
  return { ...growth, bytes: [...bytesOf.values()].reduce((sum, held) => sum + held, 0) };
}

async function begin(
  { root, directory, seed, keep }: ReshapeOptions,
  name: string,
  nodes: number,
  nodesMax: number,
  shards: number,
): Promise<Nodes> {
  const random = seededRandom(seed).fork(`ports of ${name}`);
  const options = { root, directory: join(directory, name), shards, nodes, nodesMax };
  const cluster = await Nodes.start(options, random, keep);
  await new Operator(new Admin(cluster)).untilWhole(shards);
  return cluster;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
