import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, VirtualClock } from "#runtime";
import { engineConformance } from "./conformance.ts";
import type { Engine } from "./engine.ts";
import { openMemory } from "./memory.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { openRocks } from "./rocks.ts";

/** A subject whose engines are made by `open`. */
async function subjectOf(open: () => Promise<Engine>, remove: () => void) {
  const first = await open();
  let current = first;
  return {
    engine: first,
    openSecond: open,
    reopen: async () => {
      await current.close();
      current = await open();
      return current;
    },
    remove,
  };
}

engineConformance("MemoryEngine", () => {
  const disk = new MemoryDisk();
  return subjectOf(
    () => new Promise((resolve) => resolve(openMemory(disk))),
    () => {},
  );
});

engineConformance("RocksEngine", () => {
  const dir = mkdtempSync(join(tmpdir(), "kvorum-storage-"));
  return subjectOf(
    () => openRocks(dir, { logger: silentLogger, clock: new VirtualClock() }),
    () => rmSync(dir, { recursive: true }),
  );
});
