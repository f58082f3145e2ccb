import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** What the machine itself did while a test measured: figures of a loaded one say little of us. */
export interface MachineWatch {
  /** The slowest small synced write to the same disk so far, ms. */
  readonly slowestSyncMs: number;
  /** The longest this process was kept waiting beyond a timer, ms. */
  readonly slowestWakeMs: number;
  stop(): Promise<void>;
}

const everyMs = 100;

/** Writes and syncs a byte in `folder` now and then. */
export async function watchMachine(folder: string): Promise<MachineWatch> {
  const file = await open(join(folder, "machine-watch"), "w");
  const worst = { slowestSyncMs: 0, slowestWakeMs: 0 };
  let stopped = false;
  const running = (async () => {
    while (!stopped) {
      const sleptMs = performance.now();
      await delay(everyMs);
      worst.slowestWakeMs = Math.max(worst.slowestWakeMs, performance.now() - sleptMs - everyMs);
      const startMs = performance.now();
      await file.write("x", 0);
      await file.datasync();
      worst.slowestSyncMs = Math.max(worst.slowestSyncMs, performance.now() - startMs);
    }
    await file.close();
  })();
  return {
    get slowestSyncMs() {
      return worst.slowestSyncMs;
    },
    get slowestWakeMs() {
      return worst.slowestWakeMs;
    },
    async stop() {
      stopped = true;
      await running;
    },
  };
}

export function describeMachine({ slowestSyncMs, slowestWakeMs }: MachineWatch): string {
  return `machine: slowest sync of one byte ${slowestSyncMs.toFixed(0)} ms, longest wait for the CPU ${slowestWakeMs.toFixed(0)} ms`;
}
