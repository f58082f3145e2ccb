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
import { measureWork, type WorkResult } from "./work.ts";

export interface ReshapeOptions {
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

export interface ReshapeResult {
  readonly work: WorkResult;
  readonly lostNode: LostNodeResult;
  readonly growth: GrowthResult;
  readonly workBytes: number;
  readonly growthBytes: number;
}

const workShards = 16;

export async function measureReshape(options: ReshapeOptions): Promise<ReshapeResult> {
  const { seed, stopAll, say } = options;
  const random = seededRandom(seed).fork("reshape");
  const workBytes = Math.ceil(options.bytes / 16);
  const four = await begin(options, "work", 4, 4, workShards);
  say(`four nodes, ${workShards} shards: writing ${mib(workBytes)}`);
  const { valueBytes } = options;
  await fill({ hosts: four.hosts, bytes: workBytes, valueBytes, random: random.fork("work") });
  const work = await measureWork(four, { ...options, shards: workShards });
  const lostNode = await measureLostNode(four, say);
  await stopAll();

  const three = await begin(options, "growth", 3, 5, options.shards);
  say(`three nodes, ${options.shards} shards: writing ${mib(options.bytes)}`);
  const filling = { hosts: three.hosts, bytes: options.bytes, valueBytes, random: random.fork("growth") };
  const bytesOf = await fill(filling);
  say("written");
  const growth = await measureGrowth(three, { ...options, bytesOf });
  await stopAll();
  const growthBytes = [...bytesOf.values()].reduce((sum, bytes) => sum + bytes, 0);
  return { work, lostNode, growth, workBytes, growthBytes };
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
