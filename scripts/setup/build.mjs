import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { planBuild } from "./plan.mjs";

/** Beside the output it describes, so that removing dist/ forgets both. */
const stampName = "dist/.sources.json";

/**
 * Compiles to dist/ what changed since the last build.
 * @param {string} root - the repository
 * @returns {boolean} false when the compiler found errors, which it has printed
 */
export function build(root) {
  const sources = listSources(root);
  const stamp = join(root, stampName);
  const { compile, stale } = planBuild(readStamp(stamp), sources);
  if (!compile) return true;
  process.stdout.write("building\n");
  for (const output of stale) rmSync(join(root, output), { force: true });
  // The compiler writes its output even when it finds errors: what is there then is of no known sources.
  rmSync(stamp, { force: true });
  const tsc = join(root, "node_modules/.bin/tsc");
  const result = spawnSync(tsc, ["-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0) return false;
  const command = join(root, "dist/node/main.js");
  if (existsSync(command)) chmodSync(command, 0o755);
  mkdirSync(join(root, "dist"), { recursive: true });
  writeFileSync(stamp, JSON.stringify(sources));
  return true;
}

/**
 * @param {string} stamp
 * @returns {Record<string, string> | undefined}
 */
function readStamp(stamp) {
  try {
    return JSON.parse(readFileSync(stamp, "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * @param {string} root
 * @returns {Record<string, string>} path to size and time, of all that the build reads
 */
function listSources(root) {
  const config = JSON.parse(readFileSync(join(root, "tsconfig.build.json"), "utf8"));
  /** @type {Record<string, string>} */
  const sources = {};
  for (const path of ["package.json", "tsconfig.json", "tsconfig.build.json"]) note(root, path, sources);
  for (const pattern of config.include) {
    const folder = pattern.replace(/\/\*.*$/, "");
    if (existsSync(join(root, folder))) walk(root, folder, sources);
  }
  return sources;
}

/**
 * @param {string} root
 * @param {string} folder
 * @param {Record<string, string>} sources
 */
function walk(root, folder, sources) {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) walk(root, path, sources);
    else if (path.endsWith(".ts") && !path.endsWith(".test.ts")) note(root, path, sources);
  }
}

/**
 * @param {string} root
 * @param {string} path
 * @param {Record<string, string>} sources
 */
function note(root, path, sources) {
  const { size, mtimeMs } = statSync(join(root, path));
  sources[path] = `${size} ${mtimeMs}`;
}
