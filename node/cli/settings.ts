/** Every flag of every command, so that a name means one thing everywhere. @module */
import { isName } from "#proto";
import {
  addressSetting,
  bytesSetting,
  choiceSetting,
  durationSetting,
  type HostPort,
  integerSetting,
  labelsSetting,
  listSetting,
  numberChoiceSetting,
  type Setting,
  switchSetting,
  textSetting,
} from "../config.ts";
import type { Partition } from "../options.ts";

function nameProblem(text: string): string | undefined {
  return isName(text)
    ? undefined
    : `expected a name of [a-z0-9_-], 63 characters at most, got ${JSON.stringify(text)}`;
}

function urlProblem(schemes: readonly string[]): (text: string) => string | undefined {
  return (text) => {
    const scheme = URL.canParse(text) ? new URL(text).protocol : "";
    return schemes.includes(scheme)
      ? undefined
      : `expected a URL (${schemes.join("//, ")}//), got ${JSON.stringify(text)}`;
  };
}

const partitions = ["hash", "range"] as const;
const partitionNamed = {
  flag: "partition",
  value: "KIND",
  help: "how keys spread over shards: hash or range (default hash)",
};

// All commands

export const config: Setting<string> = textSetting({
  flag: "config",
  value: "FILE",
  help: "JSON file of settings; keys are flags with _ for -",
});

// Data and admin commands

export const url: Setting<readonly string[]> = listSetting(
  {
    flag: "url",
    value: "URL",
    help: "where the cluster serves, several tried in turn (default http://127.0.0.1:7401)",
  },
  urlProblem(["http:", "https:"]),
);
export const token: Setting<string> = textSetting({
  flag: "token",
  value: "TOKEN",
  help: "bearer token; rather set KVORUM_TOKEN",
});
export const timeout: Setting<number> = durationSetting({
  flag: "timeout",
  value: "TIME",
  help: "how long the cluster may take, at most 60s (default 5s)",
});
export const json: Setting<boolean> = switchSetting({
  flag: "json",
  help: "for scripts: JSON, lists a row a line",
});
export const file: Setting<string> = textSetting({
  flag: "file",
  value: "FILE",
  help: "read the value from FILE",
});
export const ttl: Setting<number> = durationSetting({
  flag: "ttl",
  value: "TIME",
  help: "the key expires after TIME",
});
export const ifRevision: Setting<number> = integerSetting(
  { flag: "if-revision", value: "REV", help: "only if the key is at revision REV (0: absent)" },
  0,
  Number.MAX_SAFE_INTEGER,
);
export const ifAbsent: Setting<boolean> = switchSetting({
  flag: "if-absent",
  help: "only if the key is absent",
});
export const contentType: Setting<string> = textSetting({
  flag: "content-type",
  value: "TYPE",
  help: "kept with the value (default application/octet-stream)",
});
export const idempotencyId: Setting<string> = textSetting(
  { flag: "id", value: "ID", help: "idempotency key: a repeat under the same ID has no second effect" },
  (text) => (/^[\x21-\x7e]{1,128}$/.test(text) ? undefined : "expected 1 to 128 visible ASCII characters"),
);
export const consistency: Setting<"linearizable" | "leader" | "stale"> = choiceSetting(
  { flag: "consistency", value: "LEVEL", help: "linearizable, leader or stale (default linearizable)" },
  ["linearizable", "leader", "stale"],
);
export const maxStaleness: Setting<number> = durationSetting({
  flag: "max-staleness",
  value: "TIME",
  help: "any replica no further behind than TIME",
});
export const minRevision: Setting<number> = integerSetting(
  { flag: "min-revision", value: "REV", help: "any replica that has seen revision REV" },
  0,
  Number.MAX_SAFE_INTEGER,
);

// Changes of the cluster

