import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { killAll, processesNaming } from "./processes.ts";
import { reportFolder } from "./root.ts";

/** All that one test starts and makes, ended in reverse order however the test ends. */
export class Scope {
  readonly #ends: (() => void | Promise<void>)[] = [];
  readonly #folders: string[] = [];

  defer(end: () => void | Promise<void>): void {
    this.#ends.push(end);
  }

  /** A temporary folder; its `.log` files are kept when the test fails. */
  folder(): string {
    const folder = mkdtempSync(join(tmpdir(), "kvorum-it-"));
    this.#folders.push(folder);
    return folder;
  }

  /** @param keepLogs - a name for the folder that gets the logs; absent: they go */
  async end(keepLogs?: string): Promise<void> {
    const errors: unknown[] = [];
    for (const end of this.#ends.splice(0).reverse()) {
      try {
        await end();
      } catch (error) {
        errors.push(error);
      }
    }
    for (const folder of this.#folders.splice(0)) {
      await killAll(processesNaming(folder).map(({ pid }) => pid));
      if (keepLogs !== undefined) saveLogs(folder, keepLogs);
      rmSync(folder, { recursive: true, force: true });
    }
    if (errors.length > 0) throw new AggregateError(errors, "the test's parts did not end well");
  }
}

function saveLogs(folder: string, name: string): void {
  const target = join(reportFolder, name, basename(folder));
  const logs = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
    (path) => /\.log(\.1)?$/.test(path) && !/\/\d+\.log$/.test(path),
  );
  mkdirSync(target, { recursive: true });
  for (const log of logs) copyFileSync(join(folder, log), join(target, log.replaceAll("/", "-")));
}
