import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const child = fileURLToPath(new URL("./crash-child.ts", import.meta.url));

/** Starts `writeUntilKilled(dir, count)` in a process of its own, under `wrapper` where one is given. */
export function startCrashChild(dir: string, count: number, wrapper: readonly string[] = []): ChildProcess {
  // Node 20 runs no TypeScript by itself; vite, which vitest brings along, loads it.
  const script = `
    import { runnerImport } from "vite";
    const config = { configFile: false, environments: { inline: { resolve: { conditions: ["source", "node"] } } } };
    const { module } = await runnerImport(${JSON.stringify(child)}, config);
    await module.writeUntilKilled(${JSON.stringify(dir)}, ${count});
    process.exit(0);`;
  const [program = "node", ...rest] = [...wrapper, process.execPath, "--input-type=module", "-e", script];
  return spawn(program, rest, { stdio: ["ignore", "pipe", "inherit"] });
}