export const dryRun: Setting<boolean> = switchSetting({
  flag: "dry-run",
  help: "show the plan, change nothing",
});
export const plan: Setting<string> = textSetting({
  flag: "plan",
  value: "ID",
  help: "do exactly what a dry run showed; refused if the cluster has changed",
});
export const force: Setting<boolean> = switchSetting({
  flag: "force",
  help: "also a node that is down: its replicas count as missing until they are replaced",
});
export const wait: Setting<boolean> = switchSetting({
  flag: "wait",
  help: "show the progress and end when the work does (default)",
});
export const drainFor: Setting<number> = durationSetting({
  flag: "for",
  value: "TIME",
  help: "until TIME is over, its being down starts no repair",
});
export const from: Setting<string> = textSetting(
  { flag: "from", value: "NODE", help: "the node that a replica leaves" },
  nameProblem,
);
export const to: Setting<string> = textSetting(
  { flag: "to", value: "NODE", help: "the node that gets it" },
  nameProblem,
);
export const mergeWith: Setting<number> = integerSetting(
  { flag: "with", value: "ID", help: "the neighbour that is taken in" },
  1,
  Number.MAX_SAFE_INTEGER,
);
export const splitAt: Setting<string> = textSetting({
  flag: "at",
  value: "KEY",
  help: "split at KEY (default: in the middle by size)",
});
export const ways: Setting<number> = integerSetting(
  { flag: "ways", value: "N", help: "split by size into N (default 2)" },
  2,
  64,
);
export const weight: Setting<string> = textSetting(
  { flag: "weight", value: "W", help: "its share of replicas, against 1 for others" },
  (text) =>
    Number(text) > 0 && Number(text) <= 1_000
      ? undefined
      : `expected a number above 0, at most 1000, got ${JSON.stringify(text)}`,
);
export const keyspace: Setting<string> = textSetting(
  { flag: "keyspace", value: "NAME", help: "the keyspace (default: default; in lists all)" },
  nameProblem,
);
export const keyspacePartition: Setting<Partition> = choiceSetting(
  { ...partitionNamed, help: "how keys spread over shards: hash or range (default: as at the bootstrap)" },
  partitions,
);
export const keyspaceShards: Setting<number> = integerSetting(
  {
    flag: "shards",
    value: "N",
    help: "shards of the new keyspace (default: as at the bootstrap; 1 of a range keyspace)",
  },
  1,
  65_536,
);
export const keyspaceReplicas: Setting<number> = numberChoiceSetting(
  {
    flag: "replicas",
    value: "N",
    help: "replicas of each of its shards: 1, 3 or 5 (default: the cluster's)",
  },
  [1, 3, 5],
);
export const slots: Setting<number> = integerSetting(
  { flag: "slots", value: "N", help: "slots of a hash keyspace, a power of two, fixed for good" },
  1,
  65_536,
);
export const yes: Setting<boolean> = switchSetting({
  flag: "yes",
  help: "do not ask: data is removed for good",
});
export const onNode: Setting<string> = textSetting(
  { flag: "node", value: "NODE", help: "those with a replica on NODE" },
  nameProblem,
);
export const shardState: Setting<string> = choiceSetting(
  { flag: "state", value: "STATE", help: "those that are healthy, under_replicated or leaderless" },
  ["healthy", "under_replicated", "leaderless"],
);
export const operationState: Setting<string> = choiceSetting(
  { flag: "state", value: "STATE", help: "those that are running, done, failed or cancelled" },
  ["running", "done", "failed", "cancelled"],
);

// Nodes and routers

