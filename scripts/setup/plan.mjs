// The decisions of the set-up, without doing anything: what a test can look at.

/** Oldest Node that Kvorum supports, as in package.json's "engines". */
export const oldestNode = Object.freeze([20, 19]);

/**
 * @param {string} version - as in `process.versions.node`
 * @returns {string | undefined} what to do about it, in one line; undefined when it is new enough
 */
export function nodeProblem(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = oldestNode;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return undefined;
  return `Kvorum needs Node ${oldestMajor}.${oldestMinor} or newer and this is ${version}: install one from https://nodejs.org or with your version manager (nvm install 20)`;
}

/**
 * @param {number | undefined} installedMs - when npm last installed; undefined: never
 * @param {number} lockMs - when the lock file changed
 * @returns {boolean} whether the packages have to be installed
 */
export function packagesAreStale(installedMs, lockMs) {
  return installedMs === undefined || installedMs < lockMs;
}

/** Where a server is looked for besides the PATH: an ordinary user's often leaves these out. */
const serverFolders = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

/**
 * @param {string | undefined} path - the PATH variable
 * @returns {string[]} where a nats-server may be, in the order of preference
 */
export function serverCandidates(path) {
  const folders = (path ?? "").split(":").filter((folder) => folder !== "");
  return [...new Set([...folders, ...serverFolders])].map((folder) => `${folder}/nats-server`);
}

/**
 * @typedef {object} Step
 * @property {string[]} command - program and arguments
 * @property {boolean} optional - going on without its success makes sense
 */

/**
 * @typedef {{ kind: "run", steps: Step[], ask: boolean } | { kind: "cannot", message: string }} Plan
 */

/**
 * The package managers that carry a nats-server, and how to ask each for it.
 * @type {ReadonlyArray<{ program: string, needsRoot: boolean, steps: Step[] }>}
 */
const managers = [
  {
    program: "apt-get",
    needsRoot: true,
    steps: [
      { command: ["apt-get", "update"], optional: true },
      { command: ["apt-get", "install", "-y", "nats-server"], optional: false },
    ],
  },
  {
    program: "dnf",
    needsRoot: true,
    steps: [{ command: ["dnf", "install", "-y", "nats-server"], optional: false }],
  },
  {
    program: "zypper",
    needsRoot: true,
    steps: [{ command: ["zypper", "--non-interactive", "install", "nats-server"], optional: false }],
  },
  { program: "apk", needsRoot: true, steps: [{ command: ["apk", "add", "nats-server"], optional: false }] },
  {
    program: "pacman",
    needsRoot: true,
    steps: [{ command: ["pacman", "-S", "--noconfirm", "nats-server"], optional: false }],
  },
  {
    program: "brew",
    needsRoot: false,
    steps: [{ command: ["brew", "install", "nats-server"], optional: false }],
  },
];

/** @param {string[]} command */
const line = (command) => command.join(" ");

/**
 * How to get a nats-server onto this machine. Nothing runs as root that somebody has not said yes to,
 * unless the process is root already and nobody is there to ask.
 * @param {{ root: boolean, terminal: boolean, has: (program: string) => boolean }} machine
 * @returns {Plan}
 */
export function planServer(machine) {
  const manager = managers.find(({ program }) => machine.has(program));
  if (manager === undefined) {
    return {
      kind: "cannot",
      message:
        "no nats-server here and no package manager that has one: put the nats-server binary (https://github.com/nats-io/nats-server/releases) on your PATH",
    };
  }
  const asOther = manager.needsRoot && !machine.root;
  const install = line(manager.steps.at(-1)?.command ?? []);
  if (asOther && !machine.has("sudo")) {
    return { kind: "cannot", message: `no nats-server here: run as root: ${install}` };
  }
  if (!machine.terminal && !machine.root) {
    const prefix = asOther ? "sudo " : "";
    return {
      kind: "cannot",
      message: `no nats-server here and no terminal to ask on: run: ${prefix}${install}`,
    };
  }
  const steps = manager.steps.map(({ command, optional }) => ({
    command: asOther ? ["sudo", ...command] : command,
    optional,
  }));
  return { kind: "run", steps, ask: machine.terminal };
}

/**
 * @param {string} answer - what somebody typed at the question
 * @returns {boolean} only a plain yes is one
 */
export function isYes(answer) {
  return /^y(es)?$/i.test(answer.trim());
}

/**
 * What the build has to do, from the sources' listing of the last build and of now.
 * @param {Readonly<Record<string, string>> | undefined} built - path to fingerprint; undefined: never built
 * @param {Readonly<Record<string, string>>} sources
 * @returns {{ compile: boolean, stale: string[] }} `stale`: outputs whose source went away and that must
 *   not stay. Only they are removed, since a cluster may be running from the others.
 */
export function planBuild(built, sources) {
  if (built === undefined) return { compile: true, stale: [] };
  const gone = Object.keys(built).filter((path) => !(path in sources));
  const changed = Object.entries(sources).some(([path, print]) => built[path] !== print);
  const stems = gone.map((path) => `dist/${path.replace(/\.ts$/, "")}`);
  return {
    compile: changed || gone.length > 0,
    stale: stems.flatMap((stem) => [`${stem}.js`, `${stem}.d.ts`]),
  };
}
