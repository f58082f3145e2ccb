import { readFileSync } from "node:fs";
import { startNatsServer } from "#transport";
import { type Source, UsageError, type Values } from "../config.ts";
import { DevFailure } from "../dev/failure.ts";
import { type DevOptions, runDev } from "../dev.ts";
import type { Run } from "./command.ts";
import { CommandError, exitCodes } from "./outcome.ts";
import * as set from "./settings.ts";

/** `kvorum dev` */
export const dev: Run = async ({ values, passed, environment, io }) => {
  const options = devOptions(values, passed);
  // What CMD prints must be all of stdout.
  const print = passed.length > 0 ? io.err : io.out;
  try {
    return await runDev(options, {
      kvorum: [process.execPath, ...process.execArgv, process.argv[1] ?? ""],
      environment,
      signals: process,
      startNats: startNatsServer,
      say: (line) => print(`${line}\n`),
      exitNow: (code) => process.exit(code),
    });
  } catch (error) {
    if (error instanceof DevFailure) throw new CommandError(exitCodes.failed, error.message);
    throw error;
  }
};

/** @throws UsageError for flags that exclude each other */
export function devOptions(values: Values, command: readonly string[]): DevOptions {
  const dataDir = dataDirOf(values);
  const tokenFile = values.get(set.tokenFile);
  const token = tokenFile === undefined ? undefined : adminToken(tokenFile);
  return {
    wishes: {
      nodes: values.get(set.nodes),
      shards: values.get(set.shards),
      replicas: values.get(set.devReplicas),
      partition: values.get(set.partition),
      httpPort: values.get(set.httpPort, 7401),
      natsPort: values.get(set.natsPort, 7422),
    },
    ...(dataDir === undefined ? {} : { dataDir }),
    fresh: values.get(set.fresh, false),
    restart: values.get(set.restart, true),
    command,
    nodeFlags: nodeFlags(values),
    ...(token === undefined ? {} : { token }),
  };
}

const weight: Readonly<Record<Source, number>> = { flag: 3, environment: 2, file: 1, default: 0 };

/** The stronger source decides between a directory that stays and one that does not. */
function dataDirOf(values: Values): string | undefined {
  const data = values.get(set.devData);
  if (!values.get(set.ephemeral, false)) return data ?? "data";
  const stays = weight[values.source(set.devData)];
  const goes = weight[values.source(set.ephemeral)];
  if (data !== undefined && stays === goes) throw new UsageError("--data and --ephemeral exclude each other");
  return stays > goes ? data : undefined;
}

function nodeFlags(values: Values): readonly string[] {
  return set.serverSettings.flatMap((setting) => {
    const value: unknown = values.get(setting);
    if (value === undefined || value === false) return [];
    if (value === true) return [`--${setting.flag}`];
    const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
    return texts.flatMap((text) => [`--${setting.flag}`, String(text)]);
  });
}

/** A token that may ask for the cluster's state. */
function adminToken(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`--token-file: ${error instanceof Error ? error.message : String(error)}`);
  }
  const lines = text.split("\n").map((line) => line.trim().split(/\s+/));
  const admin = lines.find(([, right, prefix]) => right === "admin" && prefix === undefined)?.[0];
  if (admin === undefined)
    throw new UsageError(`--token-file ${path}: dev needs one admin token without a prefix in it`);
  return admin;
}