export const name: Setting<string> = textSetting(
  { flag: "name", value: "NAME", help: "the node's name" },
  nameProblem,
);
export const cluster: Setting<string> = textSetting(
  { flag: "cluster", value: "NAME", help: "the cluster's name" },
  nameProblem,
);
export const nats: Setting<readonly string[]> = listSetting(
  { flag: "nats", value: "URL", help: "NATS servers, comma-separated" },
  urlProblem(["nats:", "tls:"]),
);
export const nodeData: Setting<string> = textSetting({
  flag: "data",
  value: "DIR",
  help: "the node's data directory",
});
export const http: Setting<HostPort> = addressSetting({
  flag: "http",
  value: "HOST:PORT",
  help: "where to serve HTTP",
});
export const labels: Setting<Readonly<Record<string, string>>> = labelsSetting({
  flag: "labels",
  value: "K=V",
  help: "where the node stands, as zone=a,host=h1: replicas spread over zones and hosts",
});
export const bootstrap: Setting<boolean> = switchSetting({
  flag: "bootstrap",
  help: "make a new cluster: only on its first node, and only once",
});
export const shards: Setting<number> = integerSetting(
  { flag: "shards", value: "N", help: "shards of the default keyspace of a new cluster (default 16)" },
  1,
  65_536,
);
export const replicas: Setting<number> = numberChoiceSetting(
  { flag: "replicas", value: "N", help: "replicas of each shard of a new cluster: 1, 3 or 5 (default 3)" },
  [1, 3, 5],
);
export const partition: Setting<Partition> = choiceSetting(partitionNamed, partitions);
export const corsOrigin: Setting<readonly string[]> = listSetting(
  { flag: "cors-origin", value: "ORIGIN", help: "let pages of ORIGIN call (repeatable, none by default)" },
  (text) =>
    URL.canParse(text) && new URL(text).origin === text
      ? undefined
      : `expected an origin as https://example.org, got ${JSON.stringify(text)}`,
);
export const host: Setting<readonly string[]> = listSetting({
  flag: "host",
  value: "NAME",
  help: "another name that requests may give as Host (repeatable)",
});
export const tokenFile: Setting<string> = textSetting({
  flag: "token-file",
  value: "FILE",
  help: "ask for bearer tokens: lines of TOKEN read|write|admin [PREFIX]",
});
export const insecure: Setting<boolean> = switchSetting({
  flag: "insecure",
  help: "serve off loopback without tokens: anybody who can reach it can do anything",
});
export const natsMaxPending: Setting<number> = bytesSetting(
  { flag: "nats-max-pending", value: "SIZE", help: "max_pending of the NATS server (default 64MiB)" },
  2 ** 20,
);
export const logPretty: Setting<boolean> = switchSetting({
  flag: "log-pretty",
  help: "log for people instead of JSON",
});
export const logLevel: Setting<"debug" | "info" | "warn" | "error"> = choiceSetting(
  { flag: "log-level", value: "LEVEL", help: "debug, info, warn or error (default info)" },
  ["debug", "info", "warn", "error"],
);

// The dev cluster

export const nodes: Setting<number> = integerSetting(
  { flag: "nodes", value: "N", help: "nodes, each a process (default 3)" },
  1,
  64,
);
export const devReplicas: Setting<number> = numberChoiceSetting(
  {
    flag: "replicas",
    value: "N",
    help: "replicas of each shard: 1, 3 or 5 (default the largest odd number that is at most 3 and at most --nodes)",
  },
  [1, 3, 5],
);
export const httpPort: Setting<number> = integerSetting(
  { flag: "http-port", value: "PORT", help: "node i serves on PORT + i - 1 (default 7401)" },
  1,
  65_535,
);
export const natsPort: Setting<number> = integerSetting(
  { flag: "nats-port", value: "PORT", help: "port of the cluster's own nats-server (default 7422)" },
  1,
  65_535,
);
export const devData: Setting<string> = textSetting({
  flag: "data",
  value: "DIR",
  help: "where the cluster's data stays for the next start (default ./data)",
});
export const ephemeral: Setting<boolean> = switchSetting({
  flag: "ephemeral",
  help: "data in a temporary directory, removed at the end",
});
export const fresh: Setting<boolean> = switchSetting({
  flag: "fresh",
  help: "remove the data of the last start first",
});
export const restart: Setting<boolean> = switchSetting({
  flag: "restart",
  help: "start a dead node again after 2 s (default)",
});

/** Settings that `dev` hands on to its nodes as they are. */
export const serverSettings: readonly Setting<unknown>[] = [
  corsOrigin,
  host,
  tokenFile,
  insecure,
  logPretty,
  logLevel,
];
/** Settings of everything that talks to a cluster over HTTP. */
export const clientSettings: readonly Setting<unknown>[] = [url, token, timeout, json, config];

/** Of the actions on nodes. */
export const nodeActionSettings: readonly Setting<unknown>[] = [
  drainFor,
  dryRun,
  plan,
  force,
  labels,
  weight,
  wait,
];
/** Of the actions on shards, and of their list. */
export const shardActionSettings: readonly Setting<unknown>[] = [
  splitAt,
  ways,
  mergeWith,
  from,
  to,
  wait,
  keyspace,
  onNode,
  shardState,
];
export const keyspaceActionSettings: readonly Setting<unknown>[] = [
  keyspacePartition,
  keyspaceShards,
  slots,
  keyspaceReplicas,
  yes,
  wait,
];
