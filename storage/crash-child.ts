/**
 * Run as a process of its own by the crash tests: writes synced batches over three families for ever (or
 * `count` of them), and says each one's number on standard output once it is durable.
 * @module
 */
import { writeSync } from "node:fs";
import { realClock, silentLogger } from "#runtime";
import { openRocks } from "./rocks.ts";

/** The families a batch of the child touches. */
export const crashFamilies = ["raft", "data", "meta"] as const;

export async function writeUntilKilled(dir: string, count: number): Promise<void> {
  const engine = await openRocks(dir, { logger: silentLogger, clock: realClock() });
  for (let i = 0; i < count; i++) {
    const batch = engine.batch();
    for (const family of crashFamilies) batch.put(family, Buffer.from(String(i)), Buffer.alloc(100, i));
    engine.write(batch, { sync: true }, (error) => {
      if (error === undefined) writeSync(1, `synced ${i}\n`);
    });
  }
}
