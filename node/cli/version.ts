import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Run } from "./command.ts";
import { exitCodes } from "./outcome.ts";
import { json } from "./settings.ts";

/** `kvorum version` */
export const version: Run = ({ values, io }) => {
  const facts = { version: packageVersion(), node: process.versions.node };
  io.out(
    values.get(json, false) ? `${JSON.stringify(facts)}\n` : `kvorum ${facts.version} (Node ${facts.node})\n`,
  );
  return Promise.resolve(exitCodes.ok);
};

/** The version in package.json, which lies above the sources and, one step further, above what was built. */
export function packageVersion(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json")) && folder !== dirname(folder)) folder = dirname(folder);
  const { version: found }: { version: string } = JSON.parse(
    readFileSync(join(folder, "package.json"), "utf8"),
  );
  return found;
}
