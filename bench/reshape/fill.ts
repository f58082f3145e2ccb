/** Data to move. @module */
import { Agent, request } from "node:http";
import type { Random } from "#runtime";
import type { HostPort } from "../load/requests.ts";

export interface FillOptions {
  readonly hosts: readonly HostPort[];
  readonly bytes: number;
  readonly valueBytes: number;
  readonly random: Random;
}

const writers = 32;
/** A full disk queue makes writes late, not wrong. */
const triesMax = 10;
/** Different values; more of them would only cost memory here. */
const valueCount = 64;

/** Writes random values under keys of their own. @returns what each shard got, bytes of values */
export async function fill(options: FillOptions): Promise<ReadonlyMap<number, number>> {
  const { hosts, bytes, valueBytes, random } = options;
  const values = Array.from({ length: valueCount }, () => Buffer.from(random.hex(valueBytes), "hex"));
  const agent = new Agent({ keepAlive: true, maxSockets: writers });
  const perShard = new Map<number, number>();
  const count = Math.ceil(bytes / valueBytes);
  let next = 0;
  const write = async (): Promise<void> => {
    for (let at = next++; at < count; at = next++) {
      const host = hosts[at % hosts.length];
      const value = values[at % valueCount];
      if (host === undefined || value === undefined) throw new Error("hosts and values are needed");
      const shard = await putForSure(agent, host, `fill/${at}`, value);
      perShard.set(shard, (perShard.get(shard) ?? 0) + valueBytes);
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  agent.destroy();
  return perShard;
}

/** The same value under the same key: it may be sent again. */
async function putForSure(agent: Agent, host: HostPort, key: string, value: Buffer): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await put(agent, host, key, value);
    } catch (error) {
      if (attempt === triesMax) throw error;
    }
  }
}

/** @returns the shard that took it */
function put(agent: Agent, { host, port }: HostPort, key: string, value: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Length": value.length };
    const path = `/v1/kv/${key}?timeout=30s`;
    const outgoing = request({ agent, host, port, method: "PUT", path, headers }, (answer) => {
      answer.resume().once("end", () => {
        if (answer.statusCode === 200) resolve(Number(answer.headers["kvorum-shard"]));
        else reject(new Error(`PUT ${key}: ${answer.statusCode}`));
      });
    });
    outgoing.once("error", reject);
    outgoing.end(value);
  });
}
