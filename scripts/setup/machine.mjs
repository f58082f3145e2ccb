import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { isYes, nodeProblem, packagesAreStale, planServer, serverCandidates } from "./plan.mjs";

/** A step that cannot work; its message says in one line what to install and how. */
export class SetupError extends Error {}

/** @param {string} text */
const say = (text) => process.stdout.write(`${text}\n`);

export function checkNode() {
  const problem = nodeProblem(process.versions.node);
  if (problem !== undefined) throw new SetupError(problem);
}

/**
 * Installs the npm packages of the lock file, when they are missing or older than it.
 * @param {string} root - the repository
 */
export function installPackages(root) {
  const installed = join(root, "node_modules/.package-lock.json");
  const installedMs = existsSync(installed) ? statSync(installed).mtimeMs : undefined;
  if (!packagesAreStale(installedMs, statSync(join(root, "package-lock.json")).mtimeMs)) return;
  say("installing npm packages: npm ci");
  // Inside `npm start` this is that very npm; NODE_ENV=production must not leave the compiler out.
  const npm = process.env["npm_execpath"];
  const args = ["ci", "--include=dev", "--no-fund", "--no-audit", "--loglevel=error"];
  const inNpm = npm !== undefined && /npm-cli\.js$/.test(npm);
  const result = inNpm ? run(process.execPath, [npm, ...args], root) : run("npm", args, root);
  if (!result) {
    throw new SetupError(
      "the npm packages could not be installed: run npm ci and see what it says (it needs a registry)",
    );
  }
}

/** Installs a nats-server through the system's package manager, when there is none. */
export async function installServer() {
  if (findServer() !== undefined) return;
  const plan = planServer({
    root: process.getuid?.() === 0,
    terminal: process.stdin.isTTY === true && process.stdout.isTTY === true,
    has: (program) => findProgram(program) !== undefined,
  });
  if (plan.kind === "cannot") throw new SetupError(plan.message);
  const commands = plan.steps.map((step) => step.command.join(" "));
  say(`no nats-server here; to install it: ${commands.join(" && ")}`);
  if (plan.ask && !(await confirm("Run this now? [y/N] "))) {
    throw new SetupError(`Kvorum needs a nats-server: run ${commands.at(-1)}`);
  }
  for (const { command, optional } of plan.steps) {
    const [program = "", ...args] = command;
    const done = run(program, args, undefined, { DEBIAN_FRONTEND: "noninteractive" });
    if (!done && !optional)
      throw new SetupError(`${command.join(" ")} failed: install nats-server and start again`);
  }
  if (findServer() === undefined) {
    throw new SetupError(
      "nats-server was installed but is not found: put the folder that holds it on your PATH",
    );
  }
}

/** @returns {string | undefined} the nats-server to use */
export function findServer() {
  return serverCandidates(process.env["PATH"]).find(isExecutable);
}

/** @param {string} program */
function findProgram(program) {
  const folders = (process.env["PATH"] ?? "").split(":").filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, program)).find(isExecutable);
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** @param {string} question */
async function confirm(question) {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return isYes(await terminal.question(question));
  } finally {
    terminal.close();
  }
}

/**
 * @param {string} program
 * @param {string[]} args
 * @param {string} [cwd]
 * @param {Record<string, string>} [env]
 * @returns {boolean} whether it ran and ended well
 */
function run(program, args, cwd, env) {
  const result = spawnSync(program, args, { stdio: "inherit", cwd, env: { ...process.env, ...env } });
  return result.error === undefined && result.status === 0;
}
