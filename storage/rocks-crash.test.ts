import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger, VirtualClock } from "#runtime";
import { crashFamilies } from "./crash-child.ts";
import { startCrashChild } from "./crash-process.ts";
import { openRocks } from "./rocks.ts";

const strace = spawnSync("strace", ["-o", "/dev/null", "true"]).status === 0;

describe("RocksEngine in a process of its own", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "kvorum-crash-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it("has every batch it called synced, and no half of one, after SIGKILL amid its writes", async () => {
    const child = startCrashChild(dir, 1_000_000);
    let last = -1;
    for await (const line of createInterface({ input: child.stdout! })) {
      last = Number(line.replace("synced ", ""));
      if (last === 200) child.kill("SIGKILL");
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    expect(child.signalCode).toBe("SIGKILL");
    expect(last).toBeGreaterThanOrEqual(200);

    const engine = await openRocks(dir, { logger: silentLogger, clock: new VirtualClock() });
    const counts = crashFamilies.map((family) => {
      const { rows } = engine.scan({ family, start: Buffer.of() }, { limit: 1_000_000 });
      return rows.length / 2;
    });
    for (let i = 0; i <= last; i++)
      expect(engine.get("data", Buffer.from(String(i))), `batch ${i}`).toBeDefined();
    expect(new Set(counts).size, "families with the same batches").toBe(1);
    await engine.close();
  });

  it.skipIf(!strace)(
    "asks the kernel for a sync before it calls a write durable (skipped without strace)",
    async () => {
      const trace = join(dir, "trace");
      const filter = ["strace", "-f", "-o", trace, "-e", "trace=fsync,fdatasync,write"];
      const child = startCrashChild(join(dir, "node"), 20, filter);
      child.stdout?.resume();
      await once(child, "exit");
      let synced = false;
      let durable = 0;
      for (const line of readFileSync(trace, "latin1").split("\n")) {
        if (/f(data)?sync\(/.test(line)) synced = true;
        if (!line.includes('"synced ')) continue;
        expect(synced, `a sync before ${line}`).toBe(true);
        synced = false;
        durable += 1;
      }
      expect(durable).toBe(20);
    },
  );
});
