import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's folder, from a source as from what was built of it. */
export const root: string = findRoot(dirname(fileURLToPath(import.meta.url)));

/** The built command. */
export const kvorumMain: string = join(root, "dist/node/main.js");

/** Where failed tests leave the logs of their processes. */
export const reportFolder: string = join(root, ".cache/test/integration");

function findRoot(folder: string): string {
  if (existsSync(join(folder, "package-lock.json"))) return folder;
  const above = dirname(folder);
  if (above === folder) throw new Error("not inside the repository");
  return findRoot(above);
}

/** @throws Error that says what to do, when the command was not built */
export function demandBuilt(): void {
  if (!existsSync(kvorumMain)) throw new Error("dist/ is missing: npm run build");
}
