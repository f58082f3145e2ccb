// `npm test`: sets the machine up, then runs every check in turn. All of them run, whatever fails, so that
// one run tells everything; the last line is `N passed, N failed`.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { countReport, failuresOf, nothingRan } from "./test/report.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const reports = join(root, ".cache/test");
const bin = (/** @type {string} */ name) => join(root, "node_modules/.bin", name);

/**
 * @typedef {object} Check
 * @property {string} name
 * @property {string[]} command
 * @property {string} [report] - where vitest leaves its counts; without one, the check counts as one test
 */

/**
 * @param {string} name
 * @param {string} project - of vitest.config.ts
 * @returns {Check}
 */
function vitest(name, project) {
  const report = join(reports, `${project}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  return {
    name,
    command: [bin("vitest"), "run", "--project", project, "--silent=passed-only", ...reporters],
    report,
  };
}

/** Cheap ones first: what they find makes the dear ones pointless. @type {Check[]} */
const checks = [
  { name: "type check", command: [bin("tsc"), "-p", "tsconfig.json", "--noEmit"] },
  { name: "type check of the scripts", command: [bin("tsc"), "-p", "scripts/tsconfig.json"] },
  { name: "lint", command: [bin("biome"), "check", "--diagnostic-level=error", "."] },
  vitest("direction of imports", "direction"),
  vitest("unit tests", "unit"),
  vitest("golden Raft scripts", "golden"),
  vitest("simulated scenarios", "scenarios"),
  {
    name: "simulation",
    command: [process.execPath, "dist/sim/main.js", "--seeds", "40", "--from", "1", "--fresh", "2"],
  },
  vitest("integration tests", "integration"),
];

/** @type {import("node:child_process").ChildProcess | undefined} */
let running;
/** @type {NodeJS.Signals | undefined} */
let interrupted;
for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
  process.on(signal, () => {
    interrupted ??= signal;
    running?.kill(signal);
  });
}

/**
 * @param {string[]} command
 * @returns {Promise<boolean>} whether it ended well
 */
function run([program = "", ...args]) {
  return new Promise((resolve) => {
    running = spawn(program, args, { cwd: root, stdio: "inherit" });
    running.on("error", () => resolve(false));
    running.on("close", (code) => resolve(code === 0));
  });
}

/**
 * @param {Check} check
 * @returns {Promise<import("./test/report.mjs").Counts>}
 */
async function perform({ name, command, report }) {
  process.stdout.write(`\n== ${name}\n`);
  const ok = await run(command);
  if (report === undefined) return ok ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  try {
    return countReport(JSON.parse(readFileSync(report, "utf8")), ok);
  } catch {
    return nothingRan;
  }
}

const setup = spawnSync(process.execPath, ["scripts/setup.mjs"], { cwd: root, stdio: "inherit" });
let passed = 0;
let failed = setup.status === 0 ? 0 : 1;
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });
/** @type {string[]} */
const failures = failed > 0 ? ["set-up"] : [];
for (const check of checks) {
  if (interrupted !== undefined) break;
  const counts = await perform(check);
  passed += counts.passed;
  failed += counts.failed;
  failures.push(...failuresOf(check.name, counts));
}
if (interrupted !== undefined) {
  process.stdout.write(`\nstopped by ${interrupted}\n`);
  process.exitCode = 128 + constants.signals[interrupted];
} else {
  if (failures.length > 0) process.stdout.write(`\nfailed: ${failures.join(", ")}\n`);
  process.exitCode = failed > 0 ? 1 : 0;
}
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
