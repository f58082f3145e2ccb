import { spawn } from "node:child_process";
import { cleanEnvironment } from "./processes.ts";
import { demandBuilt, kvorumMain } from "./root.ts";

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the `kvorum` command to its end, in `folder`. */
export function kvorum(args: readonly string[], folder: string, input = ""): Promise<Ran> {
  demandBuilt();
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [kvorumMain, ...args], { cwd: folder, env: cleanEnvironment() });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, out, err }));
    child.stdin.on("error", () => {});
    child.stdin.end(input);
  });
}
