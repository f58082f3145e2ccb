import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "#runtime";
import { Child } from "./child.ts";
import { freePorts } from "./ports.ts";
import { type Keep, type Served, urlOf } from "./served.ts";

const readyLimitMs = 60_000;

/** @returns undefined where etcd is not installed */
export function etcdVersion(): string | undefined {
  try {
    const text = execFileSync("etcd", ["--version"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return /etcd Version: (\S+)/.exec(text)?.[1];
  } catch {
    return undefined;
  }
}

/** Three nodes as etcd comes, its sync of every commit included; only its logging is turned down. */
export async function startEtcd(
  directory: string,
  version: string,
  random: Random,
  keep: Keep,
): Promise<Served> {
  const first = await freePorts(6, random);
  const host = "127.0.0.1";
  const members = [1, 2, 3].map((number) => ({
    name: `e${number}`,
    client: { host, port: first + number - 1 },
    peer: urlOf({ host, port: first + number + 2 }),
  }));
  const cluster = members.map(({ name, peer }) => `${name}=${peer}`).join(",");
  mkdirSync(directory, { recursive: true });
  const children = members.map(({ name, client, peer }) => {
    const flags = {
      "--name": name,
      "--data-dir": join(directory, name),
      "--listen-client-urls": urlOf(client),
      "--advertise-client-urls": urlOf(client),
      "--listen-peer-urls": peer,
      "--initial-advertise-peer-urls": peer,
      "--initial-cluster": cluster,
      "--initial-cluster-state": "new",
      "--logger": "zap",
      "--log-level": "error",
    };
    const command = ["etcd", ...Object.entries(flags).flat()];
    const child = new Child({ name, command, environment: process.env });
    keep(child);
    return child;
  });
  const hosts = members.map(({ client }) => client);
  const lastWords = (): string => children.map((child) => child.lastWords).join("");
  const demandAlive = (): void => {
    for (const child of children) child.demandAlive();
  };
  await untilHealthy(hosts.map(urlOf), demandAlive);
  return {
    system: "etcd",
    version,
    hosts,
    pids: () => children.map(({ pid }) => pid),
    demandAlive,
    lastWords,
  };
}

async function untilHealthy(urls: readonly string[], demandAlive: () => void): Promise<void> {
  const giveUpMs = performance.now() + readyLimitMs;
  for (const url of urls) {
    while (!(await isHealthy(url))) {
      demandAlive();
      if (performance.now() > giveUpMs)
        throw new Error(`etcd at ${url} was not healthy in ${readyLimitMs} ms`);
      await delay(100);
    }
  }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/health`);
    return (await answer.text()).includes('"true"');
  } catch {
    return false;
  }
}
